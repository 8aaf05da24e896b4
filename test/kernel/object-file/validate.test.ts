import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { loadObject } from '../../../lib/object/object.ts';
import { inspect } from '../../../lib/object-file/inspect.ts';
import { validate } from '../../../lib/object-file/validate.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { compile } from '../../helpers/elf.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';

// The verifier's own verdict, and what this library counts against what libbpf and the kernel count.

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['watch', 'gpl_only', 'pinned', 'm', 'calls', 'leaf', 'nameless', 'shaped']);
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const SHIPPED = [shippedObject('xdp_counter')];
const TESTED = ['odd_value', 'pass', 'tracepoint', 'two_programs'].map(testObject);
const CALLS = `
static __attribute__((noinline)) int leaf(int x) { asm volatile(""); return x + 1; }
static __attribute__((noinline)) int branch(int x) { return leaf(x) * leaf(x + 1); }
__attribute__((noinline)) int global(int x) { return branch(x) + 3; }
static long each(unsigned int i, void *c) { return leaf(i) & 1; }
SEC("xdp") int calls(struct xdp_md *c) { bpf_loop(4, each, 0, 0); return global(c->data_end - c->data) & 1; }
SEC("xdp") int watch(struct xdp_md *c) { return branch(c->ingress_ifindex) & 1; }`;

test.each([...SHIPPED, ...TESTED])('%s: inspect counts the instructions that libbpf loads', async (path) => {
  using object = await loadObject(path);
  for (const { name, instructions } of inspect(path).programs) {
    expect(object.program(name).native.describe().instructions).toBe(instructions);
  }
});

test('…and those of the functions that a program calls', async () => {
  const bytes = compile(CALLS);
  using object = await loadObject(bytes);
  for (const { name, instructions } of inspect(bytes).programs) {
    expect(object.program(name).native.describe().instructions).toBe(instructions);
  }
});

test.each([...SHIPPED, ...TESTED])('dryRun: the verifier takes %s, and says what it costs', async (path) => {
  const { ok, findings, verifier = [], object } = await validate(path, { dryRun: true });
  expect({ ok, findings }).toEqual({ ok: true, findings: [] });
  expect(verifier.map(({ program }) => program)).toEqual(object?.programs.map(({ name }) => name));
  for (const verdict of verifier) {
    expect(verdict).toEqual({
      program: verdict.program,
      ok: true,
      processed: expect.any(Number),
      peakStates: expect.any(Number),
      stackDepth: expect.any(Number),
    });
    expect(verdict.processed).toBeGreaterThan(1);
    expect(verdict.stackDepth % 8).toBe(0);
    using loaded = await loadObject(path);
    expect(loaded.program(verdict.program).stats().verifiedInstructions).toBe(verdict.processed);
  }
});

test('dryRun: what the verifier refuses, with its place, its words and its log', async () => {
  const { ok, findings, verifier } = await validate(testObject('refused'), { dryRun: true });
  expect(ok).toBe(false);
  expect(findings).toEqual([
    {
      rule: 'verifier-refused',
      level: 'error',
      place: expect.stringMatching(
        /refused\.bpf\.o, section xdp, program refused, instruction 1( \(refused\.bpf\.c:11\))?$/,
      ),
      message: expect.stringContaining('outside of the packet'),
      remedy: expect.any(String),
    },
  ]);
  expect(verifier).toMatchObject([{ program: 'refused', ok: false, processed: 2 }]);
  expect(verifier?.[0]?.log).toMatch(/invalid access to packet[\s\S]*processed 2 insns/);
});

test('dryRun: one program is refused, and the others are judged all the same', async () => {
  const bytes = compile(`SEC("xdp") int watch(struct xdp_md *c) { return *(char *)(long)c->data; }
    SEC("?xdp") int calls(struct xdp_md *c) { return 2; }`);
  const { verifier, findings } = await validate(bytes, { dryRun: true });
  expect(verifier).toMatchObject([
    { program: 'watch', ok: false },
    { program: 'calls', ok: true },
  ]);
  expect(findings.map(({ rule }) => rule)).toEqual(['verifier-refused']);
});

test('dryRun: a map that would be pinned by its name is not', async () => {
  const bytes = compile(`struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int);
    __type(value, int); __uint(pinning, LIBBPF_PIN_BY_NAME); } pinned SEC(".maps");
    SEC("xdp") int watch(void *c) { int k = 0; return bpf_map_lookup_elem(&pinned, &k) ? 1 : 2; }`);
  expect(await validate(bytes, { dryRun: true })).toMatchObject({ ok: true, findings: [] });
  await assertNothingLeft(before);
});

test('dryRun: what the kernel refuses of a map', async () => {
  const bytes =
    compile(`struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __uint(map_flags, 1 << 30);
    __type(key, int); __type(value, int); } m SEC(".maps");
    SEC("xdp") int watch(void *c) { int k = 0; return bpf_map_lookup_elem(&m, &k) ? 1 : 2; }`);
  expect((await validate(bytes, { dryRun: true })).findings).toMatchObject([
    { rule: 'dry-run-failed', message: expect.stringMatching(/map 'm': .*failed/) },
  ]);
});

// BPF_F_NO_PREALLOC, BPF_F_MMAPABLE
const NO_PREALLOC = '__uint(map_flags, 1);';
const MMAPABLE = '__uint(map_flags, 1 << 10);';
const sizes = (key: number, value: number) => `__uint(key_size, ${key}); __uint(value_size, ${value});`;
const ENTRY = '__uint(max_entries, 1);';
const shaped = (type: string | number, definition: string) =>
  compile(`struct { __uint(type, ${type}); ${definition} } shaped SEC(".maps");
    SEC("xdp") int watch(void *c) { return 2; }`);

