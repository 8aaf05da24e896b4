import { expect } from 'vitest';
import { enableStats } from '../../../lib/kernel/run-stats.ts';
import type { HealthReport } from '../../../lib/loader/health.ts';
import type { EbpfLoader } from '../../../lib/loader/loader.ts';
import { tryCreateLoader } from '../../../lib/loader/try-create.ts';
import { rejection } from '../../helpers/caught.ts';
import { bpftool } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { each, rows } from '../../helpers/rows.ts';
import { replaceFilter } from '../../helpers/tc.ts';
import { FORBID_BPF, failureUnder, without } from '../../helpers/under.ts';
import type { World } from '../../helpers/world.ts';

const HOOKS = ['XDP', 'XDP by netlink', 'TCX', 'clsact'] as const;
type Hook = (typeof HOOKS)[number];

/** A program of its own at every call, on one hook of the world's interface. */
async function attached(world: World, hook: Hook, iface = world.iface): Promise<number> {
  const { loader } = world;
  const xdp = hook.startsWith('XDP');
  const handle = await loader.loadProgram(testObject(xdp ? 'pass' : 'tc_count'));
  const at = { ...world.at, iface };
  if (xdp) await loader.attachXdp(handle, { ...at, via: hook === 'XDP' ? 'link' : 'netlink' });
  else await loader.attachTc(handle, { ...at, direction: 'ingress', via: hook === 'TCX' ? 'tcx' : 'clsact' });
  return loader.getProgram(handle)?.program.id ?? 0;
}

/** Takes the program off behind the loader's back. */
function takenOff(world: World, hook: Hook, iface = world.iface): void {
  if (hook === 'XDP by netlink') world.netns.ip('link', 'set', 'dev', iface, 'xdp', 'off');
  else if (hook === 'clsact') world.netns.exec('tc', ['qdisc', 'delete', 'dev', iface, 'clsact']);
  else world.netns.ip('link', 'delete', iface);
}

const statuses = (report: HealthReport) =>
  report.components
    .filter(({ component }) => component.startsWith('attachment:'))
    .map(({ status }) => status);

function expectReport(report: HealthReport): void {
  for (const entry of [report, ...report.components]) {
    expect(entry.message).not.toBe('');
    expect(new Date(entry.timestamp).toISOString()).toBe(entry.timestamp);
    expect(entry.durationMs).toBeGreaterThanOrEqual(0);
    expect(entry.details).toBeTypeOf('object');
  }
  expect(JSON.parse(JSON.stringify(report))).toMatchObject({ component: 'ebpf_loader' });
}

/** Keys 0, 1, … of a hash with room for 16, by bpftool(8). */
function fill(id: number, from: number, to: number): void {
  for (let key = from; key < to; key++) {
    const bytes = ['key', 'hex', '0', '0', '0', '0', '0', key.toString(16), 'value', 'hex', '0', '0', '0'];
    bpftool('map', 'update', 'id', String(id), ...bytes);
  }
}

const componentOf = (loader: EbpfLoader, name: string) =>
  loader.health().components.find(({ component }) => component.includes(name)) ??
  expect.unreachable(`no component ${name}`);

