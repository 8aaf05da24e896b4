/** `npm run test:stress`: as often and as long as it takes to see what is rare. Otherwise a short form of it. */
export const LONG = process.env.NODE_EBPF_TEST_LONG === '1';
