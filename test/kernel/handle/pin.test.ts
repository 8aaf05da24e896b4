import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type EbpfError, EbpfStateError } from '../../../lib/core/errors.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import {
  assertNothingLeft,
  fdCount,
  mapIds,
  pinnedId,
  programIds,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { shippedObject } from '../../helpers/objects.ts';

let before: Snapshot;
let bpffs: Bpffs;
let object: BpfObject;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(async () => {
  bpffs = new Bpffs();
  object = await loadObject(shippedObject('xdp_counter'));
});
afterEach(() => {
  endChildren();
  // First: where nothing could be loaded there is no object to close, and the mount would stay.
  bpffs.close();
  object.close();
});
afterAll(() => assertNothingLeft(before));

const map = () => object.map('packet_counters');
const program = () => object.program('xdp_counter');

test('a map and a program are pinned, found again, and the map is unpinned', async () => {
  map().pin(bpffs.at('counters'));
  program().pin(bpffs.at('program'));
  expect(pinnedId('map', bpffs.at('counters'))).toBe(map().id);
  expect(pinnedId('prog', bpffs.at('program'))).toBe(program().id);
  const [mapId, programId] = [map().id, program().id];
  object.close();
  expect(mapIds().has(mapId)).toBe(true);
  expect(programIds().has(programId)).toBe(true);

  const again = BpfMap.fromPin(bpffs.at('counters'), { type: 'percpu_array', valueSize: 16 });
  expect(again).toMatchObject({ id: mapId, name: 'packet_counters', keySize: 4, maxEntries: 4 });
  expect(again.get(0)).toHaveLength(again.slotSize);
  const found = BpfProgram.fromPin(bpffs.at('program'));
  expect(found).toMatchObject({ id: programId, name: 'xdp_counter', type: 'xdp', section: '' });
  expect(found.run({ data: new Uint8Array(64) }).retval).toBe(2);
  again.unpin();
  again.unpin();
  expect(bpffs.names()).toEqual(['program']);
  expect(mapIds().has(mapId)).toBe(true);
  again.close();
  expect(() => again.unpin()).toThrow(EbpfStateError);
  expect(() => again.pin(bpffs.at('again'))).toThrow(EbpfStateError);
  found.close();
  rmSync(bpffs.at('program'));
  await untilGone({ maps: [mapId], programs: [programId] });
});

test('unpin leaves what took the name, and every pin of this handle goes', () => {
  map().pin(bpffs.at('one'));
  map().pin(bpffs.at('two'));
  rmSync(bpffs.at('one'));
  program().pin(bpffs.at('one'));
  map().unpin();
  expect(bpffs.names()).toEqual(['one']);
  expect(pinnedId('prog', bpffs.at('one'))).toBe(program().id);
});

test('a pin of another kind is refused by name, and nothing is leaked', () => {
  map().pin(bpffs.at('map'));
  program().pin(bpffs.at('program'));
  const fds = fdCount();
  expect(caught(() => BpfProgram.fromPin(bpffs.at('map')))).toMatchObject({
    name: 'EbpfError',
    code: 'ERR_EBPF_PIN_KIND',
    message: expect.stringContaining('a map is pinned there'),
    hint: expect.stringContaining('BpfMap.fromPin'),
  });
  expect(caught(() => BpfMap.fromPin(bpffs.at('program')))).toMatchObject({ code: 'ERR_EBPF_PIN_KIND' });
  expect(caught(() => BpfLink.fromPin(bpffs.at('map')))).toMatchObject({ code: 'ERR_EBPF_PIN_KIND' });
  expect(fdCount()).toBe(fds);
});

test('a map of another shape is refused member by member, and nothing is leaked', () => {
  map().pin(bpffs.at('map'));
  const fds = fdCount();
  const error = caught(() =>
    BpfMap.fromPin(bpffs.at('map'), { type: 'hash', keySize: 4, valueSize: 8, maxEntries: 4, name: 'other' }),
  );
  expect(error).toMatchObject({ name: 'EbpfMapError', code: 'ERR_EBPF_MAP_SPEC', map: 'packet_counters' });
  expect((error as Error).message).toMatch(
    /: name is packet_counters, expected other; type is percpu_array, expected hash; valueSize is 16, expected 8$/,
  );
  expect(() => BpfMap.fromPin(bpffs.at('map'), { size: 4 } as object)).toThrow(TypeError);
  expect(fdCount()).toBe(fds);
  BpfMap.fromPin(bpffs.at('map'), { name: 'packet_counters', flags: 0 }).close();
});

