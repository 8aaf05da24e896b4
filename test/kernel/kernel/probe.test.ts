import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { capabilitiesToCreate, capabilitiesToLoad } from '../../../lib/kernel/capabilities.ts';
import { type KernelSupport, probe, probeWithHelpers, type Tri } from '../../../lib/kernel/features.ts';
import { endChildren, LIBRARY, runModule } from '../../helpers/child.ts';
import {
  assertNothingLeft,
  fdCount,
  heldByOthers,
  linkIds,
  mapIds,
  programIds,
  type Snapshot,
  snapshotIds,
} from '../../helpers/kernel.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

type Truths = Record<string, boolean>;

/** What bpftool finds out on its own. */
const bpftool = JSON.parse(
  execFileSync('bpftool', ['-j', 'feature', 'probe', 'full'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }),
) as {
  program_types: Truths;
  map_types: Truths;
  helpers: Record<string, string[]>;
  system_config: Record<string, unknown>;
};

function truth(all: Truths, name: string, kind: string): Tri | undefined {
  const value = all[`have_${name}_${kind}_type`];
  return value === undefined ? undefined : value ? 'yes' : 'no';
}

// bpftool asks for tracing programs as fentry, which this kernel may refuse while tp_btf loads.
const ASKED_OTHERWISE = new Set(['tracing']);

describe('with every capability', () => {
  let support: KernelSupport & { helpers: Record<string, Tri> };
  beforeAll(async () => {
    support = await probeWithHelpers();
  });

  it('says of program and map types what bpftool says', () => {
    const compared: string[] = [];
    for (const [kind, ours, theirs] of [
      ['prog', support.programTypes, bpftool.program_types],
      ['map', support.mapTypes, bpftool.map_types],
    ] as const) {
      for (const [name, answer] of Object.entries(ours)) {
        const wanted = truth(theirs, name, kind);
        if (wanted === undefined || ASKED_OTHERWISE.has(name)) continue;
        expect(answer, `${kind} ${name}`).toBe(wanted);
        compared.push(name);
      }
    }
    expect(compared.length).toBeGreaterThan(55);
  });

  it('says of helpers what bpftool says', () => {
    for (const [key, answer] of Object.entries(support.helpers)) {
      const [type, name = ''] = key.split('.');
      expect(answer, key).toBe(bpftool.helpers[`${type}_available_helpers`]?.includes(name) ? 'yes' : 'no');
    }
  });

  it('knows fentry as bpftool does, and tracing programs apart from it', () => {
    expect(support.features.fentry).toBe(truth(bpftool.program_types, 'tracing', 'prog'));
    expect(support.programTypes.tracing).toBe('yes');
  });

  it('says what the system says', () => {
    expect(support.kernel).toBe(release());
    expect(support.btf).toBe(bpftool.system_config.CONFIG_DEBUG_INFO_BTF === 'y' ? 'yes' : 'no');
    expect(support.jit).toBe(bpftool.system_config.bpf_jit_enable === 0 ? 'no' : 'yes');
    const kprobes = /^\S+ \S+ register_kprobe$/m.test(readFileSync('/proc/kallsyms', 'latin1'));
    expect(support.features.kprobes).toBe(kprobes ? 'yes' : 'no');
    expect(support.features.ringbuf).toBe(support.mapTypes.ringbuf);
  });

  it('has what kernels of its age have', () => {
    const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat);
    const since = (wantedMajor: number, wantedMinor: number): Tri =>
      major > wantedMajor || (major === wantedMajor && minor >= wantedMinor) ? 'yes' : 'no';
    expect(support.features).toMatchObject({
      tcx: since(6, 6),
      xdpLink: since(5, 9),
      batch: since(5, 6),
      ringbuf: since(5, 8),
      snapshot: since(5, 19),
      token: since(6, 9),
      runStats: since(5, 8),
    });
  });

  it('reads the lockdown that securityfs shows', () => {
    const shown = execFileSync(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        'cd /sys/kernel/security && [ -e lockdown ] || mount -t securityfs none /sys/kernel/security && cat /sys/kernel/security/lockdown',
      ],
      { encoding: 'utf8' },
    );
    expect(support.lockdown).toBe(/\[(\w+)\]/.exec(shown)?.[1]);
  });

  it('names the capabilities as capsh(1) would', () => {
    const mask = /^CapEff:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
    const bits = [...BigInt(`0x${mask}`).toString(2)].filter((bit) => bit === '1').length;
    expect(support.capabilities).toHaveLength(bits);
    expect(support.capabilities).toEqual(expect.arrayContaining(['CAP_BPF', 'CAP_SYS_ADMIN', 'CAP_CHOWN']));
  });

  it('has a sentence for each no, and for nothing else', () => {
    expect(Object.keys(support.remedies).sort()).toEqual(answersOtherThanYes(support).sort());
    for (const remedy of Object.values(support.remedies)) expect(remedy).toMatch(/\S \S/);
  });
});

