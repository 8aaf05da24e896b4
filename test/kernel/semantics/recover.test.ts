import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { BpfLink } from '../../../lib/link/link.ts';
import type { Attachment } from '../../../lib/loader/attachment.ts';
import type { EbpfLoader } from '../../../lib/loader/loader.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { type Ending, endedWith } from '../../helpers/endings.ts';
import { LONG } from '../../helpers/extent.ts';
import { bpftool, linksOf, pinnedId, programExists, untilGone, xdpOf } from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';
import { type Check, each, rows } from '../../helpers/rows.ts';
import { countedBy, filtersOf, replaceFilter } from '../../helpers/tc.ts';
import { until } from '../../helpers/until.ts';
import type { World } from '../../helpers/world.ts';

/** How often two processes attach at the same moment. */
const RACES = LONG ? 40 : 10;

interface Kind {
  object: string;
  program: string;
  map: string;
  /** How the loader attaches it, but for what is said of pins. */
  attach: string;
  linked: boolean;
}

const TC = { object: 'tc_count', program: 'tc_count', map: 'tc_frames' };
const XDP = { object: 'pass', program: 'pass', map: 'passed' };
const KINDS = {
  XDP: { ...XDP, attach: 'attachXdp(handle, { ...at,', linked: true },
  'XDP by netlink': { ...XDP, attach: "attachXdp(handle, { ...at, via: 'netlink',", linked: false },
  TCX: { ...TC, attach: "attachTc(handle, { ...at, direction: 'ingress', via: 'tcx',", linked: true },
  clsact: { ...TC, attach: "attachTc(handle, { ...at, direction: 'ingress', via: 'clsact',", linked: false },
  'attach()': {
    object: 'tracepoint',
    program: 'on_sys_enter',
    map: 'entered',
    attach: 'attach(handle, {',
    linked: true,
  },
} satisfies Record<string, Kind>;
type Name = keyof typeof KINDS;
const NAMES = Object.keys(KINDS) as Name[];
const ON_INTERFACE = NAMES.filter((name) => name !== 'attach()');

/** What an earlier process left. */
interface Left {
  handle: string;
  program: number;
  map: number;
  link?: number;
}

const rootOf = (world: World) => world.bpffs.at('app');

/** A process that loads, attaches with `pin: true`, and ends. */
function leave(
  world: World,
  name: Name,
  ending: Ending,
  { keep = 'pin: true', meanwhile }: { keep?: string; meanwhile?: (left: Left) => unknown } = {},
): Promise<Left> {
  const { object, map, attach } = KINDS[name];
  return endedWith<Left>(
    world,
    `const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(rootOf(world))} });
     const handle = await loader.loadProgram(${JSON.stringify(testObject(object))});
     const { program, object } = loader.getProgram(handle);
     const { link } = await loader.${attach} ${keep} });`,
    `{ handle, program: program.id, map: object.map('${map}').id, link: link.id }`,
    ending,
    meanwhile,
  );
}

/** Where the link of its only hook is pinned. */
function linkPin(world: World, { handle }: Pick<Left, 'handle'>): string {
  const hooks = join(rootOf(world), handle, 'hooks');
  return join(hooks, readdirSync(hooks)[0] ?? '', 'link');
}

function isAttached(world: World, name: Name, program: number): boolean {
  if (name === 'attach()') return linksOf([program]).length > 0;
  return [world.xdp().programId, ...world.tcIds()].includes(program);
}

/** All names under a folder of the BPF file system. */
const tree = (folder: string): string[] =>
  existsSync(folder) ? (readdirSync(folder, { recursive: true }) as string[]).sort() : [];

/** A later run of the same application. */
async function recovered(world: World): Promise<{ loader: EbpfLoader; attachments: Attachment[] }> {
  const loader = world.makeLoader({ pinRoot: rootOf(world) });
  return { loader, attachments: await loader.recover() };
}

/** The later run removes everything, and the kernel has nothing of it. */
async function removed(world: World, loader: EbpfLoader, name: Name, left: Left): Promise<void> {
  for (const { handle } of loader.listLoadedPrograms()) await loader.unloadProgram(handle, { force: true });
  const late = programExists(left.program);
  expect(isAttached(world, name, left.program)).toBe(false);
  // unloadProgram() waits until the kernel has it no longer; where that takes above two seconds it has to say so.
  if (late) expect(world.warnings.join()).toContain(`program ${left.program} "`);
  const links = left.link === undefined ? [] : [left.link];
  await untilGone({ programs: [left.program], maps: [left.map], links });
  expect(tree(rootOf(world))).toEqual([]);
}

