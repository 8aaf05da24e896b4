import { expect } from 'vitest';
import { xdpQuery } from '../../../lib/attach/xdp-query.ts';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import { XdpCounter } from '../../../lib/programs/xdp-counter.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { swapUnderFlood } from '../../helpers/flood.ts';
import { bpftool, linkIds, linksOf, programExists } from '../../helpers/kernel.ts';
import { shippedObject } from '../../helpers/objects.ts';
import { each, rows } from '../../helpers/rows.ts';
import { countedBy } from '../../helpers/tc.ts';
import type { World } from '../../helpers/world.ts';

const COUNTER = shippedObject('xdp_counter');

async function load({ loader }: World): Promise<{ handle: string; id: number }> {
  const handle = await loader.loadProgram(COUNTER);
  return { handle, id: loader.getProgram(handle)?.program.id ?? expect.unreachable() };
}

/** What a child says when it attaches by the loader in its own namespace. */
const attachIn = (options: string) => `
  const loader = new ebpf.EbpfLoader();
  for (let i = 0; i < 2; i++) ebpf.loadObjectSync(${JSON.stringify(COUNTER)}).close();
  const handle = await loader.loadProgram(${JSON.stringify(COUNTER)});
  await loader.attachXdp(handle, { iface: at.iface, ...${options} }).then(
    ({ mode }) => console.log(JSON.stringify({ mode })),
    ({ code, tried, missing }) => console.log(JSON.stringify({ code, tried, missing })),
  );
  await loader.close();`;

