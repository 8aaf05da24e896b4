// What deploy/ lets `node-ebpf serve` have is enough for it, and none of it is too much. What needs no kernel is in
// test/package/deploy.test.ts.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HealthReport } from '../../../lib/loader/health.ts';
import { FAMILIES } from '../../../lib/metrics/families.ts';
import { endChildren, LIBRARY, runModule } from '../../helpers/child.ts';
import { endCommands } from '../../helpers/command.ts';
import { daemonSet, promtool, unit } from '../../helpers/deployed.ts';
import { kernelIsAtLeast } from '../../helpers/features.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { samplesOf } from '../../helpers/samples.ts';
import { Serving } from '../../helpers/serving.ts';
import { World } from '../../helpers/world.ts';

let before: Snapshot;
let world: World;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  world = new World();
  world.netns.upLoopback();
});
afterEach(async () => {
  endCommands();
  endChildren();
  await world.close();
});
afterAll(() => assertNothingLeft(before));

/** Of those that systemd gives a DynamicUser=. */
const DYNAMIC_USER = '61184';
const TOKEN = 'a-token-that-nobody-guesses';

/** What LimitMEMLOCK= is for. */
const MEMLOCK = kernelIsAtLeast('5.11') ? [] : ['prlimit', '--memlock=unlimited'];

/** As setpriv(1) writes them: without CAP_, in small letters. */
const listed = (names: readonly string[]) =>
  ['-all', ...names.map((name) => `+${name.replace(/^CAP_/, '').toLowerCase()}`)].join(',');

/** A process as systemd starts it: another user, whose capabilities are ambient. */
function likeTheUnit(capabilities = unit().words('Service', 'AmbientCapabilities')): string[] {
  const set = listed(capabilities);
  return [
    ...world.inside,
    ...MEMLOCK,
    'setpriv',
    `--reuid=${DYNAMIC_USER}`,
    `--regid=${DYNAMIC_USER}`,
    '--clear-groups',
    '--no-new-privs',
    `--bounding-set=${set}`,
    `--inh-caps=${set}`,
    `--ambient-caps=${set}`,
  ];
}

/** A process as a container runtime starts it: root, with what is left of its capabilities. */
function likeTheContainer(): string[] {
  const { add } = daemonSet().container.securityContext.capabilities;
  return [
    ...world.inside,
    ...MEMLOCK,
    'setpriv',
    '--clear-groups',
    '--no-new-privs',
    `--bounding-set=${listed(add)}`,
    '--inh-caps=-all',
  ];
}

/** What it answers inside of the namespace, where its port is. */
function ask(url: string, token = ''): string {
  const script = `fetch(process.argv[1], { headers: { authorization: process.argv[2] } })
    .then((answer) => answer.text()).then((text) => process.stdout.write(text))`;
  return world.netns.exec(process.execPath, ['-e', script, url, `Bearer ${token}`]);
}
const healthOf = async (serving: Serving, token?: string) =>
  JSON.parse(ask(`${await serving.url()}health`, token)) as HealthReport & { ebpf_loader: boolean };

/** Who the process is, by /proc. */
function statusOf(serving: Serving): Record<string, string> {
  const text = readFileSync(`/proc/${serving.child.pid}/status`, 'utf8');
  return Object.fromEntries(
    [...text.matchAll(/^(\w+):[ \t]*(.*)$/gm)].map(([, name = '', value = '']) => [name, value.trim()]),
  );
}

