import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { xdpQuery } from '../../../lib/attach/xdp-query.ts';
import type { NetTarget } from '../../../lib/kernel/interfaces.ts';
import type { BpfLink } from '../../../lib/link/link.ts';
import type { BpfProgram } from '../../../lib/program/program.ts';
import { XdpCounter } from '../../../lib/programs/xdp-counter.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { fdCount, linksOf, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { each, rows } from '../../helpers/rows.ts';
import { filtersOf, tcxOf } from '../../helpers/tc.ts';
import { without } from '../../helpers/under.ts';
import { until } from '../../helpers/until.ts';
import type { World } from '../../helpers/world.ts';

const COUNTER = shippedObject('xdp_counter');
const WAYS = ['XDP', 'XDP by netlink', 'TCX', 'clsact'] as const;
type Way = (typeof WAYS)[number];

const thread = () => readlinkSync('/proc/thread-self/ns/net');

function attachTo(program: BpfProgram, way: Way, at: NetTarget): BpfLink {
  return way.startsWith('XDP')
    ? program.attachXdp({ ...at, via: way === 'XDP' ? 'link' : 'netlink' })
    : program.attachTc({ ...at, direction: 'ingress', via: way === 'TCX' ? 'tcx' : 'clsact' });
}

function attach(world: World, way: Way, at: NetTarget): { link: BpfLink; id: number } {
  const program = world.program(way.startsWith('XDP') ? 'xdp_counter' : 'tc_count');
  return { link: attachTo(program, way, at), id: program.id };
}

/** The programs on the end that programs go on, as ip(8), tc(8) and bpf(2) have them in that namespace. */
function on(netns: Netns): number[] {
  const end = netns.interface('v0b');
  const tc = [...tcxOf(netns, end, 'ingress'), ...filtersOf(netns, end.name, 'ingress')];
  return [xdpOf(netns, end.name), ...tc].flatMap(({ programId }) => programId ?? []);
}

/** A second namespace whose interfaces have the names and numbers of the world's. */
function twin(world: World): Netns {
  const netns = world.hold(createNetns());
  expect(netns.addVeth()).toMatchObject({
    a: { name: world.veth.a.name, ifindex: world.veth.a.ifindex },
    b: { name: world.veth.b.name, ifindex: world.veth.b.ifindex },
  });
  return netns;
}

