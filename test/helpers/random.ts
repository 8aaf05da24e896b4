// Random moments that can be had again: each run says its seed, and NODE_EBPF_TEST_SEED sets it.

/** Whole numbers from 0 to below `below`, by Marsaglia's xorshift. */
export function xorshift(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** The seed of this run of a test, which is printed. */
export function seedOf(test: string): number {
  const seed = Number(process.env.NODE_EBPF_TEST_SEED) || Math.trunc(Math.random() * 0x7fff_ffff) || 1;
  console.log(`${test}: NODE_EBPF_TEST_SEED=${seed}`);
  return seed;
}