describe('the systemd unit', () => {
  it('gives serve all that it takes: as another user it attaches everything', async () => {
    const [command, subcommand, ...args] = unit().command();
    expect([command, subcommand]).toEqual(['node-ebpf', 'serve']);
    const serving = new Serving(args, likeTheUnit());
    expect(await healthOf(serving)).toMatchObject({
      status: 'healthy',
      message: 'attached: 4 of 4 programs',
    });
    const { Uid, Groups, CapEff, CapPrm, CapBnd, NoNewPrivs } = statusOf(serving);
    expect({ Uid, Groups, NoNewPrivs }).toEqual({
      Uid: Array(4).fill(DYNAMIC_USER).join('\t'),
      Groups: '',
      NoNewPrivs: '1',
    });
    expect([CapPrm, CapBnd]).toEqual([CapEff, CapEff]);
    expect(CapEff?.replaceAll('0', '')).not.toBe('');
    expect(await serving.end()).toBe(0);
  });

  const missingWithout = async (capability: string) => {
    const rest = unit()
      .words('Service', 'AmbientCapabilities')
      .filter((name) => name !== capability);
    const observer = JSON.stringify(new URL('serve/observer.js', LIBRARY).href);
    const child = runModule(
      `const { Observer } = await import(${observer});
       const observer = new Observer({ interfaces: ['lo'] });
       await observer.attach();
       console.log(JSON.stringify(observer.missing.map(({ name, error }) => [name, error.name, error.missing])));
       observer.close();`,
      { prefix: likeTheUnit(rest) },
    );
    const { stdout, stderr, status } = await child.ended();
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
    return { rest, missing: JSON.parse(stdout) as [string, string, string[]][] };
  };

  // What certainly takes it. Some kernels' verifiers want CAP_PERFMON of more: xdp_counter subtracts pointers.
  const TAKEN_BY: Readonly<Record<string, string[]>> = {
    CAP_BPF: ['xdp_counter:lo', 'tc_classifier:lo', 'tracepoint_net', 'syscall_latency'],
    CAP_PERFMON: ['tracepoint_net', 'syscall_latency'],
    CAP_NET_ADMIN: ['xdp_counter:lo', 'tc_classifier:lo'],
  };
  it.each(unit().words('Service', 'AmbientCapabilities'))(
    'gives no more than it takes: without %s the errors name exactly it',
    async (capability) => {
      const { rest, missing } = await missingWithout(capability);
      expect(missing.map(([program]) => program)).toEqual(
        expect.arrayContaining(TAKEN_BY[capability] ?? ['?']),
      );
      for (const [program, ...error] of missing) {
        expect(error, program).toEqual(['EbpfPermissionError', [capability]]);
      }
      const serving = new Serving(['lo'], likeTheUnit(rest));
      const hint = `run as root, or give the process ${capability}`;
      if (missing.length === 4) {
        expect((await serving.ended).status).toBe(1);
        expect(serving.stderr).toContain(`\nhint: ${hint}`);
      } else {
        const { status, message } = await healthOf(serving);
        expect(status).toBe('degraded');
        expect(message).toContain(`(${hint}`);
        expect(await serving.end()).toBe(0);
      }
    },
  );

  it('lets it have the sockets that it opens, and a file system that it cannot write to', async () => {
    const trace = join(world.folder(), 'trace');
    const [, , ...args] = unit().command();
    // LeakSanitizer needs the ptrace that strace has, and coverage is written to a file.
    const strace = [
      'env',
      '-u',
      'NODE_V8_COVERAGE',
      'ASAN_OPTIONS=detect_leaks=0',
      'strace',
      '-f',
      '-qq',
      '-s',
      '500',
      '-o',
      trace,
      '-e',
      'trace=execve,socket,open,openat,mkdir,mkdirat,unlink,unlinkat,perf_event_open,setns',
    ];
    const serving = new Serving(args, [...strace, ...likeTheUnit()]);
    ask(`${await serving.url()}metrics`);
    expect(await healthOf(serving)).toMatchObject({ status: 'healthy' });
    // strace is the process that was started, and hands the signal on to nobody.
    const [, node = ''] = /\n(\d+)\s+socket\(AF_NETLINK/.exec(readFileSync(trace, 'utf8')) ?? [];
    process.kill(Number(node), 'SIGTERM');
    expect((await serving.ended).status).toBe(0);
    const text = readFileSync(trace, 'utf8');
    // ip(8) and setpriv(1) come before Node does.
    const own = text.slice(text.lastIndexOf(' execve('));
    expect(own).toMatch(/^ execve\(.*cli\/main\.js/);
    const families = new Set([...own.matchAll(/ socket\((\w+)/g)].map(([, family]) => family));
    const allowed = unit().words('Service', 'RestrictAddressFamilies');
    expect([...families].filter((family) => !allowed.includes(family ?? ''))).toEqual([]);
    expect([...families]).toContain('AF_NETLINK');
    expect(own).toContain('/sys/kernel/btf/vmlinux');
    const others = own
      .split('\n')
      .filter((line) => /O_WRONLY|O_RDWR|O_CREAT| (mkdir|unlink)|perf_event_open|setns/.test(line))
      .filter((line) => !line.includes('"/dev/'));
    expect(others).toEqual([]);
  });
});

describe('the DaemonSet', () => {
  it('gives serve all that it takes: as root without the other capabilities it attaches everything', async () => {
    const token = join(world.folder(), 'token');
    writeFileSync(token, TOKEN);
    chmodSync(token, 0o400);
    const { args } = daemonSet().container;
    const [subcommand, ...rest] = args.map((word) =>
      word
        .replace(/^eth0$/, world.iface)
        .replace('$(NODE_IP)', '127.0.0.1')
        .replace(/(?<=^--token-file=).*/, token),
    );
    expect(subcommand).toBe('serve');
    const serving = new Serving(rest, likeTheContainer());
    const bare = await healthOf(serving);
    expect(bare).toMatchObject({ status: 'healthy', ebpf_loader: true });
    expect(bare.components).toEqual([]);
    expect(await healthOf(serving, TOKEN)).toMatchObject({ message: 'attached: 4 of 4 programs' });
    const { Uid, CapEff, CapBnd, CapAmb } = statusOf(serving);
    expect(Uid).toBe('0\t0\t0\t0');
    expect(CapBnd).toBe(CapEff);
    expect(CapAmb).toBe('0000000000000000');
    expect(await serving.end()).toBe(0);
  });
});

describe('promtool', () => {
  it('has nothing against the metrics of serve but the two promised names', async () => {
    const serving = new Serving([world.iface, '--netns', world.netns.path, '--listen', '127.0.0.1:0']);
    await serving.url();
    await world.send(100);
    const text = await (await serving.get('metrics')).text();
    const { output } = promtool(['check', 'metrics'], text);
    expect(output.trim().split('\n').sort()).toEqual(
      ['ebpf_programs_attached_total', 'ebpf_programs_loaded_total'].map(
        (name) => `${name} non-counter metrics should not have "_total" suffix`,
      ),
    );
    // What there is to check: samples of most families, with the labels that their families have.
    const families = new Map<string, readonly string[]>(
      Object.values(FAMILIES).map(({ name, labels }) => [name, labels]),
    );
    const seen = new Set<string>();
    for (const series of samplesOf(text).keys()) {
      const [, name = '', labels = ''] = /^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})?$/.exec(series) ?? [];
      seen.add(name);
      const used = [...labels.matchAll(/(?:^|,)(\w+)=/g)].map(([, label]) => label);
      expect(
        used.filter((label) => !families.get(name)?.includes(label ?? '')),
        series,
      ).toEqual([]);
    }
    expect([...seen]).toEqual(
      expect.arrayContaining([
        'ebpf_packets_total',
        'ebpf_net_bytes_total',
        'ebpf_flow_bytes_total',
        'ebpf_health',
        'ebpf_syscall_latency_seconds',
        'ebpf_poll_duration_seconds',
        'ebpf_programs_attached',
      ]),
    );
    expect(await serving.end()).toBe(0);
  });
});
