import { expect, test } from 'vitest';
import type { LoadOptions } from '../../lib/object/load-options.ts';
import { loadObjectSync } from '../../lib/object/object.ts';
import { inspect } from '../../lib/object-file/inspect.ts';
import { chooseProgram } from '../../lib/object-file/program-type.ts';
import { caught } from '../helpers/caught.ts';
import { compile } from '../helpers/elf.ts';
import { testObject } from '../helpers/objects.ts';

// What of an object is meant: refused before the kernel is asked.

const two = () => inspect(testObject('two_programs'));
const ONE = 'SEC("xdp") int only(void *c) { return 2; }';

test('the one program that fits is chosen', () => {
  const [first, second] = two().programs;
  expect(chooseProgram('two.o', two(), undefined, second?.name)).toEqual(second);
  expect(chooseProgram('one.o', inspect(compile(ONE)), 'xdp', undefined)).toMatchObject({ name: 'only' });
  expect(caught(() => chooseProgram('two.o', two(), undefined, undefined))).toMatchObject({
    code: 'ERR_EBPF_AMBIGUOUS',
    message: `load two.o: 2 programs match: ${first?.name} (${first?.type}), ${second?.name} (${second?.type})`,
  });
});

test.each([
  ['kprobe', undefined, 'it has no kprobe'],
  ['tc', 'only', 'it has no tc "only"'],
  [undefined, 'other', 'it has no "other"'],
] as const)('type %s and name %s fit none', (type, name, message) => {
  expect(caught(() => chooseProgram('one.o', inspect(compile(ONE)), type, name))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
    message: `load one.o: ${message}`,
    hint: 'its programs: only (xdp)',
  });
});

test('an object of maps alone holds no program', () => {
  const map =
    'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, int); } m SEC(".maps");';
  expect(caught(() => chooseProgram('maps.o', inspect(compile(map)), undefined, undefined))).toMatchObject({
    message: 'load maps.o: it has no program',
    hint: 'its programs: none',
  });
});

test.each<[LoadOptions, object]>([
  [{ maps: { counts: { maxEntries: 1 } } }, { code: 'ERR_EBPF_NO_MAP', hint: 'it has no map at all' }],
  [{ programs: { onyl: {} } }, { code: 'ERR_EBPF_NO_PROGRAM', hint: 'it has only' }],
  [{ globals: { limit: 1 } }, { code: 'ERR_EBPF_NO_GLOBAL' }],
])('%j is refused', (options, expected) => {
  expect(caught(() => loadObjectSync(compile(ONE), options))).toMatchObject(expected);
});
