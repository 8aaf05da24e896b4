import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { BpfLink } from '../../../lib/link/link.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { LIBRARY } from '../../helpers/child.ts';
import { type Ending, endedWith } from '../../helpers/endings.ts';
import { bpftool, linkIds, linksOf, pinnedId, untilGone } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { type Check, each, rows } from '../../helpers/rows.ts';
import { addForeignFilters, filtersOf, replaceFilter } from '../../helpers/tc.ts';
import { until } from '../../helpers/until.ts';
import type { World } from '../../helpers/world.ts';

const COUNTER = JSON.stringify(shippedObject('xdp_counter'));
const TC = JSON.stringify(testObject('tc_count'));
const TRACEPOINT = JSON.stringify(testObject('tracepoint'));

const ANY: readonly Ending[] = ['kill -9', 'exit', 'exception'];
const ORDERLY: readonly Ending[] = ['exit', 'exception', 'an empty event loop'];

/** What a process attaches, in its words. */
const ATTACHED = {
  XDP: `const program = ebpf.loadObjectSync(${COUNTER}).program('xdp_counter');
        globalThis.link = program.attachXdp(at);`,
  'XDP by netlink': `const program = ebpf.loadObjectSync(${COUNTER}).program('xdp_counter');
        globalThis.link = program.attachXdp({ ...at, via: 'netlink' });`,
  TCX: `const program = ebpf.loadObjectSync(${TC}).program('tc_count');
        globalThis.link = program.attachTc({ ...at, direction: 'ingress', via: 'tcx' });`,
  clsact: `const program = ebpf.loadObjectSync(${TC}).program('tc_count');
        globalThis.link = program.attachTc({ ...at, direction: 'ingress', via: 'clsact', removeQdisc: true });`,
  'attach()': `const program = ebpf.loadObjectSync(${TRACEPOINT}).program('on_sys_enter');
        globalThis.link = program.attach();`,
} as const;
type Kind = keyof typeof ATTACHED;

interface Held {
  program: number;
  link?: number;
}

/** Starts a process that attaches, and ends it. */
async function ended(
  world: World,
  kind: Kind,
  ending: Ending,
  meanwhile: (held: Held) => unknown = () => {},
  more = '',
): Promise<Held> {
  const held = await endedWith<Held>(
    world,
    `${ATTACHED[kind]} ${more}`,
    '{ program: program.id, link: link.id }',
    ending,
    async (answer) => {
      expect(isAttached(world, kind, answer)).toBe(true);
      await meanwhile(answer);
    },
  );
  return held;
}

function isAttached(world: World, kind: Kind, { program }: Held): boolean {
  if (kind === 'attach()') return linksOf([program]).length > 0;
  return [world.xdp().programId, ...world.tcIds()].includes(program);
}

/** A check for each kind of attachment and each ending. */
function every<K extends Kind>(
  kinds: readonly K[],
  endings: readonly Ending[],
  check: (world: World, kind: K, ending: Ending) => Promise<void>,
): Record<string, Check> {
  return Object.fromEntries(
    kinds.flatMap((kind) =>
      endings.map((ending) => [`${kind}, ${ending}`, (world: World) => check(world, kind, ending)]),
    ),
  );
}

/** The body of a worker, and what the process says when it has started and when it has been terminated. */
const inWorker = (body: string, answer: string) => `
  const { Worker } = await import('node:worker_threads');
  const worker = new Worker(\`
    import(${JSON.stringify(JSON.stringify(new URL('index.js', LIBRARY).href)).slice(1, -1)}).then(async (ebpf) => {
      const at = \${JSON.stringify(at)};
      ${body}
      (await import('node:worker_threads')).parentPort.postMessage(${answer});
      setInterval(() => {}, 1000);
    });\`, { eval: true });
  const said = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));`;

