import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { loadObject } from '../../../lib/object/object.ts';
import { testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  linksOf,
  type Snapshot,
  snapshotIds,
} from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['by_fentry', 'by_fexit', 'by_fmod_ret', 'by_lsm', 'calls']);
});
afterAll(() => assertNothingLeft(before));

const PROGRAMS = [
  ['by_fentry', 0, 'fentry'],
  ['by_fexit', 1, 'fentry'],
  ['by_fmod_ret', 2, 'fentry'],
  ['by_lsm', 3, 'lsm'],
] as const;

for (const [name, row, feature] of PROGRAMS) {
  testWith(feature)(`${name} by SEC()`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-tracing-'));
    using object = await loadObject(testObject('tracing'), {
      globals: { process: process.pid },
      programs: { [name]: { load: true } },
    });
    const count = () =>
      Number(new DataView((object.map('calls').get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));
    const counted = (): boolean => {
      const from = count();
      writeFileSync(join(folder, 'file'), '');
      unlinkSync(join(folder, 'file'));
      return count() > from;
    };
    const program = object.program(name);
    const fds = fdCount(process.pid, /bpf/);
    expect(counted()).toBe(false);
    const link = program.attach();
    expect(fdCount(process.pid, /bpf/)).toBe(fds + 1);
    expect([link.kind, link.state()]).toEqual(['tracing', 'attached']);
    const [shown] = linksOf([program.id]).map((id) => bpftool('link', 'show', 'id', `${id}`));
    expect(shown).toMatchObject({ id: link.id, type: 'tracing', prog_id: program.id });
    expect(counted()).toBe(true);
    link.detach();
    expect(counted()).toBe(false);
    rmSync(folder, { recursive: true });
  });
}