const ENDED: readonly Ending[] = ['kill -9', 'exit', 'exception', 'an empty event loop'];

rows('Recovery', [
  {
    row: 'attachXdp, attachTc, attach | pin: true',
    check: Object.fromEntries(
      NAMES.flatMap((name) =>
        ENDED.map((ending): [string, Check] => [
          `${name}, ${ending}`,
          async (world) => {
            const { map, linked } = KINDS[name];
            const left = await leave(world, name, ending);
            expect(isAttached(world, name, left.program)).toBe(true);
            const folder = join(rootOf(world), left.handle);
            expect(pinnedId('prog', join(folder, 'program'))).toBe(left.program);
            expect(pinnedId('map', join(folder, 'maps', map))).toBe(left.map);
            const [hook = ''] = readdirSync(join(folder, 'hooks'));
            const link = join(folder, 'hooks', hook, 'link');
            if (linked) expect(pinnedId('link', link)).toBe(left.link);
            else expect(existsSync(link)).toBe(false);

            const { loader } = await recovered(world);
            await removed(world, loader, name, left);
            expect(world.warnings).toEqual([]);
          },
        ]),
      ),
    ),
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, already attached without it',
    check: each(ON_INTERFACE, async (world, name) => {
      const { attach } = KINDS[name];
      const left = await leave(world, name, 'kill -9', {
        keep: `}); const again = await loader.${attach} pin: true }); if (again.link !== link) throw new Error('anew'); void ({`,
      });
      expect(isAttached(world, name, left.program)).toBe(true);
      const { loader, attachments } = await recovered(world);
      expect(attachments).toHaveLength(1);
      await removed(world, loader, name, left);
    }),
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, and the loader has no pinRoot, or it is not in a BPF file system',
    check: each(ON_INTERFACE, async (world, name) => {
      const { object } = KINDS[name];
      const folder = world.folder();
      for (const [options, code] of [
        [{}, 'ERR_EBPF_NO_PIN_ROOT'],
        [{ pinRoot: join(folder, 'app') }, 'ERR_EBPF_NO_BPFFS'],
      ] as const) {
        const loader = world.makeLoader(options);
        const handle = await loader.loadProgram(testObject(object));
        const id = loader.getProgram(handle)?.program.id ?? 0;
        expect(await rejection(attachPinned(world, loader, name, handle))).toMatchObject({ code });
        expect([isAttached(world, name, id), linksOf([id])]).toEqual([false, []]);
        expect(loader.getProgram(handle)?.state).toBe('loaded');
      }
      expect(readdirSync(folder)).toEqual([]);
      const loader = world.makeLoader();
      expect(await rejection(loader.recover())).toMatchObject({ code: 'ERR_EBPF_NO_PIN_ROOT' });
    }),
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, and another program is attached',
    async check(world) {
      const theirs = world.foreignXdp();
      const loader = world.makeLoader({ pinRoot: rootOf(world) });
      const handle = await loader.loadProgram(testObject('pass'));
      expect(await rejection(loader.attachXdp(handle, { ...world.at, pin: true }))).toMatchObject({
        code: 'EBUSY',
        holder: { programId: theirs.programId },
      });
      expect([world.xdp(), tree(rootOf(world))]).toEqual([theirs, []]);
    },
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, and another process has attached the program since',
    check: each(ON_INTERFACE, async (world, name) => {
      const loader = world.makeLoader({ pinRoot: rootOf(world) });
      const handle = await loader.loadProgram(testObject(KINDS[name].object), undefined, { pin: true });
      const id = loader.getProgram(handle)?.program.id ?? 0;
      const theirs = await endedWith<{ link?: number }>(
        world,
        `const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(rootOf(world))} });
         await loader.recover();
         const handle = ${JSON.stringify(handle)};
         const { link } = await loader.${KINDS[name].attach} pin: true });`,
        '{ link: link.id }',
        'exit',
      );
      const there = [world.xdp(), world.tcx(), world.filters()];
      const attachment = await attachPinned(world, loader, name, handle);
      expect([attachment.link.id, attachment.link.state()]).toEqual([theirs.link, 'attached']);
      expect([world.xdp(), world.tcx(), world.filters()]).toEqual(there);
      expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
      expect([isAttached(world, name, id), tree(rootOf(world)), world.warnings]).toEqual([false, [], []]);
    }),
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, and another process has unloaded the program since',
    async check(world) {
      const loader = world.makeLoader({ pinRoot: rootOf(world) });
      const handle = await loader.loadProgram(testObject('pass'), undefined, { pin: true });
      const id = loader.getProgram(handle)?.program.id ?? 0;
      const other = await recovered(world);
      expect(await other.loader.unloadProgram(handle)).toBe(true);
      expect(tree(rootOf(world))).toEqual([]);
      await loader.attachXdp(handle, { ...world.at, pin: true });
      expect(pinnedId('prog', join(rootOf(world), handle, 'program'))).toBe(id);
      expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
      expect([world.xdp(), tree(rootOf(world))]).toEqual([{}, []]);
    },
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, in two processes at once',
    check: each(['XDP', 'XDP by netlink', 'TCX'], async (world, name) => {
      const { object, attach } = KINDS[name];
      const loader = world.makeLoader({ pinRoot: rootOf(world) });
      const handle = await loader.loadProgram(testObject(object), undefined, { pin: true });
      const id = loader.getProgram(handle)?.program.id ?? 0;
      const racers = Array.from({ length: 2 }, () =>
        world.child(
          `const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(rootOf(world))} });
           await loader.recover();
           const handle = ${JSON.stringify(handle)};
           for await (const moment of process.stdin) {
             const wait = Number(moment) - Date.now();
             if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait - 1));
             while (Date.now() < Number(moment));
             const { code, link } = await loader.${attach} pin: true }).catch((error) => error);
             console.log(code ?? link.id ?? 'netlink');
           }`,
        ),
      );
      const outcomes = new Map<string, number>();
      for (let round = 0; round < RACES; round++) {
        const moment = `${Date.now() + 20}\n`;
        for (const { process } of racers) process.stdin?.write(moment);
        const lines = await Promise.all(racers.map((racer) => racer.line()));
        const codes = lines.filter((line) => /^E/.test(line));
        for (const line of codes.length > 0 ? codes : ['both'])
          outcomes.set(line, (outcomes.get(line) ?? 0) + 1);
        expect(codes.length, lines.join()).toBeLessThanOrEqual(1);
        for (const code of codes) expect(['EBUSY', 'EEXIST']).toContain(code);
        expect([world.xdp().programId, ...world.tcIds()].filter((there) => there === id)).toEqual([id]);
        // This process finds it, and takes it off; those forget it when they attach again.
        const found = await loader.recover();
        expect(found.map(({ link }) => link.state())).toEqual(['attached']);
        if (KINDS[name].linked) expect(pinnedId('link', linkPin(world, { handle }))).toBe(found[0]?.link.id);
        expect(await loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(isAttached(world, name, id)).toBe(false);
      }
      console.log(`${name}: two at once`, Object.fromEntries(outcomes));
      expect(await loader.unloadProgram(handle).then(() => tree(rootOf(world)))).toEqual([]);
    }),
  },
  {
    row: 'attachXdp, attachTc, attach | pin: true, and pinning fails',
    check: {
      async 'the kernel pins no program'(world) {
        const root = rootOf(world);
        const { stdout } = await world.failing(
          'BPF_OBJ_PIN',
          'ENOMEM',
          `ebpf.loadObjectSync(${JSON.stringify(testObject('pass'))}).close(); // the JS thread's first calls
           const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(root)} });
           const handle = await loader.loadProgram(${JSON.stringify(testObject('pass'))});
           const { program } = loader.getProgram(handle);
           const iface = at.iface;
           await loader.attachXdp(handle, { iface, pin: true })
             .then(() => loader.unloadProgram(handle, { force: true }), ({ code }) => console.log(code, program.id));`,
        );
        const [code, id] = stdout.trim().split(' ');
        expect(code).toBe('ENOMEM');
        expect([world.xdp(), tree(root), programExists(Number(id))]).toEqual([{}, [], false]);
      },
      async 'the file system is read-only'(world) {
        const root = rootOf(world);
        const loader = world.makeLoader({ pinRoot: root });
        const first = await loader.loadProgram(testObject('pass'), undefined, { pin: true });
        const handle = await loader.loadProgram(testObject('pass'));
        const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how}`, world.bpffs.path]);
        remount('ro');
        const pins = tree(root);
        expect(await rejection(loader.attachXdp(handle, { ...world.at, pin: true }))).toMatchObject({
          name: 'EbpfError',
          code: 'EROFS',
          message: expect.stringContaining(`pin pass under ${root}`),
        });
        expect(await rejection(loader.unloadProgram(first))).toMatchObject({ code: 'EROFS' });
        expect([world.xdp(), tree(root)]).toEqual([{}, pins]);
        remount('rw');
        expect(await loader.unloadProgram(first)).toBe(true);
        expect(tree(root)).toEqual([]);
      },
      async 'something else has the name of the root'(world) {
        world.object('pass').map('passed').pin(rootOf(world));
        const loader = world.makeLoader({ pinRoot: `${rootOf(world)}/` });
        const handle = await loader.loadProgram(testObject('pass'));
        expect(await rejection(loader.attachXdp(handle, { ...world.at, pin: true }))).toMatchObject({
          name: 'EbpfError',
          code: expect.stringMatching(/^(EEXIST|ENOTDIR)$/),
        });
        expect(await rejection(loader.recover())).toMatchObject({ code: 'ENOTDIR' });
        expect(world.xdp()).toEqual({});
      },
    },
  },
  {
    row: 'BpfProgram.attachXdp, attachTc | persist: true',
    check: {
      ...Object.fromEntries(
        (['XDP by netlink', 'clsact'] as const).flatMap((name) =>
          ENDED.map((ending): [string, Check] => [
            `${name}, ${ending}`,
            async (world) => {
              const { object, attach } = KINDS[name];
              const { program } = await endedWith<{ program: number }>(
                world,
                `const program = ebpf.loadObjectSync(${JSON.stringify(testObject(object))}).program('${object}');
                 globalThis.link = program.${attach.replace('handle, ', '')} persist: true });`,
                '{ program: program.id }',
                ending,
              );
              expect(isAttached(world, name, program)).toBe(true);
            },
          ]),
        ),
      ),
      'a link has pins for that'(world) {
        const program = world.program('pass');
        const tc = world.program('tc_count');
        for (const work of [
          () => program.attachXdp({ ...world.at, persist: true }),
          () => tc.attachTc({ ...world.ingress, via: 'tcx', persist: true }),
        ]) {
          expect(caught(work)).toBeInstanceOf(TypeError);
        }
        expect([world.xdp(), world.tcIds()]).toEqual([{}, []]);
      },
    },
  },
  {
    row: 'recover | an earlier process attached with pin: true',
    check: each(NAMES, async (world, name) => {
      const left = await leave(world, name, 'kill -9');
      const { map, object } = KINDS[name];
      const links = linksOf([left.program]);
      const onHook = [world.xdp(), world.tcx(), world.filters()];
      const before = name === 'attach()' ? 0 : await world.send(100);

      const { loader, attachments } = await recovered(world);
      expect(attachments).toHaveLength(1);
      const [attachment] = attachments;
      const handle = attachment?.handle ?? '';
      const entry = loader.getProgram(handle) ?? expect.unreachable();
      expect([entry.program.id, entry.object.map(map).id]).toEqual([left.program, left.map]);
      expect(attachment?.link.id).toBe(left.link);
      expect(attachment?.link.state()).toBe('attached');
      expect(entry).toMatchObject({ state: 'attached', source: testObject(object) });
      // The same ones: nothing was loaded, attached or detached.
      expect([linksOf([left.program]), [world.xdp(), world.tcx(), world.filters()]]).toEqual([links, onHook]);
      if (name !== 'attach()') {
        const { name: iface, ifindex } = world.veth.b;
        expect(attachment).toMatchObject({ iface, ifindex, handle: left.handle });
        expect(attachment?.link).toMatchObject(
          name.startsWith('XDP') ? { mode: 'drv' } : { direction: 'ingress' },
        );
        const sent = before + (await world.send(100));
        expect(countedBy(left.program)).toBe(sent);
        const bytes = entry.object.map(map).get(0) ?? new Uint8Array(8);
        expect(Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))).toBe(sent);
        expect(loader.getInterfacePrograms({ iface, netns: world.netns.path })).toEqual(attachments);
        expect(await loader.detachFromInterface(handle, world.at)).toBe(true);
        expect(isAttached(world, name, left.program)).toBe(false);
      }
      await removed(world, loader, name, left);
      expect(world.warnings).toEqual([]);
    }),
  },
  {
    row: 'recover | under a flood',
    check: each(ON_INTERFACE, async (world, name) => {
      let flooding = true;
      let sent: Promise<number> | undefined;
      const flood = async () => {
        let frames = 0;
        while (flooding) frames += await world.send(20_000);
        return frames;
      };
      const left = await leave(world, name, 'kill -9', {
        async meanwhile({ program }) {
          sent = flood();
          await until(() => countedBy(program) > 0);
        },
      });
      const { loader, attachments } = await recovered(world).finally(() => {
        flooding = false;
      });
      expect(attachments).toHaveLength(1);
      const frames = await sent;
      expect(countedBy(left.program)).toBe(frames);
      await removed(world, loader, name, left);
    }),
  },
  {
    row: 'recover | others have 20 filters and an XDP program there',
    check: each(['TCX', 'clsact'], async (world, name) => {
      const stillThere = world.foreignHooks();
      const left = await leave(world, name, 'kill -9');
      await stillThere(left.program, 'attached');
      const { loader, attachments } = await recovered(world);
      expect(attachments).toHaveLength(1);
      await stillThere(left.program, 'attached');
      await removed(world, loader, name, left);
      await stillThere(left.program, 'gone');
    }),
  },
  {
    row: 'recover | called again, or in the process that attached',
    check: each(ON_INTERFACE, async (world, name) => {
      const { loader, handle, id, attachment } = await pinned(world, name);
      const links = linksOf([id]);
      expect([await loader.recover(), await loader.recover()]).toEqual([[], []]);
      expect(loader.getProgram(handle)?.attachments).toEqual([attachment]);
      expect(linksOf([id])).toEqual(links);

      await loader.close();
      expect(isAttached(world, name, id)).toBe(true);
      const later = await recovered(world);
      expect(later.attachments).toHaveLength(1);
      expect(await later.loader.recover()).toEqual([]);
      await later.loader.unloadProgram(later.attachments[0]?.handle ?? '', { force: true });
      expect([isAttached(world, name, id), tree(rootOf(world))]).toEqual([false, []]);
    }),
  },
  {
    row: 'recover | another program has replaced ours',
    check: each(ON_INTERFACE, async (world, name) => {
      const { left, theirs } = await replaced(world, name);
      const before = theirs();
      const pins = tree(rootOf(world));
      const { loader, attachments } = await recovered(world);
      expect([attachments, world.warnings]).toEqual([[], [expect.stringContaining(left.handle)]]);
      expect(tree(rootOf(world))).toEqual(pins);
      expect(loader.getProgram(left.handle)?.program.id).toBe(left.program);
      await loader.close();
      expect(theirs()).toEqual(before);
    }),
  },
  {
    row: 'recover | our link was detached from outside',
    check: each(['XDP', 'TCX'], async (world, name) => {
      const left = await leave(world, name, 'kill -9');
      using link = BpfLink.fromId(left.link ?? 0);
      link.detach();
      const { loader, attachments } = await recovered(world);
      expect([attachments, world.warnings]).toEqual([[], [expect.stringContaining(world.iface)]]);
      const attachment = await attachPinned(world, loader, name, left.handle);
      expect(pinnedId('link', linkPin(world, left))).toBe(attachment.link.id);
      expect([attachment.link.state(), isAttached(world, name, left.program)]).toEqual(['attached', true]);
      expect([loader.health().status, world.warnings.length]).toEqual(['healthy', 1]);
      await removed(world, loader, name, left);
    }),
  },
  {
    row: 'recover | an attached program with the same name and tag is not pinned',
    check: each(['XDP by netlink', 'clsact'], async (world, name) => {
      const { object, attach } = KINDS[name];
      const second = world.netns.addVeth().b;
      const left = await leave(world, name, 'kill -9');
      const twin = await endedWith<{ program: number }>(
        world,
        `const program = ebpf.loadObjectSync(${JSON.stringify(testObject(object))}).program('${object}');
         globalThis.link = program.${attach.replace('handle, ', '').replace('...at', `...at, iface: '${second.name}'`)} });`,
        '{ program: program.id }',
        'kill -9',
      );
      const tag = (id: number) => bpftool<{ tag: string }>('prog', 'show', 'id', String(id)).tag;
      expect(tag(twin.program)).toBe(tag(left.program));
      const theirs = () => [
        xdpOf(world.netns, second.name),
        filtersOf(world.netns, second.name, 'ingress').map(({ programId }) => programId),
      ];
      const before = theirs();
      expect(JSON.stringify(before)).toContain(String(twin.program));

      const { loader, attachments } = await recovered(world);
      expect(attachments.map(({ iface }) => iface)).toEqual([world.iface]);
      expect(loader.listLoadedPrograms().map(({ program }) => program.id)).toEqual([left.program]);
      await removed(world, loader, name, left);
      expect(theirs()).toEqual(before);
    }),
  },
  {
    row: 'recover | the interface or the namespace is gone',
    check: Object.fromEntries(
      ON_INTERFACE.flatMap((name) =>
        ['interface', 'namespace'].map((what): [string, Check] => [
          `${name}, ${what}`,
          async (world) => {
            const left = await leave(world, name, 'kill -9');
            if (what === 'interface') world.netns.ip('link', 'delete', world.veth.a.name);
            else world.netns.close();
            const { loader, attachments } = await recovered(world);
            expect([attachments, world.warnings]).toEqual([[], [expect.stringContaining(left.handle)]]);
            expect(loader.getProgram(left.handle)?.state).toBe('loaded');
            await loader.unloadProgram(left.handle);
            expect([programExists(left.program), tree(rootOf(world))]).toEqual([false, []]);
          },
        ]),
      ),
    ),
  },
  {
    row: 'recover | the contents of pinRoot were changed',
    check: {
      async 'another program has the name'(world) {
        const left = await leave(world, 'XDP', 'kill -9');
        const path = join(rootOf(world), left.handle, 'program');
        rmSync(path);
        const other = world.program('xdp_counter');
        other.pin(path);
        const pins = tree(rootOf(world));
        const { loader, attachments } = await recovered(world);
        expect([attachments, loader.listLoadedPrograms()]).toEqual([[], []]);
        expect(world.warnings).toEqual([expect.stringContaining(join(rootOf(world), left.handle))]);
        await loader.close();
        expect([tree(rootOf(world)), pinnedId('prog', path)]).toEqual([pins, other.id]);
        expect(world.xdp().programId).toBe(left.program);
      },
      async "somebody's pins and folders"(world) {
        const left = await leave(world, 'XDP', 'kill -9');
        const root = rootOf(world);
        mkdirSync(join(root, 'theirs'));
        const map = world.object('pass').map('passed');
        map.pin(join(root, 'theirs', 'map'));
        map.pin(join(root, 'single'));
        map.pin(world.bpffs.at('outside'));
        mkdirSync(join(root, 'empty'));
        const { loader, attachments } = await recovered(world);
        expect(attachments.map(({ handle }) => handle)).toEqual([left.handle]);
        expect(world.warnings).toEqual([
          expect.stringContaining(join(root, 'empty')),
          expect.stringContaining(join(root, 'theirs')),
        ]);
        await loader.unloadProgram(left.handle, { force: true });
        expect(tree(root)).toEqual(['empty', 'single', 'theirs', 'theirs/map']);
        expect(pinnedId('map', join(root, 'theirs', 'map'))).toBe(map.id);
        expect(world.bpffs.names()).toEqual(['app', 'outside']);
      },
      async 'a folder that somebody renamed'(world) {
        const left = await leave(world, 'XDP', 'kill -9');
        renameSync(join(rootOf(world), left.handle), join(rootOf(world), 'moved'));
        const { loader, attachments } = await recovered(world);
        expect(attachments.map(({ handle }) => handle)).toEqual(['moved']);
        await removed(world, loader, 'XDP', left);
      },
    },
  },
  {
    row: "recover | a hook's record was changed",
    check: {
      async 'a name that we do not give'(world) {
        const left = await leave(world, 'XDP', 'kill -9');
        mkdirSync(join(rootOf(world), left.handle, 'hooks', 'theirs'));
        const { loader, attachments } = await recovered(world);
        expect(attachments.map(({ hook }) => hook)).toEqual(['xdp']);
        expect(world.warnings).toEqual([expect.stringContaining('theirs')]);
        expect(loader.health().status).toBe('degraded');
      },
      async 'a map is pinned as the link'(world) {
        const left = await leave(world, 'XDP', 'kill -9');
        const link = linkPin(world, left);
        renameSync(link, `${link}_`);
        const map = world.object('pass').map('passed');
        map.pin(link);
        const { attachments } = await recovered(world);
        expect([attachments, world.warnings]).toEqual([
          [],
          [expect.stringContaining('a map is pinned there')],
        ]);
        expect([pinnedId('map', link), world.xdp().programId]).toEqual([map.id, left.program]);
      },
      async 'the link of another program is pinned'(world) {
        const left = await leave(world, 'attach()', 'kill -9');
        const path = linkPin(world, left);
        rmSync(path);
        using link = world.object('tracepoint').program('on_sys_enter').attach();
        link.pin(path);
        const { loader, attachments } = await recovered(world);
        expect([attachments, world.warnings]).toEqual([[], [expect.stringContaining(left.handle)]]);
        expect(await rejection(loader.detach(left.handle))).toMatchObject({ code: 'ERR_EBPF_REPLACED' });
        expect([pinnedId('link', path), link.state()]).toEqual([link.id, 'attached']);
      },
      async 'the link is no longer pinned'(world) {
        const left = await leave(world, 'attach()', 'kill -9');
        rmSync(linkPin(world, left));
        const { loader, attachments } = await recovered(world);
        expect([attachments, world.warnings]).toEqual([[], [expect.stringContaining('no link')]]);
        expect(await loader.detachFromInterface(left.handle, 'lo')).toBe(false);
        expect(await loader.detach(left.handle)).toBe(true);
        expect(await loader.detach(left.handle)).toBe(false);
        await removed(world, loader, 'attach()', left);
      },
      ...each(['XDP', 'TCX'], async (world, name) => {
        // A process between attaching and pinning.
        const { loader, handle, id } = await pinned(world, name);
        rmSync(linkPin(world, { handle }));
        const later = await recovered(world);
        expect([later.attachments, world.warnings]).toEqual([[], [expect.stringContaining(world.iface)]]);
        await later.loader.close();
        expect(isAttached(world, name, id)).toBe(true);
        expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
        expect(tree(rootOf(world))).toEqual([]);
      }),
    },
  },
  {
    row: 'recover | pinRoot does not exist yet',
    async check(world) {
      const { attachments } = await recovered(world);
      expect([attachments, world.warnings, tree(rootOf(world))]).toEqual([[], [], []]);
    },
  },
  {
    row: 'recover | the program is attached to several hooks in two namespaces',
    async check(world) {
      const other = world.hold(
        new (world.netns.constructor as typeof import('../../helpers/netns.ts').Netns)(),
      );
      const end = other.addVeth().b;
      const { object } = KINDS.TCX;
      const left = await endedWith<{ program: number; handle: string }>(
        world,
        `const loader = new ebpf.EbpfLoader({ pinRoot: ${JSON.stringify(rootOf(world))} });
         const handle = await loader.loadProgram(${JSON.stringify(testObject(object))});
         const on = { pin: true, direction: 'ingress' };
         await loader.attachTc(handle, { ...at, ...on });
         await loader.attachTc(handle, { ...at, ...on, direction: 'egress', via: 'clsact' });
         await loader.attachTc(handle, { ...at, ...on, iface: '${end.name}', netns: '${other.path}' });`,
        '{ handle, program: loader.getProgram(handle).program.id }',
        'kill -9',
      );
      const { loader, attachments } = await recovered(world);
      const places = attachments.map(({ hook, netns }) => `${hook} ${netns}`);
      expect(places.sort()).toEqual([
        ...[
          `tc-egress ${world.netns.path}`,
          `tc-ingress ${world.netns.path}`,
          `tc-ingress ${other.path}`,
        ].sort(),
      ]);
      const there = { iface: end.name, netns: other.path };
      expect(await loader.detachFromInterface(left.handle, there)).toBe(true);
      expect([world.tcIds(), world.tcIds('egress')]).toEqual([[left.program], [left.program]]);
      expect(await loader.unloadProgram(left.handle, { force: true })).toBe(true);
      expect([world.tcIds(), world.tcIds('egress'), tree(rootOf(world))]).toEqual([[], [], []]);
    },
  },
  {
    row: 'detachFromInterface, unloadProgram | it is pinned',
    check: each(ON_INTERFACE, async (world, name) => {
      const { loader, handle, id } = await pinned(world, name);
      expect(await rejection(loader.unloadProgram(handle))).toMatchObject({
        code: 'ERR_EBPF_STILL_ATTACHED',
      });
      expect(isAttached(world, name, id)).toBe(true);
      expect(await loader.detachFromInterface(handle, world.at)).toBe(true);
      expect(isAttached(world, name, id)).toBe(false);
      expect(readdirSync(join(rootOf(world), handle, 'hooks'))).toEqual([]);
      expect(pinnedId('prog', join(rootOf(world), handle, 'program'))).toBe(id);
      expect(await loader.unloadProgram(handle)).toBe(true);
      expect([programExists(id), tree(rootOf(world)), world.warnings]).toEqual([false, [], []]);
    }),
  },
  {
    row: 'detachFromInterface, unloadProgram | recover() found that another program had replaced ours',
    check: each(ON_INTERFACE, async (world, name) => {
      const { left, other, theirs } = await replaced(world, name);
      const before = theirs();
      const { loader } = await recovered(world);
      const detach = () => loader.detachFromInterface(left.handle, world.at);
      const unload = () => loader.unloadProgram(left.handle, { force: true });
      if (KINDS[name].linked) {
        const refused = { code: 'ERR_EBPF_REPLACED', holder: { programId: other } };
        const pins = tree(rootOf(world));
        for (const work of [detach, unload, detach]) expect(await rejection(work())).toMatchObject(refused);
        expect(tree(rootOf(world))).toEqual(pins);
        expect(loader.getProgram(left.handle)?.state).toBe('loaded');
      } else {
        expect(await detach()).toBe(true);
        expect(world.warnings.at(-1)).toContain('from outside');
        expect(await unload()).toBe(true);
        expect([programExists(left.program), tree(rootOf(world))]).toEqual([false, []]);
      }
      expect(theirs()).toEqual(before);
    }),
  },
  {
    row: 'detachFromInterface, unloadProgram | recover() found nothing attached',
    check: each(['TCX', 'clsact'], async (world, name) => {
      const left = await leave(world, name, 'kill -9');
      const { ifindex } = world.veth.b;
      world.netns.ip('link', 'delete', world.veth.a.name);
      const { loader } = await recovered(world);
      const at = { iface: ifindex, netns: world.netns.path };
      for (const other of [
        { ...at, direction: 'egress' as const },
        { ...at, iface: ifindex + 1 },
        { iface: ifindex },
      ]) {
        expect(await loader.detachFromInterface(left.handle, other)).toBe(false);
      }
      expect(await loader.detachFromInterface(left.handle, { ...at, direction: 'ingress' })).toBe(true);
      expect(loader.health().status).toBe('healthy');
      expect(await loader.unloadProgram(left.handle)).toBe(true);
      expect([programExists(left.program), tree(rootOf(world))]).toEqual([false, []]);
    }),
  },
  {
    row: 'EbpfLoader.close | it is pinned',
    check: each(ON_INTERFACE, async (world, name) => {
      const { loader, handle, id } = await pinned(world, name);
      const pins = tree(rootOf(world));
      await loader.close();
      expect([isAttached(world, name, id), tree(rootOf(world))]).toEqual([true, pins]);
      expect(world.warnings).toEqual([]);
      const later = await recovered(world);
      await later.loader.unloadProgram(handle, { force: true });
      await until(() => !programExists(id));
    }),
  },
]);

/** An earlier process attached with `pin: true`, and then somebody put a program of theirs in the place. */
async function replaced(world: World, name: Name) {
  const left = await leave(world, name, 'kill -9');
  let other: number | undefined;
  if (KINDS[name].linked) {
    const program = world.program(KINDS[name].object);
    using link = BpfLink.fromId(left.link ?? 0);
    link.update(program);
    other = program.id;
  } else if (name === 'clsact') {
    const [filter] = world.filters();
    const handle = Number(filter?.handle);
    replaceFilter(world.netns, world.iface, 'ingress', { priority: filter?.priority ?? 0, handle });
  } else {
    world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
    world.foreignXdp();
  }
  expect(isAttached(world, name, left.program)).toBe(false);
  return { left, other, theirs: () => [world.xdp(), world.tcx(), world.filters()] };
}

/** What this process attaches with `pin: true`. */
async function pinned(world: World, name: Name) {
  const loader = world.makeLoader({ pinRoot: rootOf(world) });
  const handle = await loader.loadProgram(testObject(KINDS[name].object));
  const id = loader.getProgram(handle)?.program.id ?? 0;
  return { loader, handle, id, attachment: await attachPinned(world, loader, name, handle) };
}

function attachPinned(world: World, loader: EbpfLoader, name: Name, handle: string): Promise<Attachment> {
  switch (name) {
    case 'XDP':
    case 'XDP by netlink':
      return loader.attachXdp(handle, { ...world.at, via: name === 'XDP' ? 'link' : 'netlink', pin: true });
    case 'TCX':
    case 'clsact':
      return loader.attachTc(handle, { ...world.ingress, via: name === 'TCX' ? 'tcx' : 'clsact', pin: true });
    default:
      return loader.attach(handle, { pin: true });
  }
}
