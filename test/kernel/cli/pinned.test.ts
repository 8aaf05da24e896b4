// load, attach, status, detach, unload and list, each in a process of its own.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ProgramLine } from '../../../lib/cli/pinned/load.ts';
import type { HealthReport } from '../../../lib/loader/health.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { CLI } from '../../helpers/child.ts';
import { bytes, udp4 } from '../../helpers/frames.ts';
import {
  assertNothingLeft,
  bpftool,
  linksOf,
  programExists,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { sendFrames } from '../../helpers/send.ts';
import { countedBy, filtersOf, tcxOf } from '../../helpers/tc.ts';

let before: Snapshot;
let bpffs: Bpffs;
let netns: Netns;
let veth: Veth;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  netns = createNetns();
  veth = netns.addVeth();
  bpffs = new Bpffs();
});
afterEach(() => {
  bpffs.close();
  netns.close();
});
afterAll(() => assertNothingLeft(before));

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

function cli(...args: string[]): Ended {
  const env = { ...process.env, NODE_EBPF_PIN_ROOT: bpffs.at('app'), NO_COLOR: '1' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8', env });
  return { status, stdout, stderr };
}

function json<T>(...args: string[]): T {
  const { status, stdout, stderr } = cli(...args, '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as T;
}

const UDP = udp4(bytes(100));

/** The packets of all rows and CPUs of packet_counters, by bpftool. */
function counted(map = 0): number {
  const rows = bpftool<{ values: { value: string[] }[] }[]>('map', 'dump', 'id', String(map));
  const values = rows.flatMap((row) => row.values.map(({ value }) => Buffer.from(value.map(Number))));
  return values.reduce((sum, value) => sum + Number(value.readBigUInt64LE()), 0);
}

test('XDP: each step in its own process, and every packet between attach and detach is counted', async () => {
  const loaded = json<ProgramLine>('load', shippedObject('xdp_counter'));
  expect(loaded).toMatchObject({ handle: 'xdp_counter-1', type: 'xdp', state: 'loaded', attachments: [] });
  expect(programExists(loaded.id)).toBe(true);

  json('attach', 'xdp_counter-1', veth.b.name, '--netns', netns.path);
  expect(xdpOf(netns, veth.b.name)).toEqual({ mode: 'drv', programId: loaded.id });
  const [link] = linksOf([loaded.id]);
  expect(link).toBeGreaterThan(0);

  await sendFrames([{ frame: UDP, count: 500 }], { netns, iface: veth.a.name, receiver: veth.b.name });
  const status = json<HealthReport & { programs: ProgramLine[] }>('status');
  expect(status).toMatchObject({ status: 'healthy', component: 'ebpf_loader' });
  expect(status.programs[0]?.attachments[0]).toMatchObject({ linkId: link, mode: 'drv', netns: netns.path });
  await sendFrames([{ frame: UDP, count: 250 }], { netns, iface: veth.a.name, receiver: veth.b.name });

  // Attaching again, from another process, is the same link: nothing is replaced.
  json('attach', 'xdp_counter-1', veth.b.name, '--netns', netns.path);
  expect(linksOf([loaded.id])).toEqual([link]);

  expect(cli('unload', 'xdp_counter-1')).toMatchObject({ status: 1 });
  expect(json('detach', 'xdp_counter-1', veth.b.name, '--netns', netns.path)).toEqual({
    handle: 'xdp_counter-1',
    detached: true,
  });
  expect(xdpOf(netns, veth.b.name)).toEqual({});
  expect(counted(loaded.maps.packet_counters)).toBe(750);
  json('unload', 'xdp_counter-1');
  expect(programExists(loaded.id)).toBe(false);
  expect(readdirSync(bpffs.at('app'))).toEqual([]);
});

test('TC: clsact is found again by its pinned program, TCX by its link', async () => {
  const { id } = json<ProgramLine>('load', testObject('tc_count'));
  const at = ['tc_count-1', veth.b.name, '--netns', netns.path];
  json('attach', ...at, '--via', 'clsact', '--priority', '7');
  json('attach', ...at, '--direction', 'egress', '--via', 'tcx');
  expect(filtersOf(netns, veth.b.name, 'ingress')).toMatchObject([{ priority: 7, programId: id }]);
  expect(tcxOf(netns, veth.b, 'egress')).toMatchObject([{ programId: id }]);
  await sendFrames([{ frame: UDP, count: 300 }], { netns, iface: veth.a.name, receiver: veth.b.name });
  expect(countedBy(id)).toBe(300);

  const { programs } = json<{ programs: ProgramLine[] }>('list');
  expect(programs[0]?.attachments.map(({ hook }) => hook).sort()).toEqual(['tc-egress', 'tc-ingress']);
  expect(cli('list').stdout).toContain(`${veth.b.name} in ${netns.path} (tc-ingress)`);

  json('detach', ...at, '--direction', 'ingress');
  expect(filtersOf(netns, veth.b.name, 'ingress')).toEqual([]);
  expect(tcxOf(netns, veth.b, 'egress')).toMatchObject([{ programId: id }]);
  json('unload', 'tc_count-1', '--force');
  expect(tcxOf(netns, veth.b, 'egress')).toEqual([]);
  expect(programExists(id)).toBe(false);
});

test.each(['raw_enter', 'btf_enter'])('%s goes where its SEC() says, from a pin', async (name) => {
  const { id, handle } = json<ProgramLine>('load', testObject('traced'), '--program', name);
  json('attach', handle);
  expect(linksOf([id])).toHaveLength(1);
  expect(json<HealthReport>('status').status).toBe('healthy');
  json('detach', handle);
  expect(linksOf([id])).toEqual([]);
  json('unload', handle);
  expect(programExists(id)).toBe(false);
});

test('a filter that somebody removed: status says so and fails, and detach forgets it', async () => {
  const { id } = json<ProgramLine>('load', testObject('tc_count'));
  const at = ['tc_count-1', veth.b.name, '--netns', netns.path];
  json('attach', ...at, '--via', 'clsact');
  netns.exec('tc', ['filter', 'del', 'dev', veth.b.name, 'ingress']);
  const { status, stdout } = cli('status', '--json');
  expect(status).toBe(1);
  const report = JSON.parse(stdout) as HealthReport;
  expect(report.status).toBe('unhealthy');
  expect(report.components[0]).toMatchObject({ status: 'degraded' });
  expect(report.components[0]?.message).toContain(`no longer attached to ${veth.b.name}`);
  expect(cli('detach', ...at)).toMatchObject({ status: 0 });
  expect(json<HealthReport>('status').status).toBe('healthy');
  expect(cli('unload', 'tc_count-1')).toMatchObject({ status: 0, stderr: '' });
  await untilGone({ programs: [id] });
});

test('two programs of one file are two handles; an unknown one is an error with the near names', () => {
  json('load', shippedObject('xdp_counter'));
  expect(json<ProgramLine>('load', shippedObject('xdp_counter')).handle).toBe('xdp_counter-2');
  const { status, stderr } = cli('attach', 'xdp_counter-3', veth.b.name, '--netns', netns.path, '--json');
  expect(status).toBe(1);
  expect(JSON.parse(stderr)).toMatchObject({
    error: {
      name: 'EbpfAttachError',
      code: 'ERR_EBPF_NOT_LOADED',
      hint: expect.stringMatching(/xdp_counter-[12]/),
    },
  });
  for (const handle of ['xdp_counter-1', 'xdp_counter-2']) json('unload', handle);
  expect(cli('unload', 'xdp_counter-1')).toMatchObject({ status: 1, stdout: '' });
  expect(cli('detach', 'xdp_counter-1', veth.b.name)).toMatchObject({ status: 1, stdout: '' });
});

test('a failed attach leaves no hook behind', () => {
  json('load', shippedObject('xdp_counter'));
  json('load', shippedObject('xdp_counter'));
  const at = [veth.b.name, '--netns', netns.path];
  json('attach', 'xdp_counter-1', ...at);
  const { stderr } = cli('attach', 'xdp_counter-2', ...at, '--json');
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'EBUSY' } });
  expect(readdirSync(bpffs.at('app/xdp_counter-2/hooks'))).toEqual([]);
  for (const handle of ['xdp_counter-1', 'xdp_counter-2']) json('unload', handle, '--force');
});

