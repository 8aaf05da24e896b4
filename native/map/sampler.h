// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "map/reader.h"

namespace node_ebpf
{

// A thread that reads `source`'s map at an interval, whatever the JS thread does. `options`: { intervalNs,
// rows, times, values, outTimes, outValues }; the result: { drain, missed, close }.
napi_value StartSampler(napi_env env, const CounterSource &source, Napi::Value options);

} // namespace node_ebpf
