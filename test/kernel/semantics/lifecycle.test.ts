import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { TcLink } from '../../../lib/attach/tc.ts';
import { EbpfAttachError, EbpfStateError } from '../../../lib/core/errors.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import type { EbpfLoader } from '../../../lib/loader/loader.ts';
import { loadObject } from '../../../lib/object/object.ts';
import { ProgramType } from '../../../lib/object-file/program-type.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { BROKEN } from '../../helpers/broken.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { linkIds, linksOf, mapIds, pinnedId, programExists, untilGone } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { each, rows } from '../../helpers/rows.ts';
import { addForeignFilters, countedBy, replaceFilter } from '../../helpers/tc.ts';
import { FORBID_BPF, failureUnder, withOnly, without } from '../../helpers/under.ts';
import type { World } from '../../helpers/world.ts';

const COUNTER = shippedObject('xdp_counter');
const PASS = testObject('pass');

/** A program in the loader, and its number. */
async function load(loader: EbpfLoader, path = COUNTER): Promise<{ handle: string; id: number }> {
  const handle = await loader.loadProgram(path);
  return { handle, id: loader.getProgram(handle)?.program.id ?? expect.unreachable() };
}

const HOOKS = ['XDP', 'TCX', 'clsact'] as const;
type Hook = (typeof HOOKS)[number];

const objectFor = (hook: Hook) => (hook === 'XDP' ? COUNTER : testObject('tc_count'));
const on = (world: World, hook: Hook, handle: string, options: object = {}) =>
  hook === 'XDP'
    ? world.loader.attachXdp(handle, { ...world.at, ...options })
    : world.loader.attachTc(handle, { ...world.ingress, via: hook === 'TCX' ? 'tcx' : 'clsact', ...options });
const attachedIds = (world: World, hook: Hook) =>
  hook === 'XDP' ? [world.xdp().programId].filter((id) => id !== undefined) : world.tcIds();
const loadIn = `const object = await ebpf.loadObject(${JSON.stringify(COUNTER)})`;
const traceIn = `await ebpf.loadObject(${JSON.stringify(testObject('tracepoint'))})`;
const THREE = ['bpf', 'perfmon', 'net_admin'] as const;