test('what is in the folder and is not ours is told, and stays', () => {
  json('load', shippedObject('xdp_counter'));
  mkdirSync(bpffs.at('app/theirs'));
  const { status, stderr } = cli('list');
  expect(status).toBe(0);
  expect(stderr).toContain('theirs');
  cli('unload', 'xdp_counter-1');
  expect(readdirSync(bpffs.at('app'))).toEqual(['theirs']);
});

test('outside of a BPF file system, load says how to mount one, and nothing stays loaded', () => {
  const loaded = cli('load', shippedObject('xdp_counter'), '--pin-root', '/tmp/node-ebpf-no-bpffs', '--json');
  expect(loaded.status).toBe(1);
  expect(JSON.parse(loaded.stderr)).toMatchObject({
    error: { code: 'ERR_EBPF_NO_BPFFS', hint: expect.stringMatching(/mount -t bpf/) },
  });
});

test('list --all has what the kernel has', () => {
  const { id } = json<ProgramLine>('load', shippedObject('xdp_counter'));
  const { programs } = json<{ programs: { id: number; type: string }[] }>('list', '--all');
  expect(programs).toContainEqual(expect.objectContaining({ id, type: 'xdp' }));
  expect(cli('list', '--all').stdout).toMatch(new RegExp(`^\\s*${id}\\s+xdp\\s+xdp_counter`, 'm'));
  json('unload', 'xdp_counter-1');
});

