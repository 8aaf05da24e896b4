// SPDX-License-Identifier: Apache-2.0
#include "kernel/tc.h"

#include "base/arguments.h"
#include "base/errors.h"
#include "base/netns.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <functional>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace node_ebpf
{

namespace
{

uint32_t Parent(bpf_tc_attach_point direction)
{
	return TC_H_MAKE(TC_H_CLSACT, direction == BPF_TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

const struct rtattr *Find(const struct rtattr *attribute, int length, unsigned short type)
{
	for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length)) {
		if ((attribute->rta_type & NLA_TYPE_MASK) == type)
			return attribute;
	}
	return nullptr;
}

// What RTM_NEWQDISC and RTM_NEWTFILTER messages share.
struct TcMessage {
	const struct tcmsg *tc;
	const struct rtattr *attributes;
	int length;

	explicit TcMessage(const struct nlmsghdr *header)
	    : tc(static_cast<const struct tcmsg *>(NLMSG_DATA(header))), attributes(TCA_RTA(tc)),
	      length(static_cast<int>(TCA_PAYLOAD(header)))
	{
	}
	const struct rtattr *Attribute(unsigned short type) const { return Find(attributes, length, type); }
	std::string Kind() const
	{
		const struct rtattr *kind = Attribute(TCA_KIND);
		const char *text = kind ? static_cast<const char *>(RTA_DATA(kind)) : "";
		return std::string(text, kind ? strnlen(text, RTA_PAYLOAD(kind)) : 0);
	}
};

TcFilter ToFilter(const TcMessage &message)
{
	TcFilter filter;
	filter.kind = message.Kind();
	filter.priority = TC_H_MAJ(message.tc->tcm_info) >> 16;
	filter.handle = message.tc->tcm_handle;
	filter.protocol = ntohs(static_cast<uint16_t>(TC_H_MIN(message.tc->tcm_info)));
	const struct rtattr *options = message.Attribute(TCA_OPTIONS);
	if (filter.kind != "bpf" || !options)
		return filter;
	const struct rtattr *id = Find(static_cast<const struct rtattr *>(RTA_DATA(options)),
	                               static_cast<int>(RTA_PAYLOAD(options)), TCA_BPF_ID);
	if (id && RTA_PAYLOAD(id) >= sizeof filter.program_id)
		memcpy(&filter.program_id, RTA_DATA(id), sizeof filter.program_id);
	return filter;
}

// One question about an interface's qdiscs or filters; `each` gets every message of the answer. Returns 0 or
// a negative errno. libbpf asks only for the BPF filter of a given handle and priority.
int Dump(uint16_t type, int ifindex, uint32_t parent, const std::function<void(const TcMessage &)> &each)
{
	UniqueFd socket_fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	if (!socket_fd.valid())
		return -errno;
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {};
	request.header.nlmsg_len = sizeof request;
	request.header.nlmsg_type = type;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request.tc.tcm_ifindex = ifindex;
	request.tc.tcm_parent = parent;
	if (send(socket_fd.get(), &request, sizeof request, 0) < 0)
		return -errno;
	// The kernel makes no message of a dump larger than 32 KiB (net/netlink/af_netlink.c,
	// netlink_recvmsg).
	std::vector<uint32_t> buffer(32768 / sizeof(uint32_t));
	for (;;) {
		ssize_t length = recv(socket_fd.get(), buffer.data(), buffer.size() * sizeof(uint32_t), 0);
		if (length < 0)
			return -errno;
		if (length == 0)
			return -EPROTO;
		auto *header = reinterpret_cast<const struct nlmsghdr *>(buffer.data());
		for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
			// Both begin with an errno, 0 for a dump that is complete.
			if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
				int error = 0;
				if (header->nlmsg_len >= NLMSG_LENGTH(sizeof error))
					memcpy(&error, NLMSG_DATA(header), sizeof error);
				return error;
			}
			if (header->nlmsg_flags & NLM_F_DUMP_INTR)
				return -EAGAIN;
			if (header->nlmsg_len >= NLMSG_LENGTH(sizeof(struct tcmsg)))
				each(TcMessage(header));
		}
	}
}

// tcFilters(ifindex, direction, netns): everybody's, in the order in which they run; `programId` 0 for those
// that are no BPF program.
Napi::Value TcFilters(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	bpf_tc_attach_point direction;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadDirection(env, info[1], &direction) ||
	    !Netns::Read(env, info[2], &netns))
		return env.Undefined();
	std::vector<TcFilter> filters;
	int error = 0;
	auto list = [&] { error = ListFilters(static_cast<int>(ifindex), direction, &filters); };
	if (auto failure = netns.Run(list))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "RTM_GETTFILTER").Throw(env);
	Napi::Array result = Napi::Array::New(env, filters.size());
	for (size_t i = 0; i < filters.size(); i++) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("kind", filters[i].kind);
		entry.Set("priority", filters[i].priority);
		entry.Set("handle", filters[i].handle);
		entry.Set("protocol", filters[i].protocol);
		entry.Set("programId", filters[i].program_id);
		result.Set(static_cast<uint32_t>(i), entry);
	}
	return result;
}

// tcQdisc(ifindex, netns): clsact, ingress or empty.
Napi::Value TcQdisc(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	std::string kind;
	int error = 0;
	if (auto failure = netns.Run([&] { error = QdiscKind(static_cast<int>(ifindex), &kind); }))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "RTM_GETQDISC").Throw(env);
	return Napi::String::New(env, kind);
}

} // namespace

bool ReadDirection(napi_env env, napi_value value, bpf_tc_attach_point *out)
{
	std::string direction;
	if (!ReadString(env, value, "direction", &direction))
		return false;
	if (direction == "ingress")
		*out = BPF_TC_INGRESS;
	else if (direction == "egress")
		*out = BPF_TC_EGRESS;
	else {
		napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE",
		                      "Expected ingress or egress for direction");
		return false;
	}
	return true;
}

// By a dump of all: asking for one tells every listener (tc monitor) too.
int QdiscKind(int ifindex, std::string *out)
{
	out->clear();
	return Dump(RTM_GETQDISC, ifindex, 0, [&](const TcMessage &message) {
		if (message.tc->tcm_ifindex == ifindex && message.tc->tcm_parent == TC_H_CLSACT)
			*out = message.Kind();
	});
}

int ListFilters(int ifindex, bpf_tc_attach_point direction, std::vector<TcFilter> *out)
{
	return Dump(RTM_GETTFILTER, ifindex, Parent(direction),
	            [&](const TcMessage &message) { out->push_back(ToFilter(message)); });
}

void DefineTcFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("tcFilters", Napi::Function::New(env, TcFilters, "tcFilters"));
	exports.Set("tcQdisc", Napi::Function::New(env, TcQdisc, "tcQdisc"));
}

} // namespace node_ebpf
