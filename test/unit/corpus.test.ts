import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EbpfValidationError } from '../../lib/core/errors.ts';
import { inspect } from '../../lib/object-file/inspect.ts';
import { validate } from '../../lib/object-file/validate.ts';
import { compile, patched, sections } from '../helpers/elf.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';

// Hostile objects, made from good ones with a seed (VALIDATE_SEED=… for others): no crash, no hang, and never "ok" for
// what libbpf does not open. scripts/test-asan runs this over the sanitized addon.

const seed = Number(process.env.VALIDATE_SEED ?? 20251108);
const VARIANTS = 2600;
const SLOW_MS = 1000;
const LIMIT_MS = 60_000 * (process.env.NODE_EBPF_TEST_NODE ? 4 : 1);

/** xorshift32: the same numbers everywhere. */
function numbers(start: number): (below: number) => number {
  let state = start | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

// Functions that are called, CO-RE, all kinds of data sections and maps.
const RICH = `
#define CORE __attribute__((preserve_access_index))
struct task_struct { int pid; struct task_struct *parent; int no_such_field; } CORE;
extern int LINUX_KERNEL_VERSION __kconfig;
const volatile int wanted = 1;
int counted, started = 7;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, int); __type(value, long); } hash SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, int); };
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, int); __array(values, struct inner); } outer SEC(".maps");
static __attribute__((noinline)) int one(struct task_struct *t) { return wanted ? t->pid : started; }
static __attribute__((noinline)) int two(struct task_struct *t) { return one(t) + one(t->parent); }
static long each(void *map, const void *key, void *value, void *c) { counted++; return 0; }
SEC("raw_tp/sched_switch") int on_switch(unsigned long long *c)
{
	struct task_struct *t = (void *)c[1];
	bpf_for_each_map_elem(&hash, each, 0, 0);
	if (bpf_core_field_exists(t->no_such_field) && LINUX_KERNEL_VERSION > 1) return t->no_such_field;
	return two(t);
}
SEC("xdp") int frame(struct xdp_md *c)
{
	int key = c->data_end - c->data;
	long *value = bpf_map_lookup_elem(&hash, &key);
	if (value) __sync_fetch_and_add(value, 1);
	return value ? 2 : 1;
}`;

function originals(): Buffer[] {
  const names = ['odd_value', 'tracepoint', 'two_programs'];
  return [
    readFileSync(shippedObject('xdp_counter')),
    ...names.map((name) => readFileSync(testObject(name))),
    compile(RICH),
  ];
}

const FIELDS = [0x00, 0x04, 0x08, 0x18, 0x20, 0x28, 0x2c, 0x30, 0x38];
const HOSTILE = [
  0n,
  1n,
  7n,
  0x7fn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_fff8n,
  0xffff_ffffn,
  1n << 32n,
  1n << 62n,
  -1n,
  -8n,
];

function* variants(objects: readonly Buffer[], random: (below: number) => number): Generator<Buffer> {
  for (const object of objects) {
    // Cut at, before and after each section's ends, and the table's.
    const cuts = new Set([16, 63, 64]);
    for (const { header, offset, size } of sections(object)) {
      for (const at of [offset, offset + size, header]) for (const by of [-1, 0, 1]) cuts.add(at + by);
    }
    for (const at of cuts) if (at >= 0 && at <= object.length) yield object.subarray(0, at);
  }
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  for (;;) {
    const object = pick(objects);
    const kinds = sections(object).filter(({ size }) => size > 0);
    yield patched(object, (copy) => {
      const { header, offset, size, name } = pick(kinds);
      switch (random(6)) {
        case 0: // the file's header
          copy[random(64)] = random(256);
          break;
        case 1: // a section's header
          copy.writeBigInt64LE(
            BigInt.asIntN(64, pick(HOSTILE)),
            Math.min(header + pick(FIELDS), copy.length - 8),
          );
          break;
        case 2: // bytes anywhere
          for (let flips = 1 + random(8); flips > 0; flips--) copy[random(copy.length)] = random(256);
          break;
        case 3: // bytes of one section
          if (offset + size <= copy.length && name !== '.bss')
            for (let flips = 1 + random(8); flips > 0; flips--) copy[offset + random(size)] = random(256);
          break;
        case 4: // a word of one section
          if (offset + size <= copy.length && size >= 4)
            copy.writeUInt32LE(Number(BigInt.asUintN(32, pick(HOSTILE))), offset + random(size >> 2) * 4);
          break;
        default: // one section's bytes over another's
          copy.copyWithin(offset, random(copy.length), copy.length);
      }
    });
  }
}

function isOpened(bytes: Uint8Array): boolean {
  try {
    inspect(bytes);
    return true;
  } catch (error) {
    if (error instanceof EbpfValidationError) return false;
    throw error;
  }
}

test(
  `${VARIANTS} mutated objects: no crash, no hang, no false "ok" (VALIDATE_SEED=${seed})`,
  async () => {
    console.log(`VALIDATE_SEED=${seed}`);
    const slow = process.env.NODE_EBPF_TEST_NODE ? 10 * SLOW_MS : SLOW_MS;
    const rules = new Map<string, number>();
    let tried = 0;
    let opened = 0;
    const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-corpus-'));
    const btf = join(folder, 'kernel.o');
    writeFileSync(
      btf,
      compile('struct task_struct { long state; int pid; struct task_struct *parent; } task;'),
    );
    for (const bytes of variants(originals(), numbers(seed))) {
      if (tried++ === VARIANTS) break;
      const start = process.cpuUsage();
      const { ok, findings, object } = await validate(bytes, { btf });
      const { user, system } = process.cpuUsage(start);
      expect((user + system) / 1000, `variant ${tried}: milliseconds`).toBeLessThan(slow);
      const opens = isOpened(bytes);
      if (opens) opened++;
      // What libbpf does not open is not ok.
      else expect(ok, `variant ${tried}`).toBe(false);
      expect(object !== undefined, `variant ${tried}`).toBe(opens);
      expect(ok).toBe(findings.every(({ level }) => level === 'warning'));
      for (const { rule, message, place } of findings) {
        rules.set(rule, (rules.get(rule) ?? 0) + 1);
        expect(`${message}${place}`).not.toMatch(/undefined|NaN|\[object/);
      }
    }
    rmSync(folder, { recursive: true });
    // The corpus reaches the rules, and not only the first of them.
    expect(opened).toBeGreaterThan(VARIANTS / 20);
    expect([...rules.keys()].length, [...rules].join(' ')).toBeGreaterThan(20);
  },
  LIMIT_MS,
);

test('what is made to take for ever does not', async () => {
  const before = process.cpuUsage();
  const object = compile(RICH);
  // A symbol table of the same function a hundred thousand times.
  const { offset, header } = sections(object).find(({ name }) => name === '.symtab') ?? {
    offset: 0,
    header: 0,
  };
  const at = object.subarray(offset).findIndex((_, i, all) => i % 24 === 0 && (all[i + 4] ?? 0) % 16 === 2);
  const entry = object.subarray(offset + at, offset + at + 24);
  const table = Buffer.concat(Array.from({ length: 100_000 }, () => entry));
  const start = Math.ceil(object.length / 8) * 8;
  const many = Buffer.concat([object, Buffer.alloc(start - object.length), table]);
  many.writeBigUInt64LE(BigInt(start), header + 0x18);
  many.writeBigUInt64LE(BigInt(table.length), header + 0x20);
  expect((await validate(many)).findings).toMatchObject([{ rule: 'function-overlap' }]);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(process.env.NODE_EBPF_TEST_NODE ? 20 : 4);
});
