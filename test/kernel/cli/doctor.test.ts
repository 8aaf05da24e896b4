import { execFileSync, spawnSync } from 'node:child_process';
import { release } from 'node:os';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CLI, endChildren, runModule } from '../../helpers/child.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';

let before: Snapshot;
let ns: Netns;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  ns = createNetns();
});
afterEach(() => {
  endChildren();
  ns.close();
});
afterAll(() => assertNothingLeft(before));

interface Entry {
  name: string;
  ifindex: number;
  up: boolean;
  mode?: string;
  programId?: number;
  features: string[];
}

interface Diagnosis {
  kernel: string;
  memlockBytes: number | null;
  unprivilegedBpfDisabled: number | null;
  userNamespace: boolean;
  programTypes: Record<string, string>;
  helpers: Record<string, string>;
  features: Record<string, string>;
  interfaces: Entry[];
  remedies: Record<string, string>;
}

function doctor(args: readonly string[], prefix: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const command = ['netns', 'exec', ns.name, ...prefix, process.execPath, CLI, 'doctor', ...args];
  const { status, stdout, stderr } = spawnSync('ip', command, {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, ...env },
  });
  return { status, stdout, stderr };
}

test('--json is one object, and says of interfaces what ip says', async () => {
  const { a, b } = ns.addVeth();
  const holder = runModule(
    `const object = await ebpf.loadObject(${JSON.stringify(testObject('pass'))});
     object.program('pass').attachXdp({ iface: ${JSON.stringify(b.name)} });
     console.log('attached');
     setInterval(() => {}, 1000);`,
    { prefix: ['ip', 'netns', 'exec', ns.name] },
  );
  await holder.line();
  const { status, stdout, stderr } = doctor(['--json']);
  expect({ status, stderr, lines: stdout.split('\n').length }).toEqual({ status: 0, stderr: '', lines: 2 });
  const found = JSON.parse(stdout) as Diagnosis;
  expect(found.kernel).toBe(release());
  expect(found.programTypes.xdp).toBe('yes');
  expect(found.helpers['xdp.bpf_map_lookup_elem']).toBe('yes');
  expect(found.userNamespace).toBe(false);
  const limit = execFileSync('sh', ['-c', 'ulimit -S -l'], { encoding: 'utf8' }).trim();
  expect(found.memlockBytes).toBe(limit === 'unlimited' ? null : Number(limit) * 1024);
  const sysctl = execFileSync('sysctl', ['-n', 'kernel.unprivileged_bpf_disabled'], { encoding: 'utf8' });
  expect(found.unprivilegedBpfDisabled).toBe(Number(sysctl));
  const lo = found.interfaces.find(({ name }) => name === 'lo');
  expect(lo).toEqual({ name: 'lo', ifindex: 1, up: false, features: [] });
  expect(found.interfaces.find(({ name }) => name === a.name)).toMatchObject({
    ifindex: a.ifindex,
    up: true,
  });
  const held = found.interfaces.find(({ name }) => name === b.name);
  expect(held).toMatchObject({ ifindex: b.ifindex, up: true, ...xdpOf(ns, b.name) });
  const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat);
  if (major > 6 || (major === 6 && minor >= 3)) expect(held?.features).toContain('basic');
  holder.process.kill('SIGTERM');
  await holder.ended();
});

test('a table for people: each no with what to do about it', () => {
  const { status, stdout, stderr } = doctor([]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.startsWith(`kernel            ${release()}\n`)).toBe(true);
  for (const title of ['features', 'program types', 'map types', 'helpers', 'interface', 'lockdown', 'BTF']) {
    expect(stdout).toMatch(new RegExp(`^${title}\\b`, 'm'));
  }
  expect(stdout).not.toContain('\x1b');
  const { remedies } = JSON.parse(doctor(['--json']).stdout) as Diagnosis;
  // Other tests on the machine mount and unmount these meanwhile.
  for (const name of ['bpffs', 'tracefs']) delete remedies[name];
  for (const remedy of Object.values(remedies)) expect(stdout).toContain(`    ${remedy}\n`);
});

test('without capabilities it says unknown and how to learn more, and its exit status is 0', () => {
  const none = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all'];
  const { status, stdout, stderr } = doctor([], none);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/^capabilities +none that BPF needs$/m);
  expect(stdout).toMatch(/^ {2}unknown {2}tcx, xdpLink/m);
  expect(stdout).toContain('run as root, or give the process CAP_BPF');
  const found = JSON.parse(doctor(['--json'], none).stdout) as Diagnosis;
  expect(new Set(Object.values(found.programTypes))).toEqual(new Set(['unknown']));
  expect(new Set(Object.values(found.helpers))).toEqual(new Set(['unknown']));
});

test('without the addon it cannot run, and says so', () => {
  const env = { NODE_EBPF_BINARY: '/not/there.node' };
  const { status, stdout, stderr } = doctor([], [], env);
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/^error: the addon that NODE_EBPF_BINARY names does not load/);
});