function answersOtherThanYes(support: KernelSupport & { helpers?: Record<string, Tri> }): string[] {
  const { btf, jit, bpffs, tracefs, lockdown, features, programTypes, mapTypes, helpers = {} } = support;
  const flat = Object.entries({ btf, jit, bpffs, tracefs });
  const nested = Object.entries({ features, programTypes, mapTypes, helpers }).flatMap(([group, answers]) =>
    Object.entries(answers).map(([name, answer]) => [`${group}.${name}`, answer] as const),
  );
  const paths = [...flat, ...nested].filter(([, answer]) => answer !== 'yes').map(([path]) => path);
  return lockdown === 'unknown' ? [...paths, 'lockdown'] : paths;
}

it('leaves nothing in the kernel, and no descriptor', async () => {
  await probe(); // what the first one opens for good, such as the addon
  const ids = { programs: programIds(), maps: mapIds(), links: linkIds() };
  const fds = fdCount();
  for (let i = 0; i < 5; i++) await probe();
  expect(fdCount()).toBe(fds);
  const news = () => {
    const others = heldByOthers();
    return [
      ...[...programIds()].filter((id) => !ids.programs.has(id) && !others.prog.has(id)),
      ...[...mapIds()].filter((id) => !ids.maps.has(id) && !others.map.has(id)),
      ...[...linkIds()].filter((id) => !ids.links.has(id) && !others.link.has(id)),
    ];
  };
  // RCU frees late, and others on the machine come and go: what is there at the first look has to go.
  const first = new Set(news());
  await until(
    () => news().every((id) => !first.has(id)),
    () =>
      `left: ${news()
        .filter((id) => first.has(id))
        .join(', ')}`,
    30_000,
  );
});

// Other tests on the machine mount and unmount these meanwhile.
function withoutMounts({ bpffs: _, tracefs: __, remedies, ...support }: KernelSupport): object {
  const { bpffs: ___, tracefs: ____, ...rest } = remedies;
  return { ...support, rest };
}