rows('Crash', [
  {
    row: 'a link: XDP (default), TCX, attach() | kill -9, exit, exception',
    check: every(['XDP', 'TCX', 'attach()'], ANY, async (world, kind, ending) => {
      const { program, link = 0 } = await ended(world, kind, ending);
      await untilGone({ programs: [program], links: [link] });
      expect([world.xdp(), world.tcIds()]).toEqual([{}, []]);
    }),
  },
  {
    row: 'XDP by netlink, TC by clsact | exit, exception, an empty event loop',
    check: every(['XDP by netlink', 'clsact'], ORDERLY, async (world, kind, ending) => {
      const { program } = await ended(world, kind, ending);
      expect([world.xdp(), world.tcIds(), world.qdisc()]).toEqual([{}, [], undefined]);
      await untilGone({ programs: [program] });
    }),
  },
  {
    row: 'XDP by netlink, TC by clsact | exit, and another program has replaced ours',
    check: {
      async XDP(world) {
        let theirs = {};
        await ended(world, 'XDP by netlink', 'exit', () => {
          world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
          theirs = world.foreignXdp();
        });
        expect(world.xdp()).toEqual(theirs);
      },
      async 'XDP, taken over by replace'(world) {
        const pass = world.program('pass');
        await ended(world, 'XDP by netlink', 'exit', ({ program }) => {
          pass.attachXdp({ ...world.at, replace: { programId: program } });
        });
        expect(world.xdp().programId).toBe(pass.id);
      },
      async clsact(world) {
        let theirs = world.filters();
        const { program } = await ended(world, 'clsact', 'exit', () => {
          const [ours] = world.filters();
          const handle = Number(ours?.handle);
          replaceFilter(world.netns, world.iface, 'ingress', { priority: ours?.priority ?? 0, handle });
          theirs = world.filters();
        });
        expect(theirs.map(({ programId }) => programId)).not.toContain(program);
        expect([world.filters(), theirs.length]).toEqual([theirs, 1]);
      },
    },
  },
  {
    row: 'XDP by netlink, TC by clsact | kill -9',
    check: {
      async XDP(world) {
        const { program } = await ended(world, 'XDP by netlink', 'kill -9');
        expect(world.xdp()).toEqual({ mode: 'drv', programId: program });
        world.netns.ip('link', 'set', 'dev', world.iface, 'xdp', 'off');
        await untilGone({ programs: [program] });
      },
      async clsact(world) {
        const { program } = await ended(world, 'clsact', 'kill -9');
        expect([world.tcIds(), world.qdisc()]).toEqual([[program], 'clsact']);
        world.netns.exec('tc', ['filter', 'delete', 'dev', world.iface, 'ingress']);
        await untilGone({ programs: [program] });
      },
    },
  },
  {
    row: 'a link, a map, a program with a pin | kill -9, exit, exception',
    check: {
      ...every(['XDP', 'TCX'], ANY, async (world, kind, ending) => {
        const path = world.bpffs.at('link');
        const held = await ended(world, kind, ending, undefined, `link.pin(${JSON.stringify(path)});`);
        expect(isAttached(world, kind, held)).toBe(true);
        expect(pinnedId('link', path)).toBe(held.link);
        const link = BpfLink.fromPin(path);
        expect(link.id).toBe(held.link);
        link.detach();
        expect([isAttached(world, kind, held), world.bpffs.names()]).toEqual([false, []]);
        await untilGone({ links: [held.link ?? 0], programs: [held.program] });
      }),
      ...each(ANY, async (world, ending) => {
        const [mapPath, programPath] = [world.bpffs.at('map'), world.bpffs.at('program')];
        const { map, program } = await endedWith<{ map: number; program: number }>(
          world,
          `const object = ebpf.loadObjectSync(${COUNTER});
           object.map('packet_counters').pin(${JSON.stringify(mapPath)});
           object.program('xdp_counter').pin(${JSON.stringify(programPath)});`,
          "{ map: object.map('packet_counters').id, program: object.program('xdp_counter').id }",
          ending,
        );
        expect([pinnedId('map', mapPath), pinnedId('prog', programPath)]).toEqual([map, program]);
        using foundProgram = BpfProgram.fromPin(programPath);
        expect(foundProgram.run({ data: new Uint8Array(64) }).retval).toBe(2);
        using foundMap = BpfMap.fromPin(mapPath);
        foundMap.unpin();
        expect(world.bpffs.names()).toEqual(['program']);
      }),
    },
  },
  {
    row: 'any | a worker is terminated',
    check: {
      async 'XDP, TCX, clsact and the qdisc that it made'(world) {
        const second = world.netns.addVeth();
        addForeignFilters(world.netns, world.veth.a.name, 'egress');
        const theirs = filtersOf(world.netns, world.veth.a.name, 'egress');
        const { child, answer, end } = await world.holding<{ xdp: number; tc: number }>(
          inWorker(
            `const xdp = ebpf.loadObjectSync(${COUNTER}).program('xdp_counter');
             xdp.attachXdp(at);
             xdp.attachXdp({ ...at, iface: '${second.b.name}', via: 'netlink' });
             const tc = ebpf.loadObjectSync(${TC}).program('tc_count');
             const clsact = { direction: 'ingress', via: 'clsact', removeQdisc: true };
             tc.attachTc({ ...at, ...clsact });
             tc.attachTc({ ...at, ...clsact, via: 'tcx', removeQdisc: false });
             tc.attachTc({ ...at, ...clsact, iface: '${world.veth.a.name}', direction: 'egress' });`,
            '{ xdp: xdp.id, tc: tc.id }',
          ),
          'said',
          "await worker.terminate(); console.log('terminated'); process.stdin.destroy();",
        );
        const { xdp, tc } = answer;
        expect([world.xdp().programId, world.xdp(second.b.name).programId]).toEqual([xdp, xdp]);
        expect(world.tcIds()).toEqual([tc, tc]);
        expect(filtersOf(world.netns, world.veth.a.name, 'egress')).toHaveLength(21);
        const status = end();
        expect(await child.line()).toBe('terminated');
        await untilGone({ programs: [xdp, tc] });
        expect([world.xdp(), world.xdp(second.b.name)]).toEqual([{}, {}]);
        expect([world.tcIds(), world.qdisc()]).toEqual([[], undefined]);
        expect(filtersOf(world.netns, world.veth.a.name, 'egress')).toEqual(theirs);
        expect(await status).toBe(0);
      },
      async 'a pinned link stays'(world) {
        const path = world.bpffs.at('link');
        const { child, answer, end } = await world.holding<Required<Held>>(
          inWorker(`${ATTACHED.XDP} link.pin('${path}');`, '{ program: program.id, link: link.id }'),
          'said',
          "await worker.terminate(); console.log('terminated'); process.stdin.destroy();",
        );
        const status = end();
        expect(await child.line()).toBe('terminated');
        expect(await status).toBe(0);
        expect(world.xdp().programId).toBe(answer.program);
        expect(bpftool('link', 'show', 'id', String(answer.link))).toMatchObject({ prog_id: answer.program });
        BpfLink.fromPin(path).detach();
        await until(() => !linkIds().has(answer.link));
      },
    },
  },
  {
    row: 'any | others have 20 filters and an XDP program there',
    check: every(['TCX', 'clsact'], ['kill -9', 'exit', 'exception'], async (world, kind, ending) => {
      const stillThere = world.foreignHooks();
      const { program } = await ended(world, kind, ending, (held) => stillThere(held.program, 'attached'));
      const stays = kind === 'clsact' && ending === 'kill -9';
      if (!stays) await untilGone({ programs: [program] });
      await stillThere(program, stays ? 'attached' : 'gone');
    }),
  },
  {
    row: "any | the user's files are beside the pins",
    async check(world) {
      const folder = world.folder();
      const source = join(folder, 'counter.bpf.o');
      copyFileSync(shippedObject('xdp_counter'), source);
      writeFileSync(join(folder, 'notes'), 'the user’s');
      world.object('pass').map('passed').pin(world.bpffs.at('theirs'));
      const { end } = await world.holding(
        `const loader = new ebpf.EbpfLoader({ programsDir: ${JSON.stringify(folder)}, pinRoot: ${JSON.stringify(world.bpffs.path)} });
         const handle = await loader.loadProgram('counter.bpf.o');
         const { link } = await loader.attachXdp(handle, at);
         link.pin(${JSON.stringify(world.bpffs.at('ours'))});
         link.detach();
         await loader.unloadProgram(handle, { force: true });
         await loader.close();`,
        'null',
      );
      expect(await end()).toBe(0);
      expect(world.bpffs.names()).toEqual(['theirs']);
      expect(readdirSync(folder).sort()).toEqual(['counter.bpf.o', 'notes']);
      expect(readFileSync(source)).toEqual(readFileSync(shippedObject('xdp_counter')));
      expect(existsSync(world.bpffs.at('ours'))).toBe(false);
    },
  },
]);
