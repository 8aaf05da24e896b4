/** The runs under a sanitizer and in worker threads do less of what is done thousands of times than npm test does. */
export const SHORT: boolean =
  process.env.NODE_EBPF_TEST_NODE !== undefined || process.env.NODE_EBPF_TEST_THREADS === '1';