rows('Network namespaces', [
  {
    row: 'any with netns | a path, a descriptor',
    check: {
      ...each(WAYS, async (world, way) => {
        const other = twin(world);
        const xdp = way.startsWith('XDP');
        const first = world.program(xdp ? 'xdp_counter' : 'tc_count');
        const next = world.program(xdp ? 'pass' : 'tc_count');
        const home = thread();
        const fds = fdCount();
        for (const netns of [world.netns.path, openSync(world.netns.path, 'r')]) {
          const at = { iface: world.iface, netns };
          const link = attachTo(first, way, at);
          expect([on(world.netns), on(other)]).toEqual([[first.id], []]);
          if (xdp) {
            expect(xdpQuery(at).programId).toBe(first.id);
            expect(caught(() => attachTo(next, way, at))).toMatchObject({ holder: { programId: first.id } });
          }
          // What is attached needs no more of it.
          if (typeof netns === 'number') closeSync(netns);
          expect(link.state()).toBe('attached');
          link.update(next);
          expect(on(world.netns)).toEqual([next.id]);
          link.detach();
          expect(on(world.netns)).toEqual([]);
          expect(thread()).toBe(home);
        }
        expect(fdCount()).toBe(fds);
        await world.atHome();
      }),
      // The process's own namespace has an interface of that name and ifindex too.
      async 'lo, by the loader and by XdpCounter'(world) {
        world.netns.upLoopback();
        const own = () => [
          thread(),
          execFileSync('ip', ['-details', 'link', 'show', 'lo'], { encoding: 'utf8' }),
        ];
        const before = own();
        const handle = await world.loader.loadProgram(testObject('pass'));
        const id = world.loader.getProgram(handle)?.program.id ?? 0;
        for (const netns of [world.netns.path, openSync(world.netns.path, 'r')]) {
          const at = { iface: 'lo', netns };
          expect((await world.loader.attachXdp(handle, { ...at, mode: 'skb' })).mode).toBe('skb');
          expect(world.xdp('lo')).toEqual({ mode: 'skb', programId: id });
          expect(world.loader.getInterfacePrograms('lo')).toEqual([]);
          expect(await world.loader.detachFromInterface(handle, at)).toBe(true);
          const counter = await XdpCounter.attach(at);
          if (typeof netns === 'number') closeSync(netns);
          expect(world.xdp('lo')).toMatchObject({ mode: 'skb' });
          expect(counter.read().udp.packets).toBe(0);
          counter.close();
          expect(world.xdp('lo')).toEqual({});
          expect(own()).toEqual(before);
        }
      },
    },
  },
  {
    row: 'any with netns | the same name and ifindex in two namespaces',
    check: {
      ...each(WAYS, (world, way) => {
        const other = twin(world);
        const first = attach(world, way, world.at);
        const second = attach(world, way, { ...world.at, netns: other.path });
        expect([on(world.netns), on(other)]).toEqual([[first.id], [second.id]]);
        expect([first.link.state(), second.link.state()]).toEqual(['attached', 'attached']);
        first.link.detach();
        expect([on(world.netns), on(other)]).toEqual([[], [second.id]]);
        second.link.close();
        expect(on(other)).toEqual([]);
      }),
      ...each(['XDP, by the loader', 'TC, by the loader'], async (world, what) => {
        const other = twin(world);
        const { loader } = world;
        const xdp = what.startsWith('XDP');
        const handle = await loader.loadProgram(xdp ? COUNTER : testObject('tc_count'));
        const id = loader.getProgram(handle)?.program.id ?? 0;
        const attachTo = (at: NetTarget) =>
          xdp ? loader.attachXdp(handle, at) : loader.attachTc(handle, { ...at, direction: 'ingress' });
        const there = { ...world.at, netns: other.path };
        const first = await attachTo(world.at);
        const second = await attachTo(there);
        expect(second).not.toBe(first);
        expect([await attachTo(world.at), await attachTo(there)]).toEqual([first, second]);
        expect([on(world.netns), on(other)]).toEqual([[id], [id]]);
        expect(await loader.detachFromInterface(handle, there)).toBe(true);
        expect([on(world.netns), on(other)]).toEqual([[id], []]);
        expect(await loader.detachFromInterface(handle, there)).toBe(false);
        expect(loader.getProgram(handle)?.attachments).toEqual([first]);
        expect(await loader.detachFromInterface(handle, world.at)).toBe(true);
        expect([on(world.netns), linksOf([id])]).toEqual([[], []]);
      }),
    },
  },
  {
    row: 'any with netns | the path does not exist, or is not a network namespace',
    async check(world) {
      const { loader } = world;
      const handle = await loader.loadProgram(COUNTER);
      const tc = await loader.loadProgram(testObject('tc_count'));
      const folder = world.folder();
      const fifo = join(folder, 'fifo'); // opening one would wait for its writer
      execFileSync('mkfifo', [fifo]);
      const fds = fdCount();
      for (const [netns, code] of [
        ['/run/netns/not-there', 'ENOENT'],
        [fifo, 'EINVAL'],
        [folder, 'EINVAL'],
        ['/proc/self/status', 'EINVAL'],
        ['/proc/self/ns/uts', 'EINVAL'],
        [1_000_000, 'EBADF'],
      ] as const) {
        const refused = {
          name: 'EbpfAttachError',
          code,
          message: expect.stringContaining(String(netns)),
        };
        const at = { iface: 'lo', netns };
        expect(caught(() => xdpQuery(at))).toMatchObject(refused);
        expect(await rejection(loader.attachXdp(handle, at))).toMatchObject(refused);
        expect(await rejection(loader.attachTc(tc, { ...at, direction: 'ingress' }))).toMatchObject(refused);
      }
      await expect(
        loader.attachXdp(handle, { iface: 'lo', netns: `${world.netns.path}\0` }),
      ).rejects.toThrow();
      expect(fdCount()).toBe(fds);
      expect(loader.listLoadedPrograms().flatMap(({ attachments }) => attachments)).toEqual([]);
    },
  },
  {
    row: 'any with netns | the path now means another namespace',
    check: {
      ...each(WAYS, (world, way) => {
        const other = twin(world);
        const path = join(world.folder(), 'netns');
        symlinkSync(world.netns.path, path);
        const { link, id } = attach(world, way, { ...world.at, netns: path });
        unlinkSync(path);
        symlinkSync(other.path, path);
        const theirs = attach(world, way, { ...world.at, netns: other.path });
        expect(link.state()).toBe('attached');
        expect([on(world.netns), on(other)]).toEqual([[id], [theirs.id]]);
        link.detach();
        expect([on(world.netns), on(other)]).toEqual([[], [theirs.id]]);
      }),
      async 'by the loader'(world) {
        const other = twin(world);
        const path = join(world.folder(), 'netns');
        symlinkSync(world.netns.path, path);
        const handle = await world.loader.loadProgram(COUNTER);
        const id = world.loader.getProgram(handle)?.program.id ?? 0;
        const at = { ...world.at, netns: path };
        const first = await world.loader.attachXdp(handle, at);
        unlinkSync(path);
        symlinkSync(other.path, path);
        expect(await world.loader.detachFromInterface(handle, at)).toBe(false);
        expect([on(world.netns), on(other)]).toEqual([[id], []]);
        expect(await world.loader.attachXdp(handle, at)).not.toBe(first);
        expect([on(world.netns), on(other)]).toEqual([[id], [id]]);
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect([on(world.netns), on(other)]).toEqual([[], [id]]);
      },
    },
  },
  {
    row: 'any with netns | the namespace is removed',
    check: each(WAYS, async (world, way) => {
      const other = twin(world);
      // A pair goes with either end: this one is there as long as the other namespace is.
      other.ip('link', 'add', 'far', 'type', 'veth', 'peer', 'name', 'near', 'netns', world.netns.name);
      const lives = () => world.netns.ip('-br', 'link').includes('near');
      const { link, id } = attach(world, way, { ...world.at, netns: other.path });
      expect([on(other), lives()]).toEqual([[id], true]);
      other.close();
      if (link.owner === 'fd') {
        await until(() => link.state() === 'detached');
        await until(() => !lives());
      } else {
        expect([link.state(), lives()]).toEqual(['attached', true]);
      }
      link.close();
      await until(() => !lives());
      expect(linksOf([id])).toEqual([]);
    }),
  },
  {
    row: 'any with netns | without CAP_SYS_ADMIN',
    check: each(['another namespace', 'its own'], async (world, which) => {
      const path = which === 'its own' ? '/proc/self/ns/net' : world.netns.path;
      const failure = await without(
        ['sys_admin'],
        `const object = await ebpf.loadObject(${JSON.stringify(COUNTER)});
         object.program('xdp_counter').attachXdp({ iface: 'lo', netns: ${JSON.stringify(path)} })`,
      );
      expect(failure).toMatchObject({ name: 'EbpfPermissionError', missing: ['CAP_SYS_ADMIN'] });
      expect(world.xdp('lo')).toEqual({});
    }),
  },
]);
