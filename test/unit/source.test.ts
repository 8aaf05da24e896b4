import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EbpfValidationError } from '../../lib/core/errors.ts';
import { loadObject, loadObjectSync } from '../../lib/object/object.ts';
import { inspect } from '../../lib/object-file/inspect.ts';
import { validate } from '../../lib/object-file/validate.ts';
import { BROKEN } from '../helpers/broken.ts';
import { caught } from '../helpers/caught.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';

// Files that are no object, each refused by rule before anything is asked of the kernel: no privilege is needed here.

let folder: string;
let object: Buffer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-'));
  object = readFileSync(shippedObject('xdp_counter'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(BROKEN)('$what is refused by the rule $rule', async ({ rule, make }) => {
  const path = make(folder);
  const report = await validate(path);
  expect(report).toMatchObject({ ok: false, findings: [{ rule, level: 'error', place: path }] });
  expect(report.object).toBeUndefined();
  const refusal = { name: 'EbpfValidationError', code: 'ERR_EBPF_INVALID_OBJECT', findings: [{ rule }] };
  expect(caught(() => inspect(path))).toMatchObject(refusal);
  expect(caught(() => loadObjectSync(path))).toMatchObject(refusal);
  await expect(loadObject(path)).rejects.toMatchObject(refusal);
});

test('a big-endian object made by clang', async () => {
  const path = join(folder, 'bpfeb.o');
  const source = 'int f(void *c) { return 0; }';
  execFileSync('clang-14', ['-target', 'bpfeb', '-c', '-x', 'c', '-', '-o', path], { input: source });
  expect((await validate(path)).findings).toMatchObject([
    { rule: 'elf-byte-order', remedy: expect.stringContaining('bpfel') },
  ]);
});

test('a limit of the caller’s', async () => {
  const path = shippedObject('xdp_counter');
  expect(await validate(path, { limits: { fileBytes: 100 } })).toMatchObject({
    ok: false,
    findings: [{ rule: 'file-size' }],
  });
  expect(await validate(path, { limits: { fileBytes: object.length } })).toMatchObject({
    ok: true,
    findings: [],
  });
});

test('every cut of an object is refused or whole, never a crash', async () => {
  for (let length = 0; length < object.length; length += 97) {
    const { ok, findings } = await validate(object.subarray(0, length));
    expect(ok || findings.length > 0).toBe(true);
    if (length < object.length / 2) expect(ok).toBe(false);
  }
});

test('bytes are a source too, and other things are not', async () => {
  expect((await validate(object)).ok).toBe(true);
  expect((await validate(new Uint8Array(100))).findings).toMatchObject([
    { rule: 'elf-magic', place: '<bytes>' },
  ]);
  await expect(validate(42 as unknown as string)).rejects.toThrow(TypeError);
  await expect(validate(new URL('https://example.org/x.o'))).rejects.toThrow(TypeError);
});

test('inspect tells programs, maps, licence and BTF', () => {
  expect(inspect(shippedObject('xdp_counter'))).toMatchObject({
    license: 'Dual BSD/GPL',
    hasBtf: true,
    coreRelocations: 0,
    bytes: object.length,
    programs: [{ name: 'xdp_counter', section: 'xdp', type: 'xdp' }],
    maps: [
      { name: 'packet_counters', type: 'percpu_array', keySize: 4, valueSize: 16, maxEntries: 4, flags: 0 },
    ],
  });
  expect(inspect(testObject('tracepoint')).programs).toMatchObject([
    { type: 'raw_tracepoint', attachTarget: 'sys_enter' },
  ]);
  expect(inspect(testObject('two_programs')).programs.map(({ name }) => name)).toEqual(['first', 'second']);
});

test('an object without a licence, or with a section that names no type, has findings', async () => {
  const compile = (source: string) => {
    const path = join(folder, `made-${source.length}.o`);
    execFileSync('clang-14', ['-target', 'bpf', '-O2', '-c', '-x', 'c', '-', '-o', path], { input: source });
    return path;
  };
  const program = (section: string) =>
    `__attribute__((section("${section}"), used)) int f(void *c) { return 0; }\n`;
  const license = '__attribute__((section("license"), used)) char l[] = "GPL";\n';
  const findings = async (source: string) =>
    (await validate(compile(source))).findings.map(({ rule, level }) => `${level} ${rule}`);
  expect(await findings(program('xdp'))).toEqual(['warning license-missing', 'warning btf-missing']);
  expect(await findings(license + program('my_own'))).toEqual([
    'error section-unknown',
    'warning btf-missing',
  ]);
  expect(await findings(license)).toEqual(['error object-empty', 'warning btf-missing']);
  expect(await findings(license + program('tc'))).toEqual(['warning btf-missing']);
});

test('an error is an Error with findings and a remedy', () => {
  const empty = join(folder, 'empty.o');
  writeFileSync(empty, '');
  const error = caught(() => inspect(empty));
  expect(error).toBeInstanceOf(EbpfValidationError);
  expect((error as EbpfValidationError).hint).toMatch(/clang -target bpf/);
});

test('a file that gives less than its size is judged by what it gives', async () => {
  const path = '/sys/devices/system/cpu/possible'; // a page by fstat(2)
  expect(await validate(path)).toMatchObject({ ok: false, findings: [{ place: path }] });
  expect(caught(() => inspect(path))).toMatchObject({ name: 'EbpfValidationError' });
});