rows('Health', [
  {
    row: 'health | nothing is loaded, or nothing is attached',
    async check({ loader }) {
      expect(loader.health()).toMatchObject({ status: 'healthy', component: 'ebpf_loader', components: [] });
      const handle = await loader.loadProgram(testObject('pass'));
      const loaded = loader.health();
      expectReport(loaded);
      expect([loaded.status, statuses(loaded)]).toEqual(['healthy', []]);
      await loader.unloadProgram(handle);
      expect(loader.health().components).toEqual([]);
    },
  },
  {
    row: 'health | everything is attached',
    check: each(HOOKS, async (world, hook) => {
      const id = await attached(world, hook);
      const report = world.loader.health();
      expectReport(report);
      expect([report.status, statuses(report)]).toEqual(['healthy', ['healthy']]);
      expect(report.components[0]).toMatchObject({
        component: expect.stringContaining(world.iface),
        details: { programId: id, state: 'attached' },
      });
      expect([world.xdp().programId, ...world.tcIds()]).toContain(id);
    }),
  },
  {
    row: 'health | one of several was detached from outside',
    check: each(HOOKS, async (world, hook) => {
      const second = world.netns.addVeth().b.name;
      await attached(world, hook);
      const id = await attached(world, hook, second);
      takenOff(world, hook);
      const report = world.loader.health();
      expectReport(report);
      expect([report.status, statuses(report).sort()]).toEqual(['degraded', ['degraded', 'healthy']]);
      expect(report.message).toMatch(new RegExp(`${world.iface}.* was removed from outside`));
      expect(report.components.find(({ status }) => status === 'healthy')?.details.programId).toBe(id);
    }),
  },
  {
    row: 'health | one of several was replaced from outside',
    check: each(['XDP by netlink', 'clsact'], async (world, hook) => {
      const second = world.netns.addVeth().b.name;
      await attached(world, hook);
      await attached(world, hook, second);
      let theirs: number | undefined;
      if (hook === 'clsact') {
        const [filter] = world.filters();
        const place = { priority: filter?.priority ?? 0, handle: Number(filter?.handle) };
        replaceFilter(world.netns, world.iface, 'ingress', place);
        theirs = world.filters()[0]?.programId;
      } else {
        takenOff(world, hook);
        theirs = world.foreignXdp().programId;
      }
      const report = world.loader.health();
      expectReport(report);
      expect(report.status).toBe('degraded');
      const name = hook === 'clsact' ? 'tc_count' : 'pass';
      expect(report.message).toContain(`was replaced by program ${theirs} "${name}"`);
      expect(report.components[0]).toMatchObject({
        status: 'degraded',
        details: { state: 'replaced', holder: { programId: theirs, name } },
      });
    }),
  },
  {
    row: 'health | nothing is attached that should be',
    check: each(HOOKS, async (world, hook) => {
      await attached(world, hook);
      takenOff(world, hook);
      const report = world.loader.health();
      expectReport(report);
      expect([report.status, statuses(report)]).toEqual(['unhealthy', ['degraded']]);
    }),
  },
  {
    row: 'health | a map is above 90 %',
    async check({ loader }) {
      const handle = await loader.loadProgram(testObject('odd_value'));
      const id = loader.getProgram(handle)?.object.map('odd_hash').id ?? 0;
      fill(id, 0, 14);
      expect(componentOf(loader, 'odd_hash')).toMatchObject({
        status: 'healthy',
        details: { id, entries: 14, maxEntries: 16 },
      });
      expect(loader.health().status).toBe('healthy');
      fill(id, 14, 15);
      expect(componentOf(loader, 'odd_hash')).toMatchObject({ status: 'degraded', details: { entries: 15 } });
      expect(loader.health()).toMatchObject({
        status: 'degraded',
        message: expect.stringContaining('odd_hash'),
      });
      bpftool('map', 'delete', 'id', String(id), 'key', 'hex', '0', '0', '0', '0', '0', '0');
      expect(loader.health().status).toBe('healthy');
      // An array is full at all times, and means nothing by it.
      expect(componentOf(loader, 'odd_array').status).toBe('healthy');
    },
  },
  {
    row: 'health | a link or a map was closed by the caller',
    async check(world) {
      await attached(world, 'XDP');
      await attached(world, 'TCX');
      const [xdp, tc] = world.loader.listLoadedPrograms();
      xdp?.attachments[0]?.link.close();
      tc?.object.map('tc_frames').close();
      const report = world.loader.health();
      expectReport(report);
      expect(report.status).toBe('degraded');
      expect(report.message).toMatch(/ was closed, and 1 more$/);
      expect(componentOf(world.loader, 'tc_frames')).toMatchObject({
        status: 'degraded',
        details: { code: 'ERR_EBPF_STATE' },
      });
    },
  },
  {
    row: 'health | without CAP_SYS_ADMIN',
    async check(world) {
      const { child, answer } = await world.holding<HealthReport>(
        `const loader = new ebpf.EbpfLoader();
         const handle = await loader.loadProgram(${JSON.stringify(shippedObject('xdp_counter'))});
         await loader.attachXdp(handle, { iface: at.iface, via: 'netlink' });`,
        'loader.health()',
        'console.log(JSON.stringify(loader.health())); process.stdin.destroy();',
        { prefix: [...world.inside, 'setpriv', '--bounding-set=-sys_admin'] },
      );
      expect(answer.status).toBe('healthy');
      takenOff(world, 'XDP by netlink');
      const theirs = world.foreignXdp();
      child.process.stdin?.write('\n');
      const report = JSON.parse(await child.line()) as HealthReport;
      // Names are told by id, which takes the capability.
      expect(report.components[0]?.details).toMatchObject({ state: 'replaced' });
      expect(report.components[0]?.details.holder).toEqual({ programId: theirs.programId });
      expect((await child.ended()).status).toBe(0);
      expect(world.xdp()).toEqual(theirs);
    },
  },
  {
    row: 'health | after close',
    async check({ loader }) {
      await loader.loadProgram(testObject('pass'));
      await loader.close();
      expect(loader.health()).toMatchObject({ status: 'unhealthy', components: [] });
    },
  },
  {
    row: 'getStats | programs, attachments, maps, errors',
    async check(world) {
      const { loader } = world;
      expect(loader.getStats()).toEqual({
        programs: 0,
        attachments: 0,
        mapBytes: 0,
        errors: {},
        attachErrors: [],
      });
      await attached(world, 'XDP');
      await attached(world, 'TCX');
      const [xdp, tc] = loader.listLoadedPrograms();
      const bytes = (loaded: typeof xdp) =>
        Object.values(loaded?.object.maps ?? {})
          .map(({ id }) => bpftool<{ bytes_memlock: number }>('map', 'show', 'id', String(id)))
          .reduce((sum, { bytes_memlock }) => sum + bytes_memlock, 0);
      const mapBytes = bytes(xdp) + bytes(tc);
      expect(mapBytes).toBeGreaterThan(0);
      expect(loader.getStats()).toMatchObject({ programs: 2, attachments: 2, mapBytes, errors: {} });
      expect(loader.getStats(tc?.handle)).toMatchObject({ programs: 1, attachments: 1, mapBytes: bytes(tc) });

      for (let i = 0; i < 2; i++) await rejection(loader.attachXdp('nothing', world.at));
      await rejection(loader.unloadProgram(xdp?.handle ?? ''));
      expect(loader.getStats().errors).toEqual({ ERR_EBPF_NOT_LOADED: 2, ERR_EBPF_STILL_ATTACHED: 1 });
      expect(loader.getStats().attachErrors).toEqual([
        { interface: world.iface, code: 'ERR_EBPF_NOT_LOADED', count: 2 },
      ]);
    },
  },
  {
    row: 'getStats | the kernel measures run times, or does not',
    async check(world) {
      const { loader } = world;
      const idle = await loader.loadProgram(testObject('pass'));
      // One that never ran tells nothing of what others on this machine have the kernel measure.
      expect(loader.getStats(idle)).not.toHaveProperty('runCount');
      const id = await attached(world, 'XDP');
      const { handle } = loader.listLoadedPrograms().at(-1) ?? expect.unreachable();
      using _measuring = enableStats();
      const before = loader.getStats(handle).runCount ?? expect.unreachable();
      expect(await world.send(200)).toBe(200);
      const { run_cnt, run_time_ns } = bpftool<{ run_cnt: number; run_time_ns: number }>(
        ...(['prog', 'show', 'id', String(id)] as const),
      );
      expect(loader.getStats(handle)).toMatchObject({ runCount: run_cnt, runTimeNs: run_time_ns });
      expect(run_cnt - before).toBe(200);
    },
  },
  {
    row: 'tryCreateLoader | eBPF is usable, or is not',
    check: {
      async 'it can'() {
        const { loader, reason } = await tryCreateLoader({ programsDir: '/' });
        expect(reason).toBeUndefined();
        expect(loader?.listLoadedPrograms()).toEqual([]);
        await loader?.close();
      },
      async 'a container without capabilities'() {
        expect(await without(['all'], 'throw (await ebpf.tryCreateLoader()).reason')).toMatchObject({
          name: 'EbpfPermissionError',
          code: 'EPERM',
          message: 'use eBPF: the kernel refuses to create a map (EPERM)',
          missing: ['CAP_BPF'],
          hint: 'run as root, or give the process CAP_BPF; CAP_NET_ADMIN too for XDP and TC, CAP_PERFMON for tracing',
        });
      },
      async 'a seccomp filter'() {
        expect(await failureUnder(FORBID_BPF, 'throw (await ebpf.tryCreateLoader()).reason')).toMatchObject({
          name: 'EbpfPermissionError',
          missing: [],
          hint: "a seccomp filter forbids bpf(2): allow it in the container's profile",
        });
      },
    },
  },
]);