test.each([
  ['a dot', 'a.b', /names with a dot/, 'a_b'],
  ['two dots', '..', /cannot contain "\.\."/, undefined],
  ['a way out', 'x/../y', /cannot contain "\.\."/, undefined],
  ['no name', '', /no file name/, undefined],
  ['a trailing slash', 'x/', /no file name/, undefined],
  ['NUL', 'x\0y', /NUL/, undefined],
  ['256 bytes', 'x'.repeat(256), /255 bytes/, undefined],
])('a name with %s is refused before anything is asked of the kernel', (_, name, message, hint) => {
  const fds = fdCount();
  const path = `${bpffs.path}/${name}`;
  for (const work of [
    () => map().pin(path),
    () => program().pin(path),
    () => BpfMap.fromPin(path),
    () => BpfLink.fromPin(path),
  ]) {
    const error = caught(work) as EbpfError;
    expect(error).toMatchObject({ name: 'EbpfError', code: 'ERR_EBPF_PIN_NAME' });
    expect(error.message).toMatch(message);
    if (hint) expect(error.hint).toContain(hint);
  }
  expect(bpffs.names()).toEqual([]);
  expect(fdCount()).toBe(fds);
  expect(() => map().pin(7 as unknown as string)).toThrow(TypeError);
});

test('a name that is taken, a folder that is missing, and no BPF file system', () => {
  map().pin(bpffs.at('taken'));
  expect(caught(() => program().pin(bpffs.at('taken')))).toMatchObject({
    name: 'EbpfError',
    code: 'EEXIST',
    hint: expect.stringContaining('fromPin'),
  });
  expect(pinnedId('map', bpffs.at('taken'))).toBe(map().id);
  expect(caught(() => map().pin(bpffs.at('folder/map')))).toMatchObject({
    code: 'ENOENT',
    hint: expect.stringContaining('mkdir'),
  });
  mkdirSync(bpffs.at('folder'));
  map().pin(bpffs.at('folder/map'));
  expect(pinnedId('map', bpffs.at('folder/map'))).toBe(map().id);
  expect(caught(() => map().pin(bpffs.at('a.b/map')))).toMatchObject({ code: 'ERR_EBPF_PIN_NAME' });
  expect(caught(() => BpfMap.fromPin(bpffs.at('absent')))).toMatchObject({ code: 'ENOENT' });

  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-no.bpffs-'));
  try {
    writeFileSync(join(folder, 'file'), 'the user’s');
    for (const work of [
      () => map().pin(join(folder, 'map')),
      () => map().pin(join(folder, 'absent/map')),
      () => BpfMap.fromPin(join(folder, 'file')),
      () => BpfMap.fromPin(join(folder, 'map')),
    ]) {
      expect(caught(work)).toMatchObject({
        name: 'EbpfError',
        code: 'ERR_EBPF_NO_BPFFS',
        hint: 'mount one: mount -t bpf bpf /sys/fs/bpf',
      });
    }
    expect(readdirSync(folder)).toEqual(['file']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('by id and in lists, maps, programs and links are those that bpftool has', () => {
  using ns = createNetns();
  ns.upLoopback();
  using link = program().attachXdp({ iface: 'lo', netns: ns.path, mode: 'skb' });
  const fds = fdCount();
  const [map2, program2, link2] = [
    BpfMap.fromId(map().id),
    BpfProgram.fromId(program().id),
    BpfLink.fromId(link.id ?? 0),
  ];
  expect(map2).toMatchObject({ id: map().id, name: 'packet_counters' });
  expect(program2).toMatchObject({ id: program().id, tag: program().tag });
  expect(link2).toMatchObject({ id: link.id, kind: 'xdp', owner: 'fd' });
  expect(BpfMap.list()).toContainEqual(
    expect.objectContaining({ id: map().id, type: 'percpu_array', btf: true }),
  );
  expect(BpfProgram.list()).toContainEqual({
    id: program().id,
    name: 'xdp_counter',
    type: 'xdp',
    tag: program().tag,
  });
  expect(BpfLink.list()).toContainEqual({
    id: link.id,
    kind: 'xdp',
    programId: program().id,
    target: `ifindex ${link.ifindex}`,
  });
  // Not ours to detach: the handle alone goes.
  link2.close();
  expect(link.state()).toBe('attached');
  map2.close();
  program2.close();
  expect(fdCount()).toBe(fds);
  for (const work of [
    () => BpfMap.fromId(0xffffff0),
    () => BpfProgram.fromId(0xffffff0),
    () => BpfLink.fromId(0xffffff0),
  ]) {
    expect(caught(work)).toMatchObject({ name: 'EbpfError', code: 'ENOENT' });
  }
  expect(() => BpfMap.fromId(-1)).toThrow(RangeError);
  expect(fdCount()).toBe(fds);
});

test('without CAP_SYS_ADMIN ids are nobody’s to ask', async () => {
  const child = runModule(
    `const seen = [];
     for (const noun of [ebpf.BpfMap, ebpf.BpfProgram, ebpf.BpfLink])
       for (const work of [() => noun.list(), () => noun.fromId(1)])
         try { work(); seen.push('done'); } catch ({ name, missing }) { seen.push(name + ' ' + missing); }
     console.log([...new Set(seen)].join());`,
    { prefix: ['setpriv', '--bounding-set=-sys_admin'] },
  );
  expect(await child.line()).toBe('EbpfPermissionError CAP_SYS_ADMIN');
});

let netns: Netns;
let veth: Veth;
const at = () => ({ iface: veth.b.name, netns: netns.path });
const attachedId = () => xdpOf(netns, veth.b.name).programId;
function withVeth(body: () => Promise<void> | void): () => Promise<void> {
  return async () => {
    using namespace = createNetns();
    netns = namespace;
    veth = netns.addVeth();
    await body();
  };
}

test(
  'a netlink attachment cannot be pinned, and says what can',
  withVeth(() => {
    using link = program().attachXdp({ ...at(), via: 'netlink' });
    expect(caught(() => link.pin(bpffs.at('link')))).toMatchObject({
      name: 'EbpfError',
      code: 'ERR_EBPF_NOT_PINNABLE',
    });
    expect(link.owner).toBe('netlink');
  }),
);

test(
  'a BPF file system that is unmounted takes the pin along: the handle holds the link alone',
  withVeth(async () => {
    const link = program().attachXdp(at());
    link.pin(bpffs.at('link'));
    map().pin(bpffs.at('map'));
    bpffs.unmount();
    expect(link.state()).toBe('attached');
    writeFileSync(bpffs.at('map'), 'the user’s');
    map().unpin();
    expect(existsSync(bpffs.at('map'))).toBe(true);
    rmSync(bpffs.at('map'));
    link.close();
    await untilGone({ links: [link.id ?? 0] });
    expect(attachedId()).toBeUndefined();
    using again = program().attachXdp(at());
    again.detach();
  }),
);

test('too few descriptors are an error with the kernel’s name, and none is lost', async () => {
  map().pin(bpffs.at('map'));
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const path = ${JSON.stringify(bpffs.at('map'))};
     ebpf.BpfMap.fromPin(path).close();
     const before = fds();
     const taken = [];
     try { for (;;) taken.push(openSync('/dev/null')); } catch {}
     const codes = [];
     for (const work of [() => ebpf.BpfMap.fromPin(path), () => ebpf.BpfMap.fromId(${map().id}), () => ebpf.BpfMap.list()])
       try { work(); codes.push('done'); } catch ({ code }) { codes.push(code); }
     for (const fd of taken) closeSync(fd);
     console.log(JSON.stringify({ codes, lost: fds() - before }));`,
    { prefix: ['prlimit', '--nofile=128'] },
  );
  expect(JSON.parse(await child.line())).toEqual({ codes: ['EMFILE', 'EMFILE', 'EMFILE'], lost: 0 });
});
