// SPDX-License-Identifier: Apache-2.0
#include "tc.h"

#include "arguments.h"
#include "handle.h"
#include "link.h"
#include "log.h"
#include "options.h"
#include "program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <sys/socket.h>

namespace node_ebpf
{

namespace
{

constexpr uint32_t kMaxPrograms = 64; // BPF_MPROG_MAX, include/linux/bpf_mprog.h

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

// 0 for an absent one: the kernel then chooses.
bool ReadOptionalUint32(napi_env env, napi_value value, const char *name, uint32_t *out)
{
	*out = 0;
	return IsAbsent(env, value) || ReadUint32(env, value, name, out);
}

bpf_attach_type TcxHook(bpf_tc_attach_point direction)
{
	return direction == BPF_TC_INGRESS ? BPF_TCX_INGRESS : BPF_TCX_EGRESS;
}

uint32_t Parent(bpf_tc_attach_point direction)
{
	return TC_H_MAKE(TC_H_CLSACT, direction == BPF_TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

struct Filter {
	std::string kind;
	uint32_t priority = 0;
	uint32_t handle = 0;
	uint32_t protocol = 0;
	uint32_t program_id = 0; // 0: not a BPF program
};

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

Filter ToFilter(const TcMessage &message)
{
	Filter filter;
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

// The kind of the qdisc that holds the interface's ingress and egress filters: clsact, ingress (which has no
// egress), or empty where there is none. By a dump of all: asking for one tells every listener (tc monitor)
// too.
int QdiscKind(int ifindex, std::string *out)
{
	out->clear();
	return Dump(RTM_GETQDISC, ifindex, 0, [&](const TcMessage &message) {
		if (message.tc->tcm_ifindex == ifindex && message.tc->tcm_parent == TC_H_CLSACT)
			*out = message.Kind();
	});
}

int ListFilters(int ifindex, bpf_tc_attach_point direction, std::vector<Filter> *out)
{
	return Dump(RTM_GETTFILTER, ifindex, Parent(direction),
	            [&](const TcMessage &message) { out->push_back(ToFilter(message)); });
}

// Deletes the clsact qdisc where neither of its hooks holds a filter of anybody; -ENOTEMPTY otherwise. The
// kernel has no such condition: a filter that somebody adds between the look and the deletion goes with it.
int RemoveEmptyClsact(int ifindex)
{
	std::string kind;
	std::vector<Filter> filters;
	int error = QdiscKind(ifindex, &kind);
	if (!error && kind != "clsact")
		error = -ENOENT;
	if (!error)
		error = ListFilters(ifindex, BPF_TC_INGRESS, &filters);
	if (!error)
		error = ListFilters(ifindex, BPF_TC_EGRESS, &filters);
	if (!error && !filters.empty())
		error = -ENOTEMPTY;
	if (error)
		return error;
	LogCapture capture;
	Zeroed<struct bpf_tc_hook> hook;
	hook.ifindex = ifindex;
	hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
	return bpf_tc_hook_destroy(&hook);
}

int ProgramIdOf(int program_fd, uint32_t *out)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof info;
	int error = bpf_prog_get_info_by_fd(program_fd, &info, &length);
	*out = info.id;
	return error;
}

// A filter of a clsact qdisc. The kernel compares no program when it replaces or deletes one, so that is
// asked just before: somebody who takes the place in between is not noticed.
struct ClsactFilter final : NetlinkAttachment {
	bpf_tc_attach_point direction = BPF_TC_INGRESS;
	uint32_t priority = 0; // 0 before Set(): the kernel chooses a free one, and a free handle
	uint32_t handle = 0;
	bool remove_qdisc = false; // once its hooks are empty

	const char *type() const override { return "clsact"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override;
	std::optional<Failure> Remove() override;
	std::optional<Failure> ProgramId(uint32_t *out) const override;
	void Describe(Napi::Object out) const override
	{
		out.Set("priority", priority);
		out.Set("handle", handle);
	}

private:
	std::optional<Failure> Expect(int program_fd, const char *operation) const;
	void FillHook(struct bpf_tc_hook *hook) const
	{
		hook->ifindex = ifindex;
		hook->attach_point = direction;
	}
};

std::optional<Failure> ClsactFilter::ProgramId(uint32_t *out) const
{
	int error = 0;
	*out = 0;
	auto query = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.priority = priority;
		opts.handle = handle;
		error = bpf_tc_query(&hook, &opts);
		if (!error)
			*out = opts.prog_id;
	};
	if (auto failure = netns.Run(query))
		return failure;
	// No such filter; no such qdisc, or a filter of another kind in its place; no such interface.
	if (error && error != -ENOENT && error != -EINVAL && error != -ENODEV)
		return Failure::FromErrno(error, "bpf_tc_query");
	return std::nullopt;
}

std::optional<Failure> ClsactFilter::Expect(int program_fd, const char *operation) const
{
	uint32_t expected = 0, found = 0;
	int error = ProgramIdOf(program_fd, &expected);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd");
	if (auto failure = ProgramId(&found))
		return failure;
	if (found == expected)
		return std::nullopt;
	if (found == 0)
		return Failure::FromErrno(ENOENT, operation);
	Failure failure;
	failure.code = "ERR_EBPF_REPLACED";
	failure.operation = operation;
	failure.message = "program " + std::to_string(found) + " is there, not " + std::to_string(expected);
	return failure;
}

std::optional<Failure> ClsactFilter::Set(int program_fd, int expected_fd)
{
	if (expected_fd >= 0) {
		if (auto failure = Expect(expected_fd, "bpf_tc_attach"))
			return failure;
	}
	int error = 0;
	std::vector<std::string> log;
	auto set = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.prog_fd = program_fd;
		opts.priority = priority;
		opts.handle = handle;
		opts.flags = expected_fd >= 0 ? BPF_TC_F_REPLACE : 0;
		error = bpf_tc_attach(&hook, &opts);
		if (!error) {
			priority = opts.priority;
			handle = opts.handle;
		}
		log = capture.Take();
	};
	if (auto failure = netns.Run(set))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_tc_attach", std::move(log));
	return std::nullopt;
}

std::optional<Failure> ClsactFilter::Remove()
{
	if (auto failure = Expect(program.get(), "bpf_tc_detach"))
		return failure;
	int error = 0;
	std::vector<std::string> log;
	auto remove = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.priority = priority;
		opts.handle = handle;
		error = bpf_tc_detach(&hook, &opts);
		log = capture.Take();
		if (!error && remove_qdisc)
			RemoveEmptyClsact(ifindex); // a qdisc that is in use stays
	};
	if (auto failure = netns.Run(remove))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_tc_detach", std::move(log));
	return std::nullopt;
}

// tcxPrograms(ifindex, direction, netns): [{ programId, linkId }] in the order in which they run; EINVAL
// before kernel 6.6. `linkId` 0: attached without a link.
Napi::Value TcxPrograms(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	bpf_tc_attach_point direction;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadDirection(env, info[1], &direction) ||
	    !Netns::Read(env, info[2], &netns))
		return env.Undefined();
	uint32_t programs[kMaxPrograms] = {}, links[kMaxPrograms] = {}, count = 0;
	int error = 0;
	auto query = [&] {
		Zeroed<struct bpf_prog_query_opts> opts;
		opts.prog_ids = programs;
		opts.link_ids = links;
		opts.count = kMaxPrograms;
		error = bpf_prog_query_opts(static_cast<int>(ifindex), TcxHook(direction), &opts);
		count = opts.count;
	};
	if (auto failure = netns.Run(query))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_query").Throw(env);
	Napi::Array result = Napi::Array::New(env, count);
	for (uint32_t i = 0; i < count && i < kMaxPrograms; i++) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("programId", programs[i]);
		entry.Set("linkId", links[i]);
		result.Set(i, entry);
	}
	return result;
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
	std::vector<Filter> filters;
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

// createClsact(ifindex, netns): false where the place is taken, by a clsact or by an ingress qdisc.
Napi::Value CreateClsact(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	int error = 0;
	std::vector<std::string> log;
	auto create = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		hook.ifindex = static_cast<int>(ifindex);
		hook.attach_point = BPF_TC_INGRESS;
		error = bpf_tc_hook_create(&hook);
		log = capture.Take();
	};
	if (auto failure = netns.Run(create))
		return failure->Throw(env);
	if (error && error != -EEXIST)
		return Failure::FromErrno(error, "bpf_tc_hook_create", std::move(log)).Throw(env);
	return Napi::Boolean::New(env, error == 0);
}

