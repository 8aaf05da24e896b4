// Loaded by the node of scripts/test-asan before anything else: see there.
'use strict';

delete process.env.LD_PRELOAD;
process.execPath = process.env.NODE_EBPF_TEST_NODE;
