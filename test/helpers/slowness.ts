/**
 * How many times longer things take here, and so how long is waited for them: the sanitizer's factor, or that of an emulated
 * processor (scripts/test-vm).
 */
export const SLOWNESS = Number(
  process.env.NODE_EBPF_TEST_SLOWNESS ?? (process.env.NODE_EBPF_TEST_NODE ? 4 : 1),
);
