// SPDX-License-Identifier: Apache-2.0
#include "kernel/interface.h"

#include "base/arguments.h"
#include "base/errors.h"
#include "base/netns.h"

#include <cerrno>
#include <cstring>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace node_ebpf
{

namespace
{

struct Interface {
	uint32_t ifindex;
	std::string name;
	bool up;
	uint16_t hardware; // ARPHRD_*
};

// Returns 0 or a negative errno.
int ListInterfaces(std::vector<Interface> *out)
{
	UniqueFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (!socket_fd.valid())
		return -errno;
	struct if_nameindex *list = if_nameindex();
	if (!list)
		return -errno;
	for (struct if_nameindex *entry = list; entry->if_index != 0; entry++) {
		struct ifreq request = {};
		strncpy(request.ifr_name, entry->if_name, IFNAMSIZ - 1);
		// One that went away in between is not listed.
		if (ioctl(socket_fd.get(), SIOCGIFFLAGS, &request) != 0)
			continue;
		bool up = (request.ifr_flags & IFF_UP) != 0; // the answers share their memory
		if (ioctl(socket_fd.get(), SIOCGIFHWADDR, &request) != 0)
			continue;
		out->push_back({entry->if_index, entry->if_name, up, request.ifr_hwaddr.sa_family});
	}
	if_freenameindex(list);
	return 0;
}

// Sets IFF_UP and no other flag: `ifi_change` names the only bit that changes.
int SetUp(uint32_t ifindex)
{
	UniqueFd socket_fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	if (!socket_fd.valid())
		return -errno;
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {};
	request.header.nlmsg_len = sizeof request;
	request.header.nlmsg_type = RTM_NEWLINK;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	request.link.ifi_family = AF_UNSPEC;
	request.link.ifi_index = static_cast<int>(ifindex);
	request.link.ifi_flags = IFF_UP;
	request.link.ifi_change = IFF_UP;
	if (send(socket_fd.get(), &request, sizeof request, 0) < 0)
		return -errno;
	// The answer is one error message; the request it quotes is at its end and may be cut off.
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[256];
	} answer = {};
	ssize_t length = recv(socket_fd.get(), &answer, sizeof answer, 0);
	if (length < 0)
		return -errno;
	if (static_cast<size_t>(length) < sizeof answer.header + sizeof answer.error.error ||
	    answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

Napi::Value Interfaces(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Netns netns;
	if (!Netns::Read(env, info[0], &netns))
		return env.Undefined();
	std::vector<Interface> list;
	int error = 0;
	if (auto failure = netns.Run([&] { error = ListInterfaces(&list); }))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "if_nameindex").Throw(env);
	Napi::Array result = Napi::Array::New(env, list.size());
	for (size_t i = 0; i < list.size(); i++) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("ifindex", list[i].ifindex);
		entry.Set("name", list[i].name);
		entry.Set("up", list[i].up);
		entry.Set("hardware", list[i].hardware);
		result.Set(static_cast<uint32_t>(i), entry);
	}
	return result;
}

Napi::Value SetInterfaceUp(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	int error = 0;
	if (auto failure = netns.Run([&] { error = SetUp(ifindex); }))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "RTM_NEWLINK").Throw(env);
	return env.Undefined();
}

} // namespace

void DefineInterfaceFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("interfaces", Napi::Function::New(env, Interfaces, "interfaces"));
	exports.Set("setInterfaceUp", Napi::Function::New(env, SetInterfaceUp, "setInterfaceUp"));
}

} // namespace node_ebpf