it('works beside itself, and in a worker', async () => {
  const [one, two] = (await Promise.all([probe(), probe()])).map(withoutMounts);
  expect(two).toEqual(one);
  const source = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('index.js', LIBRARY).href)}).then(async ({ probe }) => parentPort.postMessage(await probe()));`;
  const worker = new Worker(source, { eval: true });
  const three = await new Promise<KernelSupport>((resolve, reject) =>
    worker.once('message', resolve).once('error', reject),
  );
  await worker.terminate();
  expect(withoutMounts(three)).toEqual(one);
});

async function probeAs(prefix: readonly string[]): Promise<KernelSupport> {
  const child = runModule('console.log(JSON.stringify(await ebpf.probe()))', { prefix });
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as KernelSupport;
}

test('bpffs and tracefs are there when they are mounted', async () => {
  const mounting = (script: string) =>
    probeAs([
      'unshare',
      '--mount',
      'sh',
      '-ec',
      `umount -a -t bpf,tracefs,debugfs; ${script} exec "$@"`,
      'sh',
    ]);
  expect(await mounting('')).toMatchObject({
    bpffs: 'no',
    tracefs: 'no',
    remedies: {
      bpffs: 'mount -t bpf bpf /sys/fs/bpf',
      tracefs: 'mount -t tracefs tracefs /sys/kernel/tracing',
    },
  });
  const both = await mounting('mount -t bpf bpf /sys/fs/bpf; mount -t tracefs tracefs /sys/kernel/tracing;');
  expect(both).toMatchObject({ bpffs: 'yes', tracefs: 'yes' });
  expect(Object.keys(both.remedies)).not.toContain('bpffs');
  const elsewhere = await mounting('mount -t tmpfs tmpfs /mnt; mkdir /mnt/b; mount -t bpf bpf /mnt/b;');
  expect(elsewhere.bpffs).toBe('yes');
});

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all'];

test.each([
  ['root without capabilities', ['setpriv', '--bounding-set=-all']],
  ['nobody', NOBODY],
])('%s: what cannot be asked is unknown', async (_, prefix) => {
  const support = await probeAs(prefix);
  expect(support.capabilities).toEqual([]);
  expect(new Set(Object.values(support.programTypes))).toEqual(new Set(['unknown']));
  expect(new Set(Object.values(support.mapTypes))).toEqual(new Set(['unknown']));
  const { kprobes: _kprobes, token: _token, ...asked } = support.features; // sysfs and EBADF tell anybody
  expect(new Set(Object.values(asked))).toEqual(new Set(['unknown']));
  expect(support.remedies['features.tcx']).toBe('run as root, or give the process CAP_BPF, CAP_NET_ADMIN');
  expect(support.remedies['programTypes.socket_filter']).toMatch(
    /CAP_BPF: kernel.unprivileged_bpf_disabled is [12]$/,
  );
  expect(Object.keys(support.remedies).sort()).toEqual(answersOtherThanYes(support).sort());
  if (support.lockdown === 'unknown') expect(support.remedies.lockdown).toContain('securityfs');
});

test('root of a user namespace may ask nothing, whatever its capabilities', async () => {
  const support = await probeAs(['unshare', '--user', '--map-root-user']);
  expect(support.capabilities).toContain('CAP_BPF');
  expect(support.programTypes.xdp).toBe('unknown');
  expect(support.mapTypes.hash).toBe('unknown');
  expect(support.remedies['programTypes.xdp']).toMatch(/^capabilities of a user namespace do not count here/);
});

// The table of what each type takes, against the kernel: with exactly that it is what root gets, without one it is unknown.
test.each([
  ['bpf', ['CAP_BPF']],
  ['bpf,+perfmon', ['CAP_BPF', 'CAP_PERFMON']],
  ['bpf,+net_admin', ['CAP_BPF', 'CAP_NET_ADMIN']],
  ['bpf,+perfmon,+net_admin', ['CAP_BPF', 'CAP_PERFMON', 'CAP_NET_ADMIN']],
  ['perfmon,+net_admin', ['CAP_PERFMON', 'CAP_NET_ADMIN']],
])('with %s exactly what takes more is unknown', async (capabilities, held) => {
  const [full, support] = await Promise.all([
    probe(),
    probeAs(['setpriv', `--bounding-set=-all,+${capabilities}`]),
  ]);
  // Of a type that it does not have the kernel says so to everybody.
  const expected = (needed: readonly string[], answer: Tri | undefined) => {
    if (needed.every((name) => held.includes(name))) return [answer];
    return answer === 'no' ? ['unknown', 'no'] : ['unknown'];
  };
  for (const [type, answer] of Object.entries(support.programTypes)) {
    expect(expected(capabilitiesToLoad(type), full.programTypes[type]), type).toContain(answer);
  }
  for (const [type, answer] of Object.entries(support.mapTypes)) {
    expect(expected(capabilitiesToCreate(type), full.mapTypes[type]), type).toContain(answer);
  }
});