// removeClsact(ifindex, netns): ENOTEMPTY where a hook holds a filter.
Napi::Value RemoveClsact(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	int error = 0;
	if (auto failure = netns.Run([&] { error = RemoveEmptyClsact(static_cast<int>(ifindex)); }))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "bpf_tc_hook_destroy").Throw(env);
	return env.Undefined();
}

} // namespace

// attachTcx(ifindex, direction, netns, 'before' | 'after' | undefined, programId | undefined, linkId |
// undefined): a link, before or after the program or link that is named; before or after all where none is;
// after all where nothing is said.
Napi::Value Program::AttachTcx(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	uint32_t ifindex, program_id, link_id;
	bpf_tc_attach_point direction;
	Netns netns;
	std::string place;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadDirection(env, info[1], &direction) ||
	    !Netns::Read(env, info[2], &netns) ||
	    (!IsAbsent(env, info[3]) && !ReadString(env, info[3], "place", &place)) ||
	    !ReadOptionalUint32(env, info[4], "programId", &program_id) ||
	    !ReadOptionalUint32(env, info[5], "linkId", &link_id))
		return env.Undefined();
	Zeroed<struct bpf_link_create_opts> opts;
	opts.flags = place == "before" ? BPF_F_BEFORE : place == "after" ? BPF_F_AFTER : 0;
	if (link_id)
		opts.flags |= BPF_F_LINK;
	opts.tcx.relative_id = link_id ? link_id : program_id;
	int link_fd = -1;
	auto attach = [&] {
		link_fd = bpf_link_create(fd_.get(), static_cast<int>(ifindex), TcxHook(direction), &opts);
	};
	if (auto failure = netns.Run(attach))
		return failure->Throw(env);
	if (link_fd < 0)
		return Failure::FromErrno(link_fd, "bpf_link_create").Throw(env);
	return Link::New(env, UniqueFd(link_fd));
}