rows('Lifecycle', [
  {
    row: 'any | in order: load, attach, detach, unload',
    check: each(HOOKS, async (world, hook) => {
      const { loader } = world;
      const events: string[] = [];
      for (const name of ['loaded', 'attached', 'detached', 'unloaded'] as const) {
        loader.on(name, () => events.push(name));
      }
      const { handle, id } = await load(loader, objectFor(hook));
      const state = () => loader.getProgram(handle)?.state;
      expect([programExists(id), attachedIds(world, hook), state()]).toEqual([true, [], 'loaded']);

      const attachment = await on(world, hook, handle);
      expect([attachedIds(world, hook), state()]).toEqual([[id], 'attached']);
      const { name, ifindex } = world.veth.b;
      expect(attachment).toMatchObject({ iface: name, ifindex, netns: world.netns.path, tried: [] });
      expect(linksOf([id])).toEqual(hook === 'clsact' ? [] : [attachment.link.id]);

      expect(await loader.detachFromInterface(handle, world.at)).toBe(true);
      expect([programExists(id), attachedIds(world, hook), state()]).toEqual([true, [], 'loaded']);
      expect(linksOf([id])).toEqual([]);

      expect(await loader.unloadProgram(handle)).toBe(true);
      expect([programExists(id), loader.listLoadedPrograms()]).toEqual([false, []]);
      expect(events).toEqual(['loaded', 'attached', 'detached', 'unloaded']);
      expect(world.warnings).toEqual([]);
    }),
  },
  {
    row: 'any | after unloadProgram',
    async check(world) {
      const { loader } = world;
      const { handle } = await load(loader);
      const { program, object } = loader.getProgram(handle) ?? expect.unreachable();
      await loader.unloadProgram(handle);
      for (const call of [
        () => loader.attachXdp(handle, world.at),
        () => loader.attachToInterface(handle, world.iface),
        () => loader.attach(handle),
        () => loader.detachFromInterface(handle, world.at),
      ]) {
        expect(await rejection(call())).toMatchObject({ code: 'ERR_EBPF_NOT_LOADED' });
      }
      for (const call of [() => program.attachXdp(world.at), () => program.run(), () => object.map('x')]) {
        expect(caught(call)).toMatchObject({ name: 'EbpfStateError', state: 'closed' });
      }
      expect(world.xdp()).toEqual({});
    },
  },
  {
    row: 'any | after close',
    async check(world) {
      const { loader } = world;
      const { handle } = await load(loader);
      await loader.close();
      await loader.close();
      for (const call of [
        () => loader.loadProgram(COUNTER),
        () => loader.attachXdp(handle, world.at),
        () => loader.detachFromInterface(handle, world.at),
      ]) {
        expect(await rejection(call())).toBeInstanceOf(EbpfStateError);
      }
      const object = world.object('xdp_counter');
      const [program, map] = [object.program('xdp_counter'), object.map('packet_counters')];
      const link = program.attachXdp(world.at);
      for (const handle of [link, object]) {
        handle.close();
        handle.close();
      }
      for (const call of [
        () => link.state(),
        () => link.detach(),
        () => link.update(program),
        () => object.program('xdp_counter'),
        () => program.attachXdp(world.at),
        () => map.get(0),
      ]) {
        expect(caught(call)).toMatchObject({ name: 'EbpfStateError', state: 'closed' });
      }
      expect(world.xdp()).toEqual({});
      await untilGone({ maps: [map.id] });
    },
  },
  {
    row: 'loadProgram | one file twice',
    async check({ loader }) {
      const handles = [(await load(loader)).handle, (await load(loader)).handle];
      const [one, two] = handles.map((handle) => loader.getProgram(handle) ?? expect.unreachable());
      expect(new Set(handles).size).toBe(2);
      const programs = [one?.program.id ?? 0, two?.program.id ?? 0];
      const maps = [one, two].map((loaded) => loaded?.object.map('packet_counters').id ?? 0);
      expect([new Set(programs).size, new Set(maps).size]).toEqual([2, 2]);
      expect([programs.every(programExists), maps.every((id) => mapIds().has(id))]).toEqual([true, true]);
      await loader.unloadProgram(handles[0] ?? '');
      await untilGone({ maps: maps.slice(0, 1) });
      expect(
        [...programs, ...maps.slice(1)].map((id, n) => (n < 2 ? programExists(id) : mapIds().has(id))),
      ).toEqual([false, true, true]);
    },
  },
  {
    row: 'loadProgram | the caller changes the bytes after the call',
    async check() {
      const bytes = Uint8Array.from(readFileSync(COUNTER));
      const loading = loadObject(bytes);
      await Promise.resolve();
      bytes.fill(0);
      using object = await loading;
      expect(programExists(object.program('xdp_counter').id)).toBe(true);
    },
  },
  {
    row: 'loadProgram | the signal is aborted',
    async check({ loader }) {
      const reason = new Error('enough');
      const early = loader.loadProgram(COUNTER, undefined, { signal: AbortSignal.abort(reason) });
      expect(await rejection(early)).toBe(reason);
      const controller = new AbortController();
      const late = loader.loadProgram(COUNTER, undefined, { signal: controller.signal });
      setImmediate(() => controller.abort(reason));
      expect(await rejection(late)).toBe(reason);
      expect(loader.listLoadedPrograms()).toEqual([]);
    },
  },
  {
    row: 'loadProgram | missing, not a regular file, too large, empty, cut off, not ELF, not BPF, other byte order, outside programsDir',
    check: {
      async 'no bpf(2) is called'(world) {
        const folder = world.folder();
        const inside = join(folder, 'inside');
        mkdirSync(inside);
        symlinkSync(COUNTER, join(inside, 'leads-out.o'));
        copyFileSync(COUNTER, join(inside, 'secret.o'));
        chmodSync(join(inside, 'secret.o'), 0);
        const sources: [rule: string, path: string, programsDir?: string][] = [
          ...BROKEN.map(({ rule, make }): [string, string] => [rule, make(folder)]),
          ...['leads-out.o', COUNTER, '../../../bin/true'].map((path): [string, string, string] => [
            ...(['file-outside', path] as const),
            inside,
          ]),
          ['file-missing', 'absent.o', inside],
        ];
        const refused = await world.bpfCalls(`
          const outcomes = [];
          for (const [, path, programsDir] of ${JSON.stringify(sources)}) {
            const loader = new ebpf.EbpfLoader({ programsDir });
            await loader.loadProgram(path).then(
              () => outcomes.push('loaded'),
              ({ name, findings }) => outcomes.push([name, findings?.[0].rule]),
            );
          }
          console.log(JSON.stringify(outcomes));`);
        expect(JSON.parse(refused.stdout)).toEqual(sources.map(([rule]) => ['EbpfValidationError', rule]));
        expect(refused.calls).toEqual([]);
        // strace does see them.
        const loaded = await world.bpfCalls(`${loadIn}; object.close();`);
        expect(loaded.calls.some((line) => line.includes('BPF_PROG_LOAD'))).toBe(true);
      },
      async 'inside programsDir a path is loaded'(world) {
        const folder = world.folder();
        copyFileSync(COUNTER, join(folder, 'inside.bpf.o'));
        const loader = world.makeLoader({ programsDir: folder });
        const { handle, id } = await load(loader, 'inside.bpf.o');
        expect([handle, programExists(id)]).toEqual(['xdp_counter-1', true]);
      },
      async 'a file that may not be read'(world) {
        const path = join(world.folder(), 'secret.o');
        copyFileSync(COUNTER, path);
        chmodSync(path, 0);
        const failure = await without(
          ['dac_override', 'dac_read_search'],
          `await new ebpf.EbpfLoader().loadProgram(${JSON.stringify(path)})`,
        );
        expect(failure).toMatchObject({
          name: 'EbpfValidationError',
          findings: [{ rule: 'file-unreadable' }],
        });
      },
    },
  },
  {
    row: 'loadProgram | the file has no program of that type or name',
    async check(world) {
      const { loader } = world;
      expect(await rejection(loader.loadProgram(testObject('tracepoint'), ProgramType.XDP))).toMatchObject({
        name: 'EbpfLoadError',
        code: 'ERR_EBPF_PROGRAM_TYPE',
        hint: expect.stringContaining('on_sys_enter (raw_tracepoint)'),
      });
      const third = loader.loadProgram(testObject('two_programs'), undefined, { program: 'third' });
      expect(await rejection(third)).toMatchObject({ code: 'ERR_EBPF_PROGRAM_TYPE' });
      const { calls, stdout } = await world.bpfCalls(
        `await new ebpf.EbpfLoader().loadProgram(${JSON.stringify(COUNTER)}, 'tc').catch(({ code }) => console.log(code));`,
      );
      expect([stdout, calls]).toEqual(['ERR_EBPF_PROGRAM_TYPE\n', []]);

      const { handle, id } = await load(loader, testObject('tracepoint'));
      expect(await rejection(loader.attachToInterface(handle, 'lo'))).toMatchObject({
        code: 'ERR_EBPF_PROGRAM_TYPE',
      });
      expect(linksOf([id])).toEqual([]);
    },
  },
  {
    row: 'loadProgram | several programs match',
    async check({ loader }) {
      const two = testObject('two_programs');
      expect(await rejection(loader.loadProgram(two, ProgramType.XDP))).toMatchObject({
        name: 'EbpfLoadError',
        code: 'ERR_EBPF_AMBIGUOUS',
        message: expect.stringContaining('first (xdp), second (xdp)'),
      });
      const handle = await loader.loadProgram(two, ProgramType.XDP, { program: 'second' });
      expect(loader.getProgram(handle)?.program.name).toBe('second');
    },
  },
  {
    row: 'loadProgram | the verifier rejects the program',
    async check({ loader }) {
      expect(await rejection(loader.loadProgram(testObject('refused')))).toMatchObject({
        name: 'EbpfLoadError',
        code: 'EACCES',
        errno: 13,
        program: 'refused',
        summary: expect.stringContaining('outside of the packet'),
        source: expect.stringMatching(/return frame\[12\]/),
        verifierLog: expect.stringContaining('refused.bpf.c:'),
      });
      expect(loader.listLoadedPrograms()).toEqual([]);
    },
  },
  {
    row: 'loadProgram | a capability is missing',
    check: {
      ...Object.fromEntries(
        (
          [
            ['CAP_BPF', 'bpf', loadIn],
            ['CAP_NET_ADMIN', 'net_admin', loadIn],
            ['CAP_PERFMON', 'perfmon', loadIn],
          ] as const
        ).map(([capability, dropped, body]) => [
          `CAP_SYS_ADMIN and ${capability}`,
          async () => {
            expect(await without([dropped, 'sys_admin'], body)).toMatchObject({
              name: 'EbpfPermissionError',
              missing: [capability],
              hint: `run as root, or give the process ${capability}`,
            });
          },
        ]),
      ),
      ...Object.fromEntries(
        (
          [
            ['CAP_BPF', 'bpf', 'XDP', loadIn],
            ['CAP_NET_ADMIN', 'net_admin', 'XDP', loadIn],
            ['CAP_PERFMON', 'perfmon', 'tracing', traceIn],
            ['CAP_PERFMON', 'perfmon', 'XDP', loadIn], // the verifier's EACCES
            ['CAP_BPF', 'bpf', 'tracing', traceIn],
          ] as const
        ).map(([capability, dropped, what, body]) => [
          `${capability} of the three, for ${what}`,
          async () => {
            const held = THREE.filter((name) => name !== dropped);
            expect(await withOnly(held, body)).toMatchObject({
              name: 'EbpfPermissionError',
              missing: [capability],
              hint: `run as root, or give the process ${capability}`,
            });
          },
        ]),
      ),
      async 'all of them'() {
        expect(await without(['all'], loadIn)).toMatchObject({
          name: 'EbpfPermissionError',
          code: 'EPERM',
          missing: ['CAP_BPF', 'CAP_NET_ADMIN'],
        });
      },
      async 'CAP_SYS_ADMIN alone: it stands in for the others'() {
        expect(await without(['bpf', 'perfmon'], `${loadIn}; object.close()`)).toEqual({});
      },
    },
  },
  {
    row: 'loadProgram | something other than a capability forbids it',
    check: {
      async 'a seccomp filter'() {
        const forbidden = {
          name: 'EbpfPermissionError',
          missing: [],
          hint: "a seccomp filter forbids bpf(2): allow it in the container's profile",
        };
        expect(await failureUnder(FORBID_BPF, loadIn)).toMatchObject(forbidden);
      },
      async 'a user namespace'() {
        expect(await failureUnder(['unshare', '--user', '--map-root-user'], loadIn)).toMatchObject({
          name: 'EbpfPermissionError',
          missing: ['CAP_BPF', 'CAP_NET_ADMIN'],
          hint: 'capabilities of a user namespace do not count here: give the process CAP_BPF, CAP_NET_ADMIN outside of it, or a BPF token (Linux 6.9)',
        });
      },
    },
  },
  {
    row: 'loadDirectory | a folder',
    check: {
      async 'what loads and what does not'(world) {
        const folder = world.folder();
        copyFileSync(testObject('two_programs'), join(folder, 'b.bpf.o'));
        copyFileSync(PASS, join(folder, 'a.bpf.o'));
        copyFileSync(testObject('refused'), join(folder, 'c.o'));
        for (const [name, text] of [
          ['d.o', 'no object'],
          ['e.txt', ''],
        ] as const) {
          writeFileSync(join(folder, name), text);
        }
        mkdirSync(join(folder, 'f.o'));
        const loader = world.makeLoader();
        const { loaded, failed } = await loader.loadDirectory(folder);
        const programs = loader.listLoadedPrograms();
        expect(programs.map(({ handle }) => handle)).toEqual(loaded);
        expect(programs.map(({ program, source }) => [program.name, source])).toEqual([
          ['pass', join(folder, 'a.bpf.o')],
          ['first', join(folder, 'b.bpf.o')],
          ['second', join(folder, 'b.bpf.o')],
        ]);
        const [, first, second] = programs;
        expect(first?.object).toBe(second?.object);
        for (const { program } of programs) expect(programExists(program.id)).toBe(true);
        expect(failed.map(({ path, error }) => [path, error.name])).toEqual([
          [join(folder, 'c.o'), 'EbpfLoadError'],
          [join(folder, 'd.o'), 'EbpfValidationError'],
          [join(folder, 'f.o'), 'EbpfValidationError'],
        ]);
        // The maps that two programs share go with the second.
        const maps = Object.values(first?.object.maps ?? {}).map(({ id }) => id);
        expect(await loader.unloadProgram(loaded[1] ?? '')).toBe(true);
        for (const id of maps) expect(mapIds()).toContain(id);
        expect(await loader.unloadProgram(loaded[2] ?? '')).toBe(true);
        await untilGone({ maps });
      },
      async 'programsDir, where no folder is named'(world) {
        const folder = world.folder();
        mkdirSync(join(folder, 'more'));
        copyFileSync(PASS, join(folder, 'pass.bpf.o'));
        copyFileSync(PASS, join(folder, 'more', 'pass.bpf.o'));
        const loader = world.makeLoader({ programsDir: folder });
        expect(await loader.loadDirectory()).toEqual({ loaded: ['pass-1'], failed: [] });
        expect(await loader.loadDirectory('more')).toEqual({ loaded: ['pass-2'], failed: [] });
      },
      async 'of a closed loader'(world) {
        const loader = world.makeLoader();
        const loading = loader.loadDirectory(join(PASS, '..'));
        await loader.close();
        expect(await rejection(loading)).toBeInstanceOf(EbpfStateError);
        expect(await rejection(loader.loadDirectory('/'))).toBeInstanceOf(EbpfStateError);
      },
    },
  },
  {
    row: 'loadDirectory | the folder cannot be read, or is outside programsDir',
    async check(world) {
      const folder = world.folder();
      const loader = world.makeLoader();
      expect(await rejection(loader.loadDirectory(join(folder, 'none')))).toMatchObject({ code: 'ENOENT' });
      expect(await rejection(loader.loadDirectory(PASS))).toMatchObject({ code: 'ENOTDIR' });
      expect(await rejection(loader.loadDirectory())).toBeInstanceOf(TypeError);
      const bound = world.makeLoader({ programsDir: folder });
      expect(await rejection(bound.loadDirectory('/'))).toMatchObject({ name: 'EbpfValidationError' });
      expect(loader.listLoadedPrograms()).toEqual([]);
    },
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | unknown handle, unknown interface',
    check: each(HOOKS, async (world, hook) => {
      const { handle, id } = await load(world.loader, objectFor(hook));
      expect(await rejection(on(world, hook, 'xdp_counter'))).toMatchObject({
        name: 'EbpfAttachError',
        code: 'ERR_EBPF_NOT_LOADED',
        hint: expect.stringContaining(handle),
      });
      expect(await rejection(world.loader.attachToInterface('nothing', 'lo'))).toMatchObject({
        code: 'ERR_EBPF_NOT_LOADED',
      });
      expect(await rejection(on(world, hook, handle, { iface: 'v0c' }))).toMatchObject({
        name: 'EbpfAttachError',
        code: 'ERR_EBPF_NO_INTERFACE',
        target: 'v0c',
        hint: expect.stringMatching(/^there are v0[ab], v0[ab]/),
      });
      expect(await rejection(world.loader.attachToInterface(handle, 'lp'))).toMatchObject({
        code: 'ERR_EBPF_NO_INTERFACE',
        hint: expect.stringMatching(/^there are lo\b/),
      });
      expect([attachedIds(world, hook), linksOf([id]), world.qdisc()]).toEqual([[], [], undefined]);
    }),
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | the interface is down',
    check: each(HOOKS, async (world, hook) => {
      const { iface, loader } = world;
      const program = world.object(hook === 'XDP' ? 'xdp_counter' : 'tc_count');
      const direct = () =>
        hook === 'XDP'
          ? program.program('xdp_counter').attachXdp(world.at)
          : program
              .program('tc_count')
              .attachTc({ ...world.ingress, via: hook === 'TCX' ? 'tcx' : 'clsact' });
      world.netns.ip('link', 'set', iface, 'down');
      const { handle, id } = await load(loader, objectFor(hook));
      const down = { name: 'EbpfAttachError', code: 'ERR_EBPF_INTERFACE_DOWN', target: iface };
      expect(await rejection(on(world, hook, handle, { bringUp: false }))).toMatchObject(down);
      expect(caught(direct)).toMatchObject({ ...down, hint: expect.stringContaining('bringUp') });
      expect([attachedIds(world, hook), world.qdisc(), world.isUp()]).toEqual([[], undefined, false]);

      await on(world, hook, handle);
      expect([attachedIds(world, hook), world.isUp()]).toEqual([[id], true]);
      expect(world.warnings).toEqual([expect.stringContaining(iface)]);
    }),
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | the interface is up, but its operstate is not',
    async check(world) {
      world.netns.upLoopback();
      // The end without a peer that is up has no carrier.
      world.netns.ip('link', 'set', world.veth.a.name, 'down');
      const { handle, id } = await load(world.loader);
      for (const [iface, operstate] of [
        ['lo', 'UNKNOWN'],
        [world.iface, 'LOWERLAYERDOWN'],
      ] as const) {
        expect(world.netns.ip('-j', 'link', 'show', 'dev', iface)).toContain(`"operstate":"${operstate}"`);
        await world.loader.attachXdp(handle, { ...world.at, iface });
        expect(world.xdp(iface).programId).toBe(id);
      }
      expect(world.warnings).toEqual([]);
    },
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | already attached to that hook',
    check: each(HOOKS, async (world, hook) => {
      const { handle, id } = await load(world.loader, objectFor(hook));
      const first = await on(world, hook, handle);
      const links = linksOf([id]);
      const filters = world.filters();
      expect(await on(world, hook, handle)).toBe(first);
      expect(await on(world, hook, handle, { iface: world.veth.b.ifindex })).toBe(first);
      expect(world.loader.getProgram(handle)?.attachments).toEqual([first]);
      expect([attachedIds(world, hook), linksOf([id]), world.filters()]).toEqual([[id], links, filters]);
    }),
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | attached before, but closed by the caller since',
    check: each(HOOKS, async (world, hook) => {
      const { handle, id } = await load(world.loader, objectFor(hook));
      const first = await on(world, hook, handle);
      first.link.close();
      expect(attachedIds(world, hook)).toEqual([]);
      const second = await on(world, hook, handle);
      expect(second).not.toBe(first);
      expect(attachedIds(world, hook)).toEqual([id]);
    }),
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | XDP: another program is attached',
    check: {
      async 'another program of this loader'(world) {
        const holder = await load(world.loader, PASS);
        const mine = await load(world.loader);
        const held = await world.loader.attachXdp(holder.handle, world.at);
        const error = await rejection(world.loader.attachXdp(mine.handle, world.at));
        expect(error).toBeInstanceOf(EbpfAttachError);
        expect(error).toMatchObject({
          code: 'EBUSY',
          target: world.iface,
          holder: { programId: holder.id, linkId: held.link.id, name: 'pass' },
        });
        expect((error as Error).message).toContain(`held by program ${holder.id} "pass"`);
        expect(world.xdp()).toEqual({ mode: 'drv', programId: holder.id });
        const sent = await world.send(100);
        expect(countedBy(holder.id)).toBe(sent);
        // The kernel calls another mode on the same interface EEXIST.
        const skb = world.loader.attachXdp(mine.handle, { ...world.at, mode: 'skb' });
        expect(await rejection(skb)).toMatchObject({ code: 'EEXIST', holder: { programId: holder.id } });
        expect(world.xdp()).toEqual({ mode: 'drv', programId: holder.id });
        expect(world.loader.getProgram(mine.handle)?.state).toBe('loaded');
        expect(linksOf([mine.id])).toEqual([]);
      },
      async 'another process, by a link'(world) {
        const { programId, linkId } = await world.foreignXdpLink();
        const { handle } = await load(world.loader);
        expect(await rejection(world.loader.attachXdp(handle, world.at))).toMatchObject({
          code: 'EBUSY',
          holder: { programId, linkId, name: 'pass' },
        });
        expect(world.xdp()).toEqual({ mode: 'drv', programId });
        expect(countedBy(programId)).toBe(0);
        expect(await world.send(500)).toBe(500);
        expect(countedBy(programId)).toBe(500);
      },
      async 'ip(8), by netlink'(world) {
        const theirs = world.foreignXdp();
        const { handle } = await load(world.loader);
        for (const via of ['link', 'netlink'] as const) {
          const error = await rejection(world.loader.attachXdp(handle, { ...world.at, via }));
          expect(error).toMatchObject({
            code: 'EBUSY',
            holder: { programId: theirs.programId, name: 'pass' },
          });
          expect((error as EbpfAttachError).holder?.linkId).toBeUndefined();
          expect(world.xdp()).toEqual(theirs);
        }
      },
    },
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | XDP: replace names the attached program',
    check: {
      async 'a netlink attachment'(world) {
        const theirs = world.foreignXdp();
        const { handle, id } = await load(world.loader);
        const replace = { programId: theirs.programId ?? 0 };
        const other = world.loader.attachXdp(handle, { ...world.at, replace: { programId: id } });
        expect(await rejection(other)).toMatchObject({ name: 'EbpfAttachError' });
        expect(world.xdp()).toEqual(theirs);

        const { link } = await world.loader.attachXdp(handle, { ...world.at, replace });
        expect(link.owner).toBe('netlink');
        expect(world.xdp()).toEqual({ mode: 'drv', programId: id });
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(world.xdp()).toEqual({});
      },
      async 'a link, which netlink cannot replace and its own update can'(world) {
        const { programId, linkId } = await world.foreignXdpLink();
        const { handle, id } = await load(world.loader);
        const busy = world.loader.attachXdp(handle, { ...world.at, replace: { programId } });
        expect(await rejection(busy)).toMatchObject({ code: 'EBUSY', holder: { programId, linkId } });
        expect(world.xdp().programId).toBe(programId);

        using theirs = BpfLink.fromId(linkId);
        theirs.update(world.loader.getProgram(handle)?.program ?? expect.unreachable());
        expect(world.xdp().programId).toBe(id);
        expect(linksOf([id])).toEqual([linkId]);
      },
    },
  },
  {
    row: 'attachToInterface, attachXdp, attachTc | TC: the given priority and handle are taken',
    async check(world) {
      addForeignFilters(world.netns, world.iface, 'ingress');
      const theirs = world.filters();
      const [first] = theirs;
      const { handle } = await load(world.loader, testObject('tc_count'));
      const taken = await rejection(
        world.loader.attachTc(handle, { ...world.ingress, priority: 1, handle: 7 }),
      );
      expect(taken).toMatchObject({
        name: 'EbpfAttachError',
        code: 'EEXIST',
        errno: 17,
        holder: { programId: first?.programId, name: 'tc_count' },
        hint: expect.stringContaining('another priority or handle'),
      });
      expect((taken as Error).message).toContain(
        `held by program ${first?.programId} "tc_count" at priority 1`,
      );
      const kind = await rejection(world.loader.attachTc(handle, { ...world.ingress, priority: 1004 }));
      expect(kind).toMatchObject({
        code: 'EEXIST',
        message: expect.stringContaining('held by a u32 filter'),
      });
      expect((kind as EbpfAttachError).holder).toBeUndefined();
      expect(world.filters()).toEqual(theirs);
    },
  },
  {
    row: 'detachFromInterface | this loader has nothing attached there',
    check: each(HOOKS, async (world, hook) => {
      const theirs = hook === 'XDP' ? world.foreignXdp() : {};
      if (hook !== 'XDP') addForeignFilters(world.netns, world.iface, 'ingress');
      const filters = world.filters();
      const { handle } = await load(world.loader, objectFor(hook));
      expect(await world.loader.detachFromInterface(handle, world.at)).toBe(false);
      expect(world.warnings).toEqual([expect.stringContaining('nothing of this loader is attached')]);
      expect([world.xdp(), world.filters()]).toEqual([theirs, filters]);
    }),
  },
  {
    row: 'detachFromInterface | this loader has another program attached there',
    check: each(HOOKS, async (world, hook) => {
      const one = await load(world.loader, objectFor(hook));
      const two = await load(world.loader, PASS);
      await on(world, hook, one.handle);
      expect(await rejection(world.loader.detachFromInterface(two.handle, world.at))).toMatchObject({
        name: 'EbpfAttachError',
        code: 'ERR_EBPF_NOT_ATTACHED',
      });
      expect(attachedIds(world, hook)).toEqual([one.id]);
    }),
  },
  {
    row: 'detachFromInterface | another program has replaced ours on the hook',
    check: {
      async 'XDP by netlink'(world) {
        const { handle, id } = await load(world.loader);
        await world.loader.attachXdp(handle, { ...world.at, via: 'netlink' });
        world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
        const theirs = world.foreignXdp();
        expect(theirs.programId).not.toBe(id);
        const replaced = { code: 'ERR_EBPF_REPLACED', holder: { programId: theirs.programId, name: 'pass' } };
        expect(await rejection(world.loader.detachFromInterface(handle, world.at))).toMatchObject(replaced);
        expect(await rejection(world.loader.unloadProgram(handle, { force: true }))).toMatchObject(replaced);
        expect(world.xdp()).toEqual(theirs);
        world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
        expect(await world.loader.unloadProgram(handle, { force: true })).toBe(true);
        expect(programExists(id)).toBe(false);
      },
      async 'XDP by a link that somebody updated'(world) {
        const { handle } = await load(world.loader);
        const { link } = await world.loader.attachXdp(handle, world.at);
        const theirs = world.program('pass');
        using opened = BpfLink.fromId(link.id ?? 0);
        opened.update(theirs);
        expect(await rejection(world.loader.detachFromInterface(handle, world.at))).toMatchObject({
          code: 'ERR_EBPF_REPLACED',
          holder: { programId: theirs.id, name: 'pass' },
        });
        expect(world.xdp().programId).toBe(theirs.id);
      },
      async clsact(world) {
        const { handle } = await load(world.loader, testObject('tc_count'));
        const { link } = await world.loader.attachTc(handle, { ...world.ingress, priority: 10 });
        replaceFilter(world.netns, world.iface, 'ingress', link as TcLink);
        const theirs = world.filters();
        const replaced = { code: 'ERR_EBPF_REPLACED', holder: { programId: theirs[0]?.programId } };
        expect(await rejection(world.loader.detachFromInterface(handle, world.at))).toMatchObject(replaced);
        expect(await rejection(world.loader.unloadProgram(handle, { force: true }))).toMatchObject(replaced);
        await world.loader.close();
        expect(world.filters()).toEqual(theirs);
        await world.send(10);
        expect(theirs.map(({ programId }) => countedBy(programId ?? 0))).toEqual([10]);
      },
    },
  },
  {
    row: 'detachFromInterface | it was already detached from outside',
    check: {
      ...each(HOOKS, async (world, hook) => {
        const { handle, id } = await load(world.loader, objectFor(hook));
        const { link } = await on(world, hook, handle);
        world.netns.ip('link', 'delete', world.veth.a.name);
        expect(link.state()).toBe('detached');
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(world.warnings).toEqual([expect.stringContaining('from outside')]);
        expect(await world.loader.unloadProgram(handle)).toBe(true);
        expect(programExists(id)).toBe(false);
      }),
      async 'by ip(8)'(world) {
        const { handle } = await load(world.loader);
        await world.loader.attachXdp(handle, { ...world.at, via: 'netlink' });
        world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(world.warnings).toEqual([expect.stringContaining('from outside')]);
      },
      async 'by tc(8)'(world) {
        const { handle, id } = await load(world.loader, testObject('tc_count'));
        await on(world, 'clsact', handle);
        world.netns.exec('tc', ['qdisc', 'delete', 'dev', world.iface, 'clsact']);
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(world.warnings).toEqual([expect.stringContaining('from outside')]);
        // It can be attached again, on a qdisc made anew.
        await on(world, 'clsact', handle);
        expect(world.tcIds()).toEqual([id]);
      },
      async 'by the caller'(world) {
        const { handle } = await load(world.loader);
        (await world.loader.attachXdp(handle, world.at)).link.close();
        expect(await world.loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(world.warnings).toEqual([expect.stringContaining('from outside')]);
      },
    },
  },
  {
    row: 'detachFromInterface | no direction is given',
    async check(world) {
      const { loader, at, ingress } = world;
      const { handle, id } = await load(loader, testObject('tc_count'));
      const first = await loader.attachTc(handle, ingress);
      const second = await loader.attachTc(handle, { ...ingress, direction: 'egress' });
      expect([first.hook, second.hook]).toEqual(['tc-ingress', 'tc-egress']);
      expect(loader.getProgram(handle)?.attachments).toEqual([first, second]);
      expect([world.tcIds(), world.tcIds('egress')]).toEqual([[id], [id]]);

      expect(await loader.detachFromInterface(handle, { ...at, direction: 'ingress' })).toBe(true);
      expect([world.tcIds(), world.tcIds('egress')]).toEqual([[], [id]]);
      expect(await loader.detachFromInterface(handle, { ...at, direction: 'ingress' })).toBe(false);
      await loader.attachTc(handle, { ...ingress, via: 'clsact' });
      expect(await loader.detachFromInterface(handle, at)).toBe(true);
      expect([world.tcIds(), world.tcIds('egress')]).toEqual([[], []]);
      expect(loader.getProgram(handle)?.state).toBe('loaded');
    },
  },
  {
    row: 'unloadProgram | unknown handle',
    async check({ loader, warnings }) {
      expect(await loader.unloadProgram('nothing-1')).toBe(false);
      expect(warnings).toEqual([expect.stringContaining('nothing-1')]);
    },
  },
  {
    row: 'unloadProgram | still attached',
    check: each(HOOKS, async (world, hook) => {
      const { loader } = world;
      const { handle, id } = await load(loader, objectFor(hook));
      const second = world.netns.addVeth().b;
      await on(world, hook, handle);
      await on(world, hook, handle, { iface: second.name });
      expect(await rejection(loader.unloadProgram(handle))).toMatchObject({
        name: 'EbpfAttachError',
        code: 'ERR_EBPF_STILL_ATTACHED',
        target: `${world.iface}, ${second.name}`,
      });
      expect([attachedIds(world, hook), programExists(id)]).toEqual([[id], true]);
      expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
      expect([attachedIds(world, hook), world.xdp(second.name), programExists(id)]).toEqual([[], {}, false]);
    }),
  },
  {
    row: 'unloadProgram | done',
    // RCU frees each kind some time after its last reference: the promise is not kept before.
    check: {
      ...each(HOOKS, async (world, hook) => {
        const { handle, id } = await load(world.loader, objectFor(hook));
        await on(world, hook, handle);
        expect(await world.loader.unloadProgram(handle, { force: true })).toBe(true);
        expect([programExists(id), world.warnings]).toEqual([false, []]);
      }),
      async 'a raw tracepoint'({ loader, warnings }) {
        const { handle, id } = await load(loader, testObject('tracepoint'));
        await loader.attach(handle);
        expect(linksOf([id])).toHaveLength(1);
        expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
        expect([programExists(id), linksOf([id]), warnings]).toEqual([false, [], []]);
      },
    },
  },
  {
    row: 'unloadProgram | the program is still in use elsewhere',
    check: {
      async 'a pin'(world) {
        const { handle, id } = await load(world.loader);
        world.loader.getProgram(handle)?.program.pin(world.bpffs.at('program'));
        expect(await world.loader.unloadProgram(handle)).toBe(true);
        expect(world.warnings).toEqual([expect.stringMatching(`program ${id} .* held by a pin`)]);
        expect(pinnedId('prog', world.bpffs.at('program'))).toBe(id);
      },
      async 'a pinned link'(world) {
        const { handle, id } = await load(world.loader);
        const program = world.loader.getProgram(handle)?.program ?? expect.unreachable();
        const link = program.attachXdp(world.at);
        link.pin(world.bpffs.at('link'));
        expect(await world.loader.unloadProgram(handle)).toBe(true);
        expect(world.warnings).toEqual([expect.stringMatching(`program ${id} .* held by link ${link.id}$`)]);
        expect(world.xdp().programId).toBe(id);
      },
      async 'a descriptor'(world) {
        const { handle, id } = await load(world.loader);
        using _other = BpfProgram.fromId(id);
        expect(await world.loader.unloadProgram(handle)).toBe(true);
        expect(world.warnings).toEqual([expect.stringMatching(`program ${id} .* descriptor`)]);
        expect(programExists(id)).toBe(true);
      },
    },
  },
  {
    row: 'unloadProgram | the kernel does not tell ids (no CAP_SYS_ADMIN)',
    async check() {
      const body = `const loader = new ebpf.EbpfLoader(); const warnings = [];
        loader.on('warning', (text) => warnings.push(text));
        const handle = await loader.loadProgram(${JSON.stringify(COUNTER)});
        if ((await loader.unloadProgram(handle)) !== true) throw new Error('not unloaded');
        if (!/unconfirmed/.test(warnings.join())) throw new Error('no warning: ' + warnings)`;
      expect(await without(['sys_admin'], body)).toEqual({});
    },
  },
  {
    row: 'EbpfLoader.close, BpfObject.close | attached, loaded',
    check: {
      ...each(HOOKS, async (world, hook) => {
        const { handle, id } = await load(world.loader, objectFor(hook));
        const map = Object.values(world.loader.getProgram(handle)?.object.maps ?? {})[0]?.id ?? 0;
        const { link } = await on(world, hook, handle);
        await world.loader.close();
        expect([attachedIds(world, hook), programExists(id)]).toEqual([[], false]);
        await untilGone({ maps: [map], links: [link.id ?? []].flat() });
      }),
      async 'an object: XDP, TCX and clsact'(world) {
        const xdp = world.object('xdp_counter');
        const tc = world.object('tc_count');
        xdp.program('xdp_counter').attachXdp(world.at);
        tc.program('tc_count').attachTc(world.ingress);
        tc.program('tc_count').attachTc({ ...world.ingress, via: 'clsact' });
        const ids = [xdp.program('xdp_counter').id, tc.program('tc_count').id];
        expect([world.xdp().programId, ...world.tcIds()]).toEqual([ids[0], ids[1], ids[1]]);
        xdp.close();
        tc.close();
        expect([world.xdp(), world.tcIds()]).toEqual([{}, []]);
        await world.gone(...ids);
      },
    },
  },
  {
    row: 'BpfLink.close | it has no pin',
    check: {
      XDP(world) {
        const link = world.program('xdp_counter').attachXdp(world.at);
        expect(linkIds().has(link.id ?? -1)).toBe(true);
        link.close();
        expect([world.xdp(), linkIds().has(link.id ?? -1)]).toEqual([{}, false]);
      },
      ...each(['tcx', 'clsact'], (world, via) => {
        const link = world.program('tc_count').attachTc({ ...world.ingress, via });
        expect(world.tcIds()).toHaveLength(1);
        link.close();
        expect([world.tcIds(), linkIds().has(link.id ?? -1)]).toEqual([[], false]);
      }),
    },
  },
  {
    row: 'BpfLink.close | it has a pin',
    async check(world) {
      const { bpffs } = world;
      const object = world.object('xdp_counter');
      const { id } = object.program('xdp_counter');
      const link = object.program('xdp_counter').attachXdp(world.at);
      link.pin(bpffs.at('link'));
      expect(link.owner).toBe('pinned');
      expect(pinnedId('link', bpffs.at('link'))).toBe(link.id);
      object.close();
      expect(caught(() => link.state())).toBeInstanceOf(EbpfStateError);
      expect(world.xdp().programId).toBe(id);

      const found = BpfLink.fromPin(bpffs.at('link'));
      expect(found).toMatchObject({ id: link.id, kind: 'xdp', owner: 'pinned' });
      expect(found.state()).toBe('attached');
      found.close();
      expect(world.xdp().programId).toBe(id);

      const updated = BpfLink.fromPin(bpffs.at('link'));
      const other = world.program('pass');
      updated.update(other);
      expect(world.xdp().programId).toBe(other.id);
      updated.detach();
      expect(world.xdp()).toEqual({});
      expect(existsSync(bpffs.at('link'))).toBe(false);
      expect(linkIds().has(link.id ?? 0)).toBe(false);
      await world.gone(id);
    },
  },
  {
    row: 'BpfLink.detach | it has a pin',
    check(world) {
      const { bpffs } = world;
      const object = world.object('xdp_counter');
      const link = object.program('xdp_counter').attachXdp(world.at);
      link.pin(bpffs.at('one'));
      link.pin(bpffs.at('two'));
      // What took the name of a pin is somebody else's.
      rmSync(bpffs.at('one'));
      object.map('packet_counters').pin(bpffs.at('one'));
      link.detach();
      expect([world.xdp(), linkIds().has(link.id ?? -1)]).toEqual([{}, false]);
      expect(bpffs.names()).toEqual(['one']);
      expect(caught(() => link.pin(bpffs.at('three')))).toMatchObject({ name: 'EbpfStateError' });
    },
  },
]);
