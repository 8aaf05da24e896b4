import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { EbpfLoader } from '../../lib/loader/loader.ts';
import { Bpffs } from '../helpers/bpffs.ts';
import { type Child, endChildren, runModule } from '../helpers/child.ts';
import { LONG } from '../helpers/extent.ts';
import { udp4 } from '../helpers/frames.ts';
import {
  assertNothingLeft,
  linksOf,
  pinnedId,
  programExists,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { seedOf, xorshift } from '../helpers/random.ts';
import { sendFrames } from '../helpers/send.ts';
import { countedBy, filtersOf, qdiscOf, tcxOf } from '../helpers/tc.ts';

const KILLS = LONG ? 200 : 40;
const PINNED_KILLS = LONG ? 60 : 12;
const FLOOD = 1000;
const LANES = 4;

let before: Snapshot;
let netns: Netns;
beforeAll(() => {
  before = snapshotIds();
  netns = createNetns();
});
afterEach(endChildren);
afterAll(async () => {
  netns.close();
  await assertNothingLeft(before);
});

/**
 * A way to attach, each on a hook of its own of one veth pair, so that a child is killed among all of them. What a way
 * leaves, by docs/lifecycle.md: `nothing`, or at most the attachment itself with the program that made it.
 */
interface Way {
  readonly name: string;
  readonly leaves: 'nothing' | 'itself';
  /** An expression of the link; `xdp`, `tc` and `traced` are the loaded objects, `a` and `b` the ends of the pair. */
  readonly attach: string;
  /** The programs that the kernel has there. */
  readonly there: (veth: Veth) => number[];
  /** Takes off what is left. */
  readonly remove?: (veth: Veth) => void;
}

const xdpIds = (iface: string): number[] => {
  const { programId } = xdpOf(netns, iface);
  return programId === undefined ? [] : [programId];
};

const WAYS: readonly Way[] = [
  {
    name: 'xdp link',
    leaves: 'nothing',
    attach: `xdp.program('xdp_counter').attachXdp(b)`,
    there: ({ b }) => xdpIds(b.name),
  },
  {
    name: 'xdp netlink',
    leaves: 'itself',
    attach: `xdp.program('xdp_counter').attachXdp({ ...a, via: 'netlink' })`,
    there: ({ a }) => xdpIds(a.name),
    remove: ({ a }) => netns.ip('link', 'set', 'dev', a.name, 'xdp', 'off'),
  },
  {
    name: 'tcx',
    leaves: 'nothing',
    attach: `tc.program('tc_count').attachTc({ ...b, direction: 'ingress', via: 'tcx' })`,
    there: ({ b }) => tcxOf(netns, b, 'ingress').map(({ programId }) => programId),
  },
  {
    name: 'clsact',
    leaves: 'itself',
    attach: `tc.program('tc_count').attachTc({ ...b, direction: 'egress', via: 'clsact', removeQdisc: true })`,
    there: ({ b }) => filtersOf(netns, b.name, 'egress').map(({ programId }) => programId ?? -1),
    // The qdisc stays too, whether or not its filter was made yet.
    remove: ({ b }) => {
      if (qdiscOf(netns, b.name)) netns.exec('tc', ['qdisc', 'delete', 'dev', b.name, 'clsact']);
    },
  },
  {
    name: 'raw tracepoint',
    leaves: 'nothing',
    attach: `traced.program('raw_enter').attach()`,
    there: () => [],
  },
  {
    name: 'btf tracepoint',
    leaves: 'nothing',
    attach: `traced.program('btf_enter').attach()`,
    there: () => [],
  },
];

/** Cycles for ever. What the kernel gave it is written before it is used: what is left is among what was written. */
function cycling({ a, b }: Veth): Child {
  const at = (iface: string) => JSON.stringify({ iface, netns: netns.path });
  const objects = [shippedObject('xdp_counter'), testObject('tc_count'), testObject('traced')];
  return runModule(`
    const { writeSync } = await import('node:fs');
    const say = (words) => writeSync(1, words + '\\n');
    const a = ${at(a.name)}, b = ${at(b.name)};
    say('ready');
    for (;;) {
      say('load');
      const loaded = await Promise.all(${JSON.stringify(objects)}.map((path) => ebpf.loadObject(path)));
      const [xdp, tc, traced] = loaded;
      for (const object of loaded) {
        for (const { id } of Object.values(object.programs)) say('program ' + id);
        for (const { id } of Object.values(object.maps)) say('map ' + id);
      }
      const links = [];
      const attached = (link) => { if (link.id !== undefined) say('link ' + link.id); links.push(link); };
      ${WAYS.map(({ name, attach }) => `say(${JSON.stringify(`attach ${name}`)}); attached(${attach});`).join('\n')}
      for (const link of links) { say('detach'); link.detach(); }
      say('close');
      for (const object of loaded) object.close();
    }`);
}

interface Ids {
  programs: number[];
  maps: number[];
  links: number[];
}

function idsOf(stdout: string): Ids {
  const of = (noun: string) =>
    [...stdout.matchAll(new RegExp(`^${noun} (\\d+)$`, 'gm'))].map(([, id]) => Number(id));
  return { programs: of('program'), maps: of('map'), links: of('link') };
}

/** Lets a child cycle for some microseconds at the most, kills it, and gives what it wrote. */
async function killed(child: Child, atMost: number, random: (below: number) => number): Promise<string> {
  expect(await child.line()).toBe('ready');
  await sleep(random(atMost) / 1000);
  child.process.kill('SIGKILL');
  const { status, stdout, stderr } = await child.ended();
  expect({ status, stderr }).toEqual({ status: 'SIGKILL', stderr: '' });
  return stdout;
}

/** What a child wrote last, without the numbers. */
const momentOf = (stdout: string) => stdout.trimEnd().split('\n').at(-1)?.replace(/ \d+$/, '') ?? '';

const count = (counts: Map<string, number>, name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);

test(`after kill -9 at ${KILLS} random moments there is what docs/lifecycle.md says, and nothing else`, async () => {
  const random = xorshift(seedOf('kill'));
  const lanes = Array.from({ length: LANES }, () => netns.addVeth());
  const killedIn = new Map<string, number>();
  const left = new Map<string, number>();
  const made = { programs: new Set<number>(), maps: new Set<number>(), links: new Set<number>() };
  for (let round = 0; round < KILLS / LANES; round++) {
    const outputs = await Promise.all(
      // A cycle takes some 100 ms: before the first is over, or in the second.
      lanes.map((veth) => killed(cycling(veth), 150_000, random)),
    );
    for (const [lane, stdout] of outputs.entries()) {
      count(killedIn, momentOf(stdout));
      const ids = idsOf(stdout);
      for (const noun of ['programs', 'maps', 'links'] as const) {
        for (const id of ids[noun]) made[noun].add(id);
      }
      const veth = lanes[lane];
      if (!veth) return expect.unreachable();
      await untilGone({ links: ids.links });
      for (const way of WAYS) {
        const there = way.there(veth);
        if (there.length > 0) count(left, way.name);
        expect(there.length, way.name).toBeLessThanOrEqual(way.leaves === 'itself' ? 1 : 0);
        for (const id of there) expect(ids.programs, way.name).toContain(id);
        way.remove?.(veth);
        expect(way.there(veth), way.name).toEqual([]);
      }
      // No link of theirs that was made and could not be written any more.
      expect(linksOf(ids.programs)).toEqual([]);
    }
  }
  console.log('killed in', Object.fromEntries(killedIn), 'left', Object.fromEntries(left));
  await untilGone(made);
});

/** Cycles for ever through what is pinned under `root`, each program on a hook of its own of one end. */
function cyclingPinned({ b }: Veth, root: string): Child {
  const at = JSON.stringify({ iface: b.name, netns: netns.path, pin: true });
  const pinned = (name: string, attach: string) => ({ object: testObject(name), attach });
  const ways = [
    pinned('pass', 'attachXdp(handle, at)'),
    pinned('tc_count', "attachTc(handle, { ...at, direction: 'ingress', via: 'tcx' })"),
    pinned('tc_count', "attachTc(handle, { ...at, direction: 'ingress', via: 'clsact' })"),
  ];
  const lines = ways.map(
    ({ object, attach }, way) => `
      say('load');
      handle = await loader.loadProgram(${JSON.stringify(object)}, undefined, { pin: ${way > 0} });
      const { program: program${way}, object: object${way} } = loader.getProgram(handle);
      say('program ' + program${way}.id);
      for (const { id } of Object.values(object${way}.maps)) say('map ' + id);
      say('attach');
      const { link: link${way} } = await loader.${attach};
      if (link${way}.id !== undefined) say('link ' + link${way}.id);`,
  );
  return runModule(`
    const { writeSync } = await import('node:fs');
    const say = (words) => writeSync(1, words + '\\n');
    const at = ${at};
    const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(root)} });
    say('ready');
    for (let handle; ; ) {
      ${lines.join('\n')}
      say('read');
      for (const { object } of loader.listLoadedPrograms())
        for (const map of Object.values(object.maps)) map.get(0);
      for (const { handle } of loader.listLoadedPrograms()) {
        say('detach');
        await loader.detachFromInterface(handle, at);
        say('unload');
        await loader.unloadProgram(handle);
      }
    }`);
}

/** What is under a lane's root, by the names there and by bpftool(8). */
interface PinnedFolder {
  name: string;
  /** Absent where the program was not pinned yet, or not any more. */
  program?: number;
  maps: number[];
  hooks: { name: string; link?: number }[];
}

function foldersOf(root: string): PinnedFolder[] {
  const names = (...path: string[]) =>
    existsSync(join(root, ...path)) ? readdirSync(join(root, ...path)) : [];
  return names().map((name) => {
    const path = join(root, name);
    const program = existsSync(join(path, 'program'))
      ? { program: pinnedId('prog', join(path, 'program')) }
      : {};
    const maps = names(name, 'maps').map((map) => pinnedId('map', join(path, 'maps', map)));
    const hooks = names(name, 'hooks').map((hook) => {
      const link = join(path, 'hooks', hook, 'link');
      return { name: hook, ...(existsSync(link) ? { link: pinnedId('link', link) } : {}) };
    });
    return { name, ...program, maps, hooks };
  });
}

test(`after kill -9 at ${PINNED_KILLS} random moments with pins, recover() has what the kernel has, and loses no count`, async () => {
  const random = xorshift(seedOf('kill, pinned'));
  using bpffs = new Bpffs();
  const lanes = Array.from({ length: LANES }, (_, lane) => ({
    veth: netns.addVeth(),
    root: bpffs.at(`lane${lane}`),
  }));
  const killedIn = new Map<string, number>();
  const left = new Map<string, number>();
  for (let round = 0; round < PINNED_KILLS / LANES; round++) {
    const outputs = await Promise.all(
      lanes.map(({ veth, root }) => killed(cyclingPinned(veth, root), 400_000, random)),
    );
    for (const [lane, stdout] of outputs.entries()) {
      const { veth, root } = lanes[lane] ?? expect.unreachable();
      const said = idsOf(stdout);
      const { a, b } = veth;
      count(killedIn, momentOf(stdout));
      const folders = foldersOf(root);
      const whole = folders.filter(({ program }) => program !== undefined);
      // A folder that was being made, or removed, holds nothing.
      const half = folders.filter(({ program }) => program === undefined);
      expect(half.length).toBeLessThanOrEqual(1);
      for (const { maps, hooks } of half) expect([maps, hooks]).toEqual([[], []]);
      const attached = new Set([
        ...xdpIds(b.name),
        ...tcxOf(netns, b, 'ingress').map(({ programId }) => programId),
        ...filtersOf(netns, b.name, 'ingress').map(({ programId }) => programId ?? 0),
      ]);
      // All that is attached, or loaded, is pinned: nothing is left that recover() does not find.
      const programs = whole.map(({ program }) => program ?? 0);
      for (const id of attached) expect(programs).toContain(id);
      await untilGone({ programs: said.programs.filter((id) => !programs.includes(id)) });

      const loader = new EbpfLoader({ pinRoot: root });
      const warnings: string[] = [];
      loader.on('warning', (words) => warnings.push(words));
      const counts = () => [...attached].map((id) => [id, countedBy(id)] as const);
      const before = counts();
      const flood =
        attached.size === 0
          ? undefined
          : sendFrames([{ frame: udp4(), count: FLOOD }], { netns, iface: a.name, receiver: b.name });
      const recovered = await loader.recover();
      const sent = (await flood)?.sent ?? 0;
      expect(counts()).toEqual(before.map(([id, packets]) => [id, packets + sent]));

      const entries = loader.listLoadedPrograms();
      const byName = <T extends { name: string }>(these: T[]) =>
        these.sort((one, other) => one.name.localeCompare(other.name));
      expect(
        byName(
          entries.map(({ handle, program, object }) => ({
            name: handle,
            program: program.id,
            maps: Object.values(object.maps).map(({ id }) => id),
          })),
        ),
      ).toEqual(byName(whole.map(({ name, program, maps }) => ({ name, program, maps }))));
      const hooks = whole.flatMap(({ program = 0, hooks }) =>
        hooks.map(({ link }) => ({ program, link, there: attached.has(program) })),
      );
      expect(
        recovered.map(({ handle, link }) => [loader.getProgram(handle)?.program.id, link.id]).sort(),
      ).toEqual(
        hooks
          .filter(({ there }) => there)
          .map(({ program, link }) => [program, link])
          .sort(),
      );
      expect(recovered.map(({ link }) => link.state())).toEqual(recovered.map(() => 'attached'));
      // One for each record of nothing, and for each folder of nothing.
      expect(warnings).toHaveLength(hooks.filter(({ there }) => !there).length + half.length);
      for (const { kind } of recovered.map(({ link }) => link)) count(left, kind);
      if (half.length > 0) count(left, 'a folder without a program');
      for (const { there } of hooks) if (!there) count(left, 'a record of nothing');

      for (const { handle } of entries) await loader.unloadProgram(handle, { force: true });
      await loader.close();
      expect(foldersOf(root)).toEqual(half);
      expect(programs.filter(programExists)).toEqual([]);
      await untilGone(said);
      await untilGone({ maps: whole.flatMap(({ maps }) => maps) });
      expect([xdpIds(b.name), tcxOf(netns, b, 'ingress'), filtersOf(netns, b.name, 'ingress')]).toEqual([
        [],
        [],
        [],
      ]);
      rmSync(root, { recursive: true, force: true });
    }
  }
  console.log('killed in', Object.fromEntries(killedIn), 'left', Object.fromEntries(left));
});