test.each<[string, string | number, string, string]>([
  ['a prefix of no bytes', 'BPF_MAP_TYPE_LPM_TRIE', ENTRY + NO_PREALLOC + sizes(4, 8), 'map-key-size'],
  ['a prefix of 257 bytes', 'BPF_MAP_TYPE_LPM_TRIE', ENTRY + NO_PREALLOC + sizes(261, 8), 'map-key-size'],
  ['half a frame', 'BPF_MAP_TYPE_STACK_TRACE', ENTRY + sizes(4, 12), 'map-value-size'],
  ['a per-CPU value over 32 KiB', 'BPF_MAP_TYPE_PERCPU_ARRAY', ENTRY + sizes(4, 32776), 'map-value-size'],
  [
    'entries for a local storage',
    'BPF_MAP_TYPE_SK_STORAGE',
    `${ENTRY}${NO_PREALLOC}__type(key, int); __type(value, long);`,
    'map-entries',
  ],
  ['a ring of no bytes', 'BPF_MAP_TYPE_RINGBUF', '', 'map-entries'],
  ['an array of no entries', 'BPF_MAP_TYPE_ARRAY', sizes(4, 8), 'map-entries'],
  ['an arena that is not mapped', 33, ENTRY, 'map-flags'],
])('a map that breaks a rule is one that the kernel refuses: %s', async (_, type, definition, rule) => {
  const { findings } = await validate(shaped(type, definition), { dryRun: true });
  expect(findings.map((finding) => finding.rule)).toEqual([rule, 'dry-run-failed']);
  expect(findings[1]?.message).toMatch(/map 'shaped': .*failed/);
});

test.each<[string, string | number, string]>([
  ['the shortest prefix', 'BPF_MAP_TYPE_LPM_TRIE', ENTRY + NO_PREALLOC + sizes(5, 8)],
  ['the longest prefix', 'BPF_MAP_TYPE_LPM_TRIE', ENTRY + NO_PREALLOC + sizes(260, 8)],
  ['two frames', 'BPF_MAP_TYPE_STACK_TRACE', ENTRY + sizes(4, 16)],
  ['a per-CPU value of 32 KiB', 'BPF_MAP_TYPE_PERCPU_ARRAY', ENTRY + sizes(4, 32768)],
  ['a local storage', 'BPF_MAP_TYPE_SK_STORAGE', `${NO_PREALLOC}__type(key, int); __type(value, long);`],
  ['a ring of a page', 'BPF_MAP_TYPE_RINGBUF', '__uint(max_entries, 4096);'],
  ['events of as many CPUs as there are', 'BPF_MAP_TYPE_PERF_EVENT_ARRAY', sizes(4, 4)],
])('a map that breaks no rule is one that the kernel takes: %s', async (_, type, definition) => {
  expect(await validate(shaped(type, definition), { dryRun: true })).toMatchObject({
    ok: true,
    findings: [],
  });
});

test('an arena is as large as its pages', async () => {
  const bytes = shaped(33, `__uint(max_entries, 10);${MMAPABLE}`);
  const rules = async (mapBytes: number) =>
    (await validate(bytes, { limits: { mapBytes } })).findings.map(({ rule }) => rule);
  expect(await rules(10 * 4096)).toEqual([]);
  expect(await rules(10 * 4096 - 1)).toEqual(['map-limit-bytes']);
});

test.each([
  ['CAP_BPF', ['bpf', 'sys_admin']],
  ['CAP_NET_ADMIN', ['net_admin', 'sys_admin']],
  ['CAP_PERFMON', ['perfmon', 'sys_admin']],
])('dryRun without %s: a finding names it', async (capability, dropped) => {
  const child = runModule(
    `console.log(JSON.stringify(await ebpf.validate(${JSON.stringify(SHIPPED[0])}, { dryRun: true })));`,
    { prefix: ['setpriv', `--bounding-set=${dropped.map((name) => `-${name}`).join(',')}`] },
  );
  const { stdout, stderr } = await child.ended();
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toMatchObject({
    ok: false,
    findings: [
      {
        rule: 'dry-run-permission',
        message: `the process lacks ${capability}`,
        remedy: expect.stringContaining(capability),
      },
    ],
    object: { license: 'Dual BSD/GPL' },
  });
});

test('the licence rules are the kernel’s', async () => {
  const license = 'char LICENSE[] SEC("license") = "Proprietary";';
  const calling = (helper: string) =>
    compile(`SEC("xdp") int gpl_only(struct xdp_md *c) { return ${helper} & 1; }`, { license });
  const free = await validate(calling('bpf_get_prandom_u32()'), { dryRun: true });
  expect(free).toMatchObject({ ok: true, findings: [] });
  const restricted = await validate(calling('bpf_get_current_task()'), { dryRun: true });
  expect(restricted.findings.map(({ rule }) => rule)).toEqual(['license-helper', 'verifier-refused']);
  expect(restricted.findings[1]?.message).toMatch(/GPL/);
  const none = await validate(compile('SEC("xdp") int nameless(void *c) { return 2; }', { license: '' }), {
    dryRun: true,
  });
  expect(none).toMatchObject({ ok: true, findings: [{ rule: 'license-missing' }] });
});