rows('XDP', [
  {
    row: 'BpfProgram.attachXdp | any mode',
    check: {
      ...each(['drv', 'skb'], (world, mode) => {
        const program = world.program('xdp_counter');
        using link = program.attachXdp({ ...world.at, mode });
        expect(world.xdp()).toEqual({ mode, programId: program.id });
        expect(link).toMatchObject({ kind: 'xdp', owner: 'fd', mode, ifindex: world.veth.b.ifindex });
        expect(xdpQuery(world.at)).toMatchObject({ mode, programId: program.id });
        expect(xdpQuery(world.at).features.includes('basic')).toBe(!kernelBefore('6.3'));
      }),
      'drv is the default'(world) {
        const program = world.program('xdp_counter');
        using _link = program.attachXdp(world.at);
        expect(world.xdp()).toEqual({ mode: 'drv', programId: program.id });
      },
      'no fallback'(world) {
        world.netns.upLoopback();
        const program = world.program('xdp_counter');
        const lo = { ...world.at, iface: 'lo' };
        for (const mode of [undefined, 'drv', 'hw'] as const) {
          const error = caught(() => program.attachXdp(mode === undefined ? lo : { ...lo, mode }));
          expect(error).toMatchObject({ name: 'EbpfAttachError', target: 'lo' });
          expect((error as { code: string }).code).toMatch(/^(EOPNOTSUPP|EINVAL)$/);
          expect(world.xdp('lo')).toEqual({});
        }
      },
    },
  },
  {
    row: 'attachXdp, XdpCounter.attach | a mode is named',
    check: {
      ...Object.fromEntries(
        (
          [
            ['veth', 'hw', ['hw'], 'drv'],
            ['veth', 'drv', [], 'drv'],
            ['veth', 'skb', [], 'skb'],
            ['veth', undefined, [], 'drv'],
            ['lo', 'hw', ['hw', 'drv'], 'skb'],
            ['lo', 'drv', ['drv'], 'skb'],
            ['lo', 'skb', [], 'skb'],
            ['lo', undefined, ['drv'], 'skb'],
          ] as const
        ).map(([kind, mode, before, taken]) => [
          `${kind}, ${mode ?? 'none'}: ${[...before, taken].join(', ')}`,
          async (world: World) => {
            world.netns.upLoopback();
            const at = { ...world.at, iface: kind === 'lo' ? 'lo' : world.iface };
            const { handle, id } = await load(world);
            const attachment = await world.loader.attachXdp(
              handle,
              mode === undefined ? at : { ...at, mode },
            );
            expect(attachment.tried.map((tried) => tried.mode)).toEqual(before);
            for (const { code } of attachment.tried) expect(code).toMatch(/^(EOPNOTSUPP|EINVAL)$/);
            expect(attachment).toMatchObject({ mode: taken, requestedMode: mode ?? 'drv' });
            expect(world.xdp(at.iface)).toEqual({ mode: taken, programId: id });
          },
        ]),
      ),
      async 'an MTU that is too large for native XDP on veth'(world) {
        for (const { name } of [world.veth.a, world.veth.b]) {
          world.netns.ip('link', 'set', name, 'mtu', '9000');
        }
        const { handle, id } = await load(world);
        const { tried } = await world.loader.attachXdp(handle, world.at);
        expect(tried).toEqual([{ mode: 'drv', code: 'ERANGE' }]);
        expect(world.xdp()).toEqual({ mode: 'skb', programId: id });
      },
      async 'XdpCounter: none is drv'(world) {
        world.netns.upLoopback();
        using veth = await XdpCounter.attach(world.at);
        using lo = await XdpCounter.attach({ ...world.at, iface: 'lo' });
        expect([veth.link.mode, world.xdp().mode]).toEqual(['drv', 'drv']);
        expect([lo.link.mode, world.xdp('lo').mode]).toEqual(['skb', 'skb']);
      },
    },
  },
  {
    row: 'attachXdp, XdpCounter.attach | strict, a list of modes',
    async check(world) {
      world.netns.upLoopback();
      const { handle } = await load(world);
      const at = { ...world.at, iface: 'lo' };
      const strict = await rejection(world.loader.attachXdp(handle, { ...at, mode: 'drv', strict: true }));
      expect(strict).toMatchObject({ name: 'EbpfAttachError', code: 'EOPNOTSUPP', target: 'lo' });
      const listed = { tried: [{ mode: 'hw' }, { mode: 'drv', code: 'EOPNOTSUPP' }] };
      const mode = ['hw', 'drv'] as const;
      expect(await rejection(world.loader.attachXdp(handle, { ...at, mode }))).toMatchObject(listed);
      expect(await rejection(XdpCounter.attach({ ...at, mode }))).toMatchObject(listed);
      await expect(world.loader.attachXdp(handle, { ...at, mode: [] })).rejects.toThrow(TypeError);
      await expect(world.loader.attachXdp(handle, { ...at, mode: 'fast' as 'drv' })).rejects.toThrow(
        /hw, drv or skb/,
      );
      expect(world.xdp('lo')).toEqual({});
    },
  },
  {
    row: 'attachXdp, XdpCounter.attach | a mode fails for a reason that is not the mode',
    check: {
      async 'EBUSY: somebody is in this mode'(world) {
        const theirs = world.foreignXdp();
        const { handle } = await load(world);
        expect(await rejection(world.loader.attachXdp(handle, { ...world.at, mode: 'hw' }))).toMatchObject({
          code: 'EBUSY',
          tried: [{ mode: 'hw' }, { mode: 'drv', code: 'EBUSY' }],
          holder: { programId: theirs.programId },
        });
        expect(world.xdp()).toEqual(theirs);
      },
      async 'EEXIST: somebody is in another mode'(world) {
        const theirs = world.program('pass');
        using _link = theirs.attachXdp({ ...world.at, mode: 'skb' });
        const { handle } = await load(world);
        expect(await rejection(world.loader.attachXdp(handle, { ...world.at, mode: 'hw' }))).toMatchObject({
          code: 'EEXIST',
          tried: [{ mode: 'hw' }, { mode: 'drv', code: 'EEXIST' }],
        });
        expect(world.xdp()).toEqual({ mode: 'skb', programId: theirs.id });
      },
      async EPERM(world) {
        const child = world.child(
          `const program = ebpf.loadObjectSync(${JSON.stringify(COUNTER)});
           ${attachIn("{ mode: 'drv', via: 'netlink' }")}`,
          { prefix: [...world.inside, 'setpriv', '--bounding-set=-net_admin'] },
        );
        expect(JSON.parse(await child.line())).toMatchObject({ missing: ['CAP_NET_ADMIN'] });
        expect(world.xdp()).toEqual({});
      },
      ...each(['ENODEV', 'ENOMEM'], async (world, error) => {
        const body = attachIn("{ mode: 'drv' }");
        const { stdout, calls } = await world.failing('BPF_LINK_CREATE', error, body);
        expect(JSON.parse(stdout)).toEqual({ code: error });
        // One attempt: generic XDP, which would have succeeded, is not asked for.
        expect(calls.filter((line) => line.includes('BPF_LINK_CREATE'))).toHaveLength(1);
        expect(world.xdp()).toEqual({});
      }),
    },
  },
  {
    row: 'attachXdp, XdpCounter.attach | hw, and the program was not loaded for the card',
    async check(world) {
      const { handle } = await load(world);
      const error = await rejection(
        world.loader.attachXdp(handle, { ...world.at, mode: 'hw', strict: true }),
      );
      expect(error).toMatchObject({ name: 'EbpfAttachError', target: world.iface });
      expect((error as { code: string }).code).toMatch(/^(EOPNOTSUPP|EINVAL)$/);
      const { tried } = await world.loader.attachXdp(handle, { ...world.at, mode: 'hw' });
      expect(tried).toEqual([{ mode: 'hw', code: (error as { code: string }).code }]);
      expect(world.xdp().mode).toBe('drv');
    },
  },
  {
    row: 'attachToInterface | no mode is named',
    async check(world) {
      const { answer, end } = await world.holding<{ id: number; mode: string; listed: number[] }>(
        `const loader = new ebpf.EbpfLoader();
         const handle = await loader.loadProgram(${JSON.stringify(COUNTER)});
         const first = await loader.attachToInterface(handle, at.iface);
         const lists = [at.iface, first.ifindex].map((on) => loader.getInterfacePrograms(on));`,
        `{ id: loader.getProgram(handle).program.id, mode: first.mode,
           listed: lists.map((list) => list.indexOf(first)) }`,
        'await loader.detachFromInterface(handle, at.iface); await loader.close(); process.stdin.destroy();',
        { prefix: world.inside },
      );
      expect(answer).toMatchObject({ mode: 'skb', listed: [0, 0] });
      expect(world.xdp()).toEqual({ mode: 'skb', programId: answer.id });
      expect(await end()).toBe(0);
      expect(world.xdp()).toEqual({});
    },
  },
  {
    row: "any | via: 'link' (default)",
    check(world) {
      const program = world.program('xdp_counter');
      const { iface, netns } = world;
      const link = program.attachXdp(world.at);
      expect(bpftool('link', 'show', 'id', String(link.id))).toMatchObject({
        type: 'xdp',
        prog_id: program.id,
      });
      // The kernel takes "xdpgeneric off" for done: there is no generic program.
      netns.ip('link', 'set', 'dev', iface, 'xdpgeneric', 'off');
      for (const mode of ['xdp', 'xdpdrv']) {
        expect(caught(() => netns.ip('link', 'set', 'dev', iface, mode, 'off'))).toBeInstanceOf(Error);
        expect(world.xdp()).toEqual({ mode: 'drv', programId: program.id });
      }
      expect(caught(() => world.foreignXdp())).toBeInstanceOf(Error);
      expect(world.xdp()).toEqual({ mode: 'drv', programId: program.id });
      link.detach();
      expect([world.xdp(), linkIds().has(link.id ?? -1)]).toEqual([{}, false]);
    },
  },
  {
    row: "any | via: 'netlink'",
    check: {
      async 'attach, refuse the second, replace by name, detach what is ours'(world) {
        const [counter, pass] = [world.program('xdp_counter'), world.program('pass')];
        const link = counter.attachXdp({ ...world.at, via: 'netlink' });
        expect(link).toMatchObject({ owner: 'netlink' });
        expect(link.id).toBeUndefined();
        expect([world.xdp().programId, linksOf([counter.id])]).toEqual([counter.id, []]);
        expect(caught(() => pass.attachXdp({ ...world.at, via: 'netlink' }))).toMatchObject({
          code: 'EBUSY',
          holder: { programId: counter.id, name: 'xdp_counter' },
          hint: expect.stringContaining('replace'),
        });
        const wrong = { programId: pass.id };
        expect(caught(() => pass.attachXdp({ ...world.at, replace: wrong }))).toMatchObject({
          name: 'EbpfAttachError',
        });
        expect(world.xdp().programId).toBe(counter.id);

        const taken = pass.attachXdp({ ...world.at, replace: { programId: counter.id } });
        expect(world.xdp().programId).toBe(pass.id);
        expect(link.state()).toBe('replaced');
        // The one that was replaced must not take its successor off.
        expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfAttachError', code: 'EEXIST' });
        link.close();
        expect(world.xdp().programId).toBe(pass.id);
        expect(countedBy(pass.id)).toBe(0);
        expect(await world.send(50)).toBe(50);
        expect(countedBy(pass.id)).toBe(50);
        taken.detach();
        expect(world.xdp()).toEqual({});
      },
      ...each(['drv', 'skb'], (world, mode) => {
        const program = world.program('xdp_counter');
        const link = program.attachXdp({ ...world.at, mode, via: 'netlink' });
        expect(world.xdp()).toEqual({ mode, programId: program.id });
        link.detach();
        expect(world.xdp()).toEqual({});
      }),
    },
  },
  {
    row: "any | the kernel reports another program in the mode's slot",
    check: each(['link', 'netlink'], async (world, via) => {
      const prefix = world.addonWith(
        'xdpQuery: (...at) => ({ ...addon.xdpQuery(...at), drv: 4242, skb: 4242, hw: 0 })',
      );
      const { answer, end } = await world.holding<{ id: number; codes: string[] }>(
        `const program = ebpf.loadObjectSync(${JSON.stringify(COUNTER)}).program('xdp_counter');
         const codes = ['drv', 'skb'].map((mode) => {
           try { program.attachXdp({ ...at, mode, via: '${via}' }); return 'attached'; } catch ({ code }) { return code; }
         });`,
        '{ id: program.id, codes }',
        undefined,
        { prefix },
      );
      expect(answer.codes).toEqual(['ERR_EBPF_NOT_ATTACHED', 'ERR_EBPF_NOT_ATTACHED']);
      expect([programExists(answer.id), world.xdp(), linksOf([answer.id])]).toEqual([true, {}, []]);
      expect(await end()).toBe(0);
    }),
  },
  {
    row: 'update, replace | under a flood',
    check: {
      async 'a link'(world) {
        const programs = [world.program('pass'), world.program('pass')] as const;
        using link = programs[0].attachXdp(world.at);
        await swapUnderFlood(world, programs, link, (held, to) => {
          held.update(to);
          return undefined;
        });
      },
      async netlink(world) {
        const programs = [world.program('pass'), world.program('pass')] as const;
        const link = programs[0].attachXdp({ ...world.at, via: 'netlink' });
        await swapUnderFlood(world, programs, link, (held, to, from) => {
          const next = to.attachXdp({ ...world.at, replace: { programId: from.id } });
          held.close();
          return next;
        });
      },
    },
  },
]);
