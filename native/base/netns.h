// SPDX-License-Identifier: Apache-2.0
// Work in another network namespace. An ifindex means something only inside one, and netlink sockets and
// bpf(2) attach calls take the calling thread's: so the work runs on a helper thread that enters the
// namespace and ends there. The JS thread never moves.
#pragma once
#include "base/errors.h"
#include "base/unique_fd.h"

#include <functional>
#include <optional>

namespace node_ebpf
{

class Netns
{
public:
	// undefined: the caller's own; a string: a path such as /run/netns/blue; a number: a descriptor of
	// the caller's. False with a JS error pending where the value is neither, or the path cannot be
	// opened.
	static bool Read(Napi::Env env, Napi::Value value, Netns *out);
	// A handle that stays good while the namespace is another one's to delete.
	static std::optional<Failure> Current(Netns *out);

	std::optional<Failure> Run(const std::function<void()> &work) const;
	std::optional<Failure> Duplicate(Netns *out) const;

private:
	bool other_ = false;
	UniqueFd fd_;
};

} // namespace node_ebpf
