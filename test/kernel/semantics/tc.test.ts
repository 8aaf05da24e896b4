import { expect } from 'vitest';
import { TcLink } from '../../../lib/attach/tc.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { caught } from '../../helpers/caught.ts';
import { swapUnderFlood } from '../../helpers/flood.ts';
import { linksOf, programExists } from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';
import { each, rows } from '../../helpers/rows.ts';
import { addForeignFilters, countedBy, filtersOf, qdiscOf, replaceFilter, tcxOf } from '../../helpers/tc.ts';
import type { World } from '../../helpers/world.ts';

const TC = JSON.stringify(testObject('tc_count'));
const hex = (handle: number | undefined) => `0x${handle?.toString(16)}`;
const qdisc = (world: World, verb: 'add' | 'delete', kind = 'clsact') =>
  world.netns.exec('tc', ['qdisc', verb, 'dev', world.iface, kind]);

const WAYS = [
  ['ingress', 'tcx'],
  ['egress', 'tcx'],
  ['ingress', 'clsact'],
  ['egress', 'clsact'],
] as const;

rows('TC', [
  {
    row: 'attachTc | ingress or egress, via tcx or clsact',
    check: Object.fromEntries(
      WAYS.map(([direction, via]) => [
        `${direction}, ${via}`,
        async (world: World) => {
          const { netns } = world;
          // What is sent on a goes out of a and comes in on b.
          const end = direction === 'ingress' ? world.veth.b : world.veth.a;
          const other = direction === 'ingress' ? 'egress' : 'ingress';
          const counter = world.program('tc_count');
          const link = counter.attachTc({ iface: end.ifindex, netns: netns.path, direction, via });
          expect(link).toBeInstanceOf(TcLink);
          expect(link).toMatchObject({ kind: via, via, direction, ifindex: end.ifindex });
          expect(link.state()).toBe('attached');
          if (via === 'tcx') {
            expect(tcxOf(netns, end, direction)).toEqual([{ programId: counter.id, linkId: link.id }]);
            expect(link.owner).toBe('fd');
            expect([link.priority, link.handle]).toEqual([undefined, undefined]);
            expect(qdiscOf(netns, end.name)).toBeUndefined();
          } else {
            expect(filtersOf(netns, end.name, direction)).toEqual([
              { kind: 'bpf', priority: link.priority, handle: hex(link.handle), programId: counter.id },
            ]);
            expect(link.owner).toBe('netlink');
            expect([link.id, linksOf([counter.id])]).toEqual([undefined, []]);
          }
          expect(filtersOf(netns, end.name, other)).toEqual([]);
          expect(tcxOf(netns, end, other)).toEqual([]);
          expect(await world.send(500)).toBe(500);
          expect(countedBy(counter.id)).toBe(500);

          link.close();
          link.close();
          expect(tcxOf(netns, end, direction)).toEqual([]);
          expect(filtersOf(netns, end.name, direction)).toEqual([]);
          expect(caught(() => link.state())).toMatchObject({ name: 'EbpfStateError', state: 'closed' });
          await world.send(10);
          expect(countedBy(counter.id)).toBe(500);
        },
      ]),
    ),
  },
  {
    row: "attachTc | via: 'auto' (default)",
    check: {
      'TCX, and clsact for a priority or handle'(world) {
        const counter = world.program('tc_count');
        using first = counter.attachTc(world.ingress);
        using second = counter.attachTc({ ...world.ingress, priority: 7 });
        using third = counter.attachTc({ ...world.ingress, handle: 0xffff_ffff });
        expect([first.via, second.via, third.via]).toEqual(['tcx', 'clsact', 'clsact']);
        expect(world.tcx()).toEqual([{ programId: counter.id, linkId: first.id }]);
        expect(world.filters().map(({ priority, handle }) => [priority, handle])).toEqual([
          [7, hex(second.handle)],
          [third.priority, '0xffffffff'],
        ]);
      },
      async 'a kernel without TCX'(world) {
        const prefix = world.addonWith(`tcxPrograms() {
          throw Object.assign(new Error('Invalid argument'), { errno: 22, operation: 'bpf_prog_query' });
        }`);
        const at = JSON.stringify(world.ingress);
        const { answer, end } = await world.holding<{ refused: object[]; via: string }>(
          `const program = ebpf.loadObjectSync(${TC}).program('tc_count');
           const refused = [{ order: 'first' }, { via: 'tcx' }].map((options) => {
             try {
               return program.attachTc({ ...${at}, ...options }).via;
             } catch ({ name, feature, minKernel }) {
               return { name, feature, minKernel };
             }
           });`,
          `{ refused, via: program.attachTc(${at}).via }`,
          undefined,
          { prefix },
        );
        const refused = { name: 'EbpfNotSupportedError', feature: 'tcx', minKernel: '6.6' };
        expect(answer).toEqual({ refused: [refused, refused], via: 'clsact' });
        expect([world.filters().length, world.tcx().length]).toEqual([1, 0]);
        expect(await end()).toBe(0);
        expect(world.filters()).toEqual([]);
      },
    },
  },
  {
    row: 'attachTc | clsact, and there is no qdisc',
    check(world) {
      expect(world.qdisc()).toBeUndefined();
      const counter = world.program('tc_count');
      counter.attachTc({ ...world.ingress, via: 'clsact' }).detach();
      expect(world.qdisc()).toBe('clsact');
      // It is no longer ours to remove: somebody may have come to rely on it.
      counter.attachTc({ ...world.ingress, via: 'clsact', removeQdisc: true }).close();
      expect(world.qdisc()).toBe('clsact');
    },
  },
  {
    row: 'attachTc | clsact, and no priority or handle is named',
    check: {
      'beside 20 of others'(world) {
        addForeignFilters(world.netns, world.iface, 'ingress');
        const counter = world.program('tc_count');
        const clsact = { ...world.ingress, via: 'clsact' } as const;
        const free = [counter, counter, counter].map((each) => each.attachTc(clsact));
        const beside = counter.attachTc({ ...world.ingress, priority: 3 });
        const places = world.filters().map(({ priority, handle }) => `${priority} ${handle}`);
        expect(new Set(places).size).toBe(24);
        expect(world.filters().filter(({ programId }) => programId === counter.id)).toHaveLength(4);
        // Foreign filters below 32768 run before ours.
        expect(Math.min(...free.map(({ priority }) => priority ?? 0))).toBeGreaterThan(32_768);
        for (const link of [...free, beside]) link.detach();
        expect(world.filters()).toHaveLength(20);
      },
      'where the kernel has no priority left to give'(world) {
        // From 32768 on it gives out what is before the lowest one (net/sched/cls_api.c, tcf_auto_prio).
        const counter = world.program('tc_count');
        using _ = counter.attachTc({ ...world.ingress, priority: 32_768 });
        using first = counter.attachTc({ ...world.ingress, via: 'clsact' });
        using second = counter.attachTc({ ...world.ingress, via: 'clsact' });
        expect(world.filters().map(({ priority }) => priority)).toEqual([
          32_768,
          second.priority,
          first.priority,
        ]);
      },
    },
  },
  {
    row: "attachTc | an ingress qdisc is in clsact's place",
    async check(world) {
      qdisc(world, 'add', 'ingress');
      const counter = world.program('tc_count');
      using link = counter.attachTc({ ...world.ingress, via: 'clsact', removeQdisc: true });
      await world.send(20);
      expect(countedBy(counter.id)).toBe(20);
      const egress = { ...world.at, direction: 'egress', via: 'clsact' } as const;
      expect(caught(() => counter.attachTc(egress))).toMatchObject({
        name: 'EbpfAttachError',
        code: 'EEXIST',
        hint: expect.stringContaining('tcx'),
      });
      expect(world.filters()).toHaveLength(1);
      link.detach();
      expect([world.filters(), world.qdisc()]).toEqual([[], 'ingress']);
    },
  },
  {
    row: 'attachTc | the kernel does not report our program there',
    check: each(['tcx', 'clsact'], async (world, via) => {
      // TCX is asked for by a query of the hook, clsact by one of the filter.
      const lie = `
        const answered = (object, name, value) => Object.defineProperty(object, name, { value });
        const { attachClsact } = program.native;
        answered(program.native, 'attachClsact', function (...to) {
          const link = attachClsact.apply(this, to);
          const info = link.info();
          return answered(link, 'info', () => ({ ...info, programId: 4242 }));
        });`;
      const { answer, end } = await world.holding<{ id: number; code: string }>(
        `const program = ebpf.loadObjectSync(${TC}).program('tc_count');
         ${lie}
         let code;
         try { program.attachTc(${JSON.stringify({ ...world.ingress, via })}); } catch (error) { code = error.code; }`,
        '{ id: program.id, code }',
        undefined,
        { prefix: world.addonWith('tcxPrograms: () => []') },
      );
      expect(answer.code).toBe('ERR_EBPF_NOT_ATTACHED');
      expect([programExists(answer.id), world.tcIds(), linksOf([answer.id])]).toEqual([true, [], []]);
      expect(await end()).toBe(0);
    }),
  },
  {
    row: 'detach | removeQdisc: true',
    check: {
      'once both hooks are empty'(world) {
        const counter = world.program('tc_count');
        const options = { ...world.ingress, via: 'clsact', removeQdisc: true } as const;
        const first = counter.attachTc(options);
        const second = counter.attachTc({ ...options, direction: 'egress' });
        first.detach();
        expect(world.qdisc()).toBe('clsact');
        expect(second.state()).toBe('attached');
        second.detach();
        expect(world.qdisc()).toBeUndefined();
      },
      'not while somebody has a filter there'(world) {
        const link = world
          .program('tc_count')
          .attachTc({ ...world.ingress, via: 'clsact', removeQdisc: true });
        addForeignFilters(world.netns, world.iface, 'egress');
        link.close();
        expect([world.filters().length, world.filters('egress').length]).toEqual([0, 20]);
      },
      'not one that somebody made, or made anew under us'(world) {
        qdisc(world, 'add');
        const counter = world.program('tc_count');
        const options = { ...world.ingress, via: 'clsact', removeQdisc: true } as const;
        counter.attachTc(options).close();
        expect(world.qdisc()).toBe('clsact');

        qdisc(world, 'delete');
        const link = counter.attachTc(options);
        qdisc(world, 'delete');
        qdisc(world, 'add');
        counter.attachTc(options).close();
        link.close();
        expect(world.qdisc()).toBe('clsact');
      },
    },
  },
  {
    row: 'detach | another program has replaced ours',
    check: {
      async clsact(world) {
        const counter = world.program('tc_count');
        const link = counter.attachTc({ ...world.ingress, via: 'clsact' });
        replaceFilter(world.netns, world.iface, 'ingress', link);
        const theirs = world.filters();
        expect(link.state()).toBe('replaced');
        const other = world.program('tc_count');
        for (const work of [() => link.detach(), () => link.update(other)]) {
          expect(caught(work)).toMatchObject({
            name: 'EbpfAttachError',
            code: 'ERR_EBPF_REPLACED',
            holder: { programId: theirs[0]?.programId, name: 'tc_count' },
          });
        }
        link.close();
        expect(world.filters()).toEqual(theirs);
        expect(await world.send(10)).toBe(10);
        expect([countedBy(theirs[0]?.programId ?? 0), countedBy(counter.id)]).toEqual([10, 0]);
      },
      'tcx: a link that somebody updated'(world) {
        const [ours, theirs] = [world.program('tc_count'), world.program('tc_count')];
        using link = ours.attachTc(world.ingress);
        using opened = BpfLink.fromId(link.id ?? 0);
        opened.update(theirs);
        expect(link.state()).toBe('replaced');
        expect(world.tcx()).toEqual([{ programId: theirs.id, linkId: link.id }]);
        expect(caught(() => link.update(ours, { expect: ours }))).toMatchObject({ code: 'EPERM' });
        expect(world.tcIds()).toEqual([theirs.id]);
      },
    },
  },
  {
    row: 'detach | the qdisc or the filter is gone',
    check: each(['qdisc', 'filter'], (world, what) => {
      const link = world.program('tc_count').attachTc({ ...world.ingress, via: 'clsact' });
      if (what === 'qdisc') qdisc(world, 'delete');
      else world.netns.exec('tc', ['filter', 'delete', 'dev', world.iface, 'ingress']);
      expect(link.state()).toBe('detached');
      const other = world.program('tc_count');
      expect(caught(() => link.update(other))).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
      expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
      expect([world.filters(), world.qdisc()]).toEqual([[], what === 'qdisc' ? undefined : 'clsact']);
      link.close();
    }),
  },
  {
    row: 'any | others have 20 filters and an XDP program there',
    check: each(['tcx', 'clsact'], async (world, via) => {
      const stillThere = world.foreignHooks();
      const counter = world.program('tc_count');
      const link = counter.attachTc({ ...world.ingress, via, removeQdisc: true });
      await stillThere(counter.id, 'attached');
      expect(countedBy(counter.id)).toBe(100);
      link.detach();
      await stillThere(counter.id, 'gone');

      const { loader } = world;
      const handle = await loader.loadProgram(testObject('tc_count'));
      const id = loader.getProgram(handle)?.program.id ?? 0;
      await loader.attachTc(handle, { ...world.ingress, via });
      await stillThere(id, 'attached');
      expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
      expect(programExists(id)).toBe(false);
      await stillThere(id, 'gone');
    }),
  },
  {
    row: 'any | others have TCX programs there',
    feature: 'tcx',
    check: each(['tcx', 'clsact'], async (world, via) => {
      const { answer: ids } = await world.holding<number[]>(
        `const both = [1, 2].map(() => ebpf.loadObjectSync(${TC}).program('tc_count'));
         globalThis.links = both.map((program) => program.attachTc({ ...at, direction: 'ingress' }));`,
        'both.map(({ id }) => id)',
      );
      const theirs = world.tcx();
      expect(theirs.map(({ programId }) => programId)).toEqual(ids);
      const { loader } = world;
      const handle = await loader.loadProgram(testObject('tc_count'));
      const id = loader.getProgram(handle)?.program.id ?? 0;
      await loader.attachTc(handle, { ...world.ingress, via });
      expect(world.tcIds()).toEqual([...ids, id]);
      expect(await world.send(100)).toBe(100);
      expect([...ids, id].map(countedBy)).toEqual([100, 100, 100]);
      expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
      await world.send(100);
      expect(ids.map(countedBy)).toEqual([200, 200]);
      expect(world.tcx()).toEqual(theirs);
    }),
  },
  {
    row: 'update | under a flood',
    check: each(['tcx', 'clsact'], async (world, via) => {
      const programs = [world.program('tc_count'), world.program('tc_count')] as const;
      using link = programs[0].attachTc({ ...world.ingress, via });
      await swapUnderFlood(world, programs, link, (held, to) => {
        held.update(to);
        return undefined;
      });
    }),
  },
]);
