// SPDX-License-Identifier: Apache-2.0
// The only place that includes napi.h: these settings count only when they come before it, and two files
// compiled with different ones would break the one-definition rule without a word. Every build gets them from
// here; none passes -D for them.
#pragma once

// Node-API 8 is what Node 12.22 and up have; a newer number would tie the binary to newer releases.
#define NAPI_VERSION 8
// Terminating a worker makes pending calls into JS fail. Without this, node-addon-api aborts the process on
// such a failure.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
// The addon is compiled without exceptions: errors are pending in the environment or returned.
#define NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS
#define NAPI_DISABLE_CPP_EXCEPTIONS

#include <napi.h>
