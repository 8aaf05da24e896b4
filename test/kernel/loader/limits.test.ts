// What a process may not have more of: descriptors and memory. Each ends in a typed error, and nothing is left.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { endChildren, runModule } from '../../helpers/child.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { filtersOf, tcxOf } from '../../helpers/tc.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
let netns: Netns;
let veth: Veth;
let group: string | undefined;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  netns = createNetns();
  veth = netns.addVeth();
});
afterEach(async () => {
  endChildren();
  const made = group;
  group = undefined;
  // The group of a process that was just killed is busy for a moment.
  if (made !== undefined)
    await until(
      () => removed(made),
      () => `${made} is still there`,
    );
  netns.close();
});
afterAll(() => assertNothingLeft(before));

const path = JSON.stringify;
const at = (iface: string) => path({ iface, netns: netns.path });

test('with 32 descriptors, at every number of free ones, each call works or says EMFILE and the limit', async () => {
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const { execFileSync } = await import('node:child_process');
     const fds = () => readdirSync('/proc/self/fd').length;
     const a = ${at(veth.a.name)}, b = ${at(veth.b.name)};
     const load = async (work, source) => {
       const object = await ebpf.loadObject(source);
       try { work(object); } finally { object.close(); }
     };
     const xdp = ${path(shippedObject('xdp_counter'))}, tc = ${path(testObject('tc_count'))};
     const traced = ${path(testObject('traced'))};
     const calls = {
       load: () => load(() => {}, xdp),
       loadSync: () => ebpf.loadObjectSync(xdp).close(),
       'xdp link': () => load((o) => o.program('xdp_counter').attachXdp(b).detach(), xdp),
       'xdp netlink': () => load((o) => o.program('xdp_counter').attachXdp({ ...a, via: 'netlink' }).detach(), xdp),
       tcx: () => load((o) => o.program('tc_count').attachTc({ ...b, direction: 'ingress', via: 'tcx' }).detach(), tc),
       clsact: () => load((o) => o.program('tc_count').attachTc({ ...b, direction: 'egress', via: 'clsact' }).detach(), tc),
       tracepoint: () => load((o) => o.program('raw_enter').attach().detach(), traced),
       loader: async () => {
         const loader = new ebpf.EbpfLoader();
         try {
           const handle = await loader.loadProgram(xdp, 'xdp');
           await loader.attachXdp(handle, b);
           await loader.detachFromInterface(handle, b);
           await loader.unloadProgram(handle);
         } finally { await loader.close(); }
       },
     };
     // Once, so that what is opened and kept, or read once, is there.
     for (const call of Object.values(calls)) await call();
     execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=32:32']);
     const before = fds();
     const report = {};
     for (const [name, call] of Object.entries(calls)) {
       const seen = (report[name] = { worked: 0, refused: 0, others: [], lost: [] });
       for (let free = 0; free < 12; free++) {
         const taken = [];
         try { for (;;) taken.push(openSync('/dev/null')); } catch {}
         for (const fd of taken.splice(0, free)) closeSync(fd);
         try { await call(); seen.worked++; }
         catch (error) {
           const typed = error instanceof ebpf.EbpfError && error.code === 'EMFILE' && /too many open files: this process may have 32\\b/.test(error.message);
           if (typed) seen.refused++; else seen.others.push(free + ' free: ' + error.stack);
         }
         for (const fd of taken) closeSync(fd);
         if (fds() !== before) { seen.lost.push(free + ' free: ' + (fds() - before)); break; }
       }
     }
     console.log(JSON.stringify(report));
     await new Promise((resolve) => process.stdin.once('data', resolve));
     process.exit(0);`,
  );
  const report = JSON.parse(await child.line()) as Record<
    string,
    { worked: number; refused: number; others: string[]; lost: string[] }
  >;
  for (const [name, { worked, refused, others, lost }] of Object.entries(report)) {
    expect({ name, others, lost }).toEqual({ name, others: [], lost: [] });
    expect(Math.min(worked, refused), name).toBeGreaterThan(0);
  }
  // While the process is there: its end would take all but the filters along.
  expect([xdpOf(netns, veth.a.name), xdpOf(netns, veth.b.name)]).toEqual([{}, {}]);
  expect([tcxOf(netns, veth.b, 'ingress'), filtersOf(netns, veth.b.name, 'egress')]).toEqual([[], []]);
  child.process.stdin?.write('\n');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

/** A new group of the memory controller, version 1 or 2, with a limit for what is charged to it from now on. */
function memoryGroup(bytes: number): string {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const name = `node-ebpf-${process.pid}`;
  const v1 = mounts.find(([, , type, options]) => type === 'cgroup' && /\bmemory\b/.test(options ?? ''))?.[1];
  const v2 = mounts.find(([, , type]) => type === 'cgroup2')?.[1];
  if (v1 === undefined && v2 === undefined) throw new Error('no cgroup file system is mounted');
  const root = v1 ?? v2 ?? '';
  if (v1 === undefined) writeFileSync(join(root, 'cgroup.subtree_control'), '+memory');
  const made = join(root, name);
  mkdirSync(made);
  group = made;
  writeFileSync(join(made, v1 === undefined ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes));
  return made;
}

function removed(made: string): boolean {
  try {
    rmdirSync(made);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    return !existsSync(made);
  }
  return true;
}

test('a map that does not fit into the memory of its cgroup is ENOMEM, and nothing is left', async () => {
  // A sanitizer takes memory of its own.
  const scale = process.env.NODE_EBPF_TEST_NODE === undefined ? 1 : 8;
  const made = memoryGroup(scale * 32 * 1024 * 1024);
  const child = runModule(
    `const { readdirSync, writeFileSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const source = ${path(testObject('traced'))};
     const large = { maps: { hits: { maxEntries: ${scale * 16_000_000} } } };
     const calls = [
       () => ebpf.loadObjectSync(source, large),
       () => ebpf.loadObject(source, large),
       () => new ebpf.EbpfLoader().loadProgram(source, 'raw_tracepoint', { ...large, program: 'raw_enter' }),
     ];
     (await ebpf.loadObject(source)).close();
     writeFileSync(${path(join(made, 'cgroup.procs'))}, String(process.pid));
     const before = fds();
     const seen = [];
     for (const call of calls) {
       try { await call(); seen.push('loaded'); }
       catch ({ name, code, message }) { seen.push({ name, code, message }); }
     }
     console.log(JSON.stringify({ seen, lost: fds() - before }));
     // What fits goes on.
     const object = await ebpf.loadObject(source);
     console.log(object.map('hits').maxEntries);
     object.close();
     await new Promise((resolve) => process.stdin.once('data', resolve));
     process.exit(0);`,
  );
  const refused = {
    name: 'EbpfLoadError',
    code: 'ENOMEM',
    message: expect.stringMatching(/cannot allocate memory: map 'hits'/),
  };
  expect(JSON.parse(await child.line())).toEqual({ seen: [refused, refused, refused], lost: 0 });
  expect(await child.line()).toBe('4');
  child.process.stdin?.write('\n');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});