// attachClsact(ifindex, direction, netns, priority | undefined, handle | undefined, removeQdisc): a filter,
// which the kernel keeps until somebody takes it off.
Napi::Value Program::AttachClsact(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	uint32_t ifindex;
	auto filter = std::make_unique<ClsactFilter>();
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) ||
	    !ReadDirection(env, info[1], &filter->direction) || !Netns::Read(env, info[2], &filter->netns) ||
	    !ReadOptionalUint32(env, info[3], "priority", &filter->priority) ||
	    !ReadOptionalUint32(env, info[4], "handle", &filter->handle))
		return env.Undefined();
	filter->ifindex = static_cast<int>(ifindex);
	filter->remove_qdisc = info[5].ToBoolean();
	filter->program = UniqueFd::Duplicate(fd_.get());
	if (!filter->program.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	if (auto failure = filter->Set(fd_.get(), -1))
		return failure->Throw(env);
	return Link::New(env, std::move(filter));
}

void DefineTcFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("tcxPrograms", Napi::Function::New(env, TcxPrograms, "tcxPrograms"));
	exports.Set("tcFilters", Napi::Function::New(env, TcFilters, "tcFilters"));
	exports.Set("tcQdisc", Napi::Function::New(env, TcQdisc, "tcQdisc"));
	exports.Set("createClsact", Napi::Function::New(env, CreateClsact, "createClsact"));
	exports.Set("removeClsact", Napi::Function::New(env, RemoveClsact, "removeClsact"));
}

} // namespace node_ebpf