test('what people read: load, attach, status, list, detach, unload', () => {
  const at = [veth.b.name, '--netns', netns.path];
  const says = (...args: string[]) => {
    const { status, stdout, stderr } = cli(...args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  };
  expect(says('status')).toMatch(/^healthy: nothing is loaded\nprograms: 0, attachments: 0, maps: .*\n$/);
  expect(says('list')).toBe(`nothing is loaded under ${bpffs.at('app')}\n`);
  expect(says('load', shippedObject('xdp_counter'))).toBe('xdp_counter-1\n');
  expect(says('load', testObject('traced'), '--program', 'raw_enter', '--type', 'raw_tracepoint')).toBe(
    'raw_enter-1\n',
  );
  expect(says('attach', 'xdp_counter-1', ...at, '--strict')).toBe(
    `xdp_counter-1 is attached to ${veth.b.name} (drv)\n`,
  );
  expect(says('attach', 'raw_enter-1')).toMatch(
    /^raw_enter-1 is attached to its SEC\(\) \(raw_tracepoint\)$/m,
  );
  expect(says('list')).toMatch(
    new RegExp(`^xdp_counter-1 .* xdp .* ${veth.b.name} in ${netns.path} \\(drv\\)`, 'm'),
  );
  const status = says('status');
  expect(status).toMatch(/^healthy: attached: 2 of 2\nprograms: 2, attachments: 2, maps: /);
  expect(status).toMatch(new RegExp(`^healthy +attachment:xdp_counter-1:${veth.b.name}:xdp `, 'm'));

  netns.ip('link', 'delete', veth.a.name);
  const after = cli('status');
  expect(after.status).toBe(1);
  expect(after.stdout).toMatch(/^degraded: xdp_counter-1 is no longer attached/);
  expect(after.stderr).toMatch(/^warning: xdp_counter-1 is no longer attached/);
  expect(cli('unload', 'raw_enter-1').stderr).toMatch(/^error: .*still attached/m);
  expect(cli('detach', 'raw_enter-1').stdout).toBe('raw_enter-1 is detached from its SEC()\n');
  for (const handle of ['raw_enter-1', 'xdp_counter-1']) {
    expect(cli('unload', handle).stdout).toBe(`${handle} is unloaded\n`);
  }
});

test('wrong use of the command line is status 2, and what is not there 1', () => {
  json('load', shippedObject('xdp_counter'));
  for (const [args, words] of [
    [['attach', 'xdp_counter-1', 'lo', '--priority', '1x'], 'Expected a whole number'],
    [['attach', 'xdp_counter-1', 'lo', '--direction', 'up'], 'Allowed choices are ingress, egress'],
    [['attach'], "missing required argument 'handle'"],
    [['load', shippedObject('xdp_counter'), '--type', 'none'], 'Allowed choices'],
  ] as const) {
    const { status, stderr } = cli(...args);
    expect([status, stderr]).toEqual([2, expect.stringContaining(words)]);
  }
  const { status, stderr } = cli('attach', 'xdp_counter-1', 'no-such');
  expect([status, stderr]).toEqual([1, expect.stringContaining('no-such')]);
  expect(cli('detach', 'xdp_counter-1', 'lo').status).toBe(1);
  json('unload', 'xdp_counter-1');
});
