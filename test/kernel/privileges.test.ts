import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type EbpfLoadError,
  enableStats,
  loadObject,
  loadObjectSync,
  onLog,
  tryCreateLoader,
} from '../../lib/index.ts';
import { rejection } from '../helpers/caught.ts';
import { endChildren, LIBRARY, runModule } from '../helpers/child.ts';
import { assertNothingLeft, fdCount, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { createNetns } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { until } from '../helpers/until.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

interface Outcome {
  name: string;
  code: string;
  message: string;
  missing: string[];
  hint: string;
}

// Root without some capabilities: what a container gets.
function without(capabilities: readonly string[], body: string): Promise<Outcome> {
  return under(['setpriv', `--bounding-set=${capabilities.map((name) => `-${name}`).join(',')}`], body);
}

// Root with exactly these.
function withOnly(capabilities: readonly string[], body: string): Promise<Outcome> {
  return under(
    ['setpriv', `--bounding-set=${['-all', ...capabilities.map((name) => `+${name}`)].join(',')}`],
    body,
  );
}

async function under(prefix: readonly string[], body: string): Promise<Outcome> {
  const child = runModule(
    `try { ${body}; console.log('{}'); }
     catch ({ name, code, message, missing, hint }) { console.log(JSON.stringify({ name, code, message, missing, hint })); }`,
    { prefix },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Outcome;
}

const FORBID_BPF = ['/usr/bin/python3', fileURLToPath(new URL('../helpers/forbid_bpf.py', import.meta.url))];
const load = `const object = await ebpf.loadObject(${JSON.stringify(shippedObject('xdp_counter'))})`;
const attach = (via: string) =>
  `${load}; object.program('xdp_counter').attachXdp({ iface: 'lo', mode: 'skb', via: '${via}' })`;

test.each([
  ['CAP_BPF', ['bpf', 'sys_admin'], load],
  ['CAP_NET_ADMIN', ['net_admin', 'sys_admin'], load],
  ['CAP_PERFMON', ['perfmon', 'sys_admin'], load],
  ['CAP_NET_ADMIN', ['net_admin'], attach('netlink')],
])('without %s (dropping %s) the error names exactly it', async (capability, dropped, body) => {
  expect(await without(dropped, body)).toMatchObject({
    name: 'EbpfPermissionError',
    missing: [capability],
    hint: `run as root, or give the process ${capability}`,
  });
});

test('without any capability both are named', async () => {
  const outcome = await without(['all'], load);
  expect(outcome).toMatchObject({
    name: 'EbpfPermissionError',
    code: 'EPERM',
    missing: ['CAP_BPF', 'CAP_NET_ADMIN'],
  });
});

test('without CAP_SYS_ADMIN the main path works: load, attach, read, detach', async () => {
  expect(
    await without(
      ['sys_admin'],
      `${attach('link')}.close(); object.map('packet_counters').get(0); object.close()`,
    ),
  ).toEqual({});
});

test('without CAP_SYS_ADMIN another namespace cannot be entered', async () => {
  const outcome = await without(
    ['sys_admin'],
    `${load}; object.program('xdp_counter').attachXdp({ iface: 'lo', netns: '/proc/self/ns/net' })`,
  );
  expect(outcome).toMatchObject({ name: 'EbpfPermissionError', missing: ['CAP_SYS_ADMIN'] });
});

test('without CAP_SYS_ADMIN an unload is unconfirmed, and says so', async () => {
  const body = `const loader = new ebpf.EbpfLoader(); const warnings = []; loader.on('warning', (w) => warnings.push(w));
    const handle = await loader.loadProgram(${JSON.stringify(shippedObject('xdp_counter'))});
    if ((await loader.unloadProgram(handle)) !== true) throw new Error('not unloaded');
    if (!/unconfirmed/.test(warnings.join())) throw new Error('no warning: ' + warnings)`;
  expect(await without(['sys_admin'], body)).toEqual({});
});

describe('from exactly CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN', () => {
  const THREE = ['bpf', 'perfmon', 'net_admin'];
  const tracing = `const traced = await ebpf.loadObject(${JSON.stringify(testObject('tracepoint'))})`;

  test('the main paths work: load, attach both ways, count, replace, run, negotiate, close', async () => {
    using ns = createNetns();
    ns.upLoopback();
    const body = `
      ${load}; ${tracing};
      const program = object.program('xdp_counter');
      const link = program.attachXdp({ iface: 'lo', mode: 'skb' });
      link.update(program);
      if (link.state() !== 'attached') throw new Error(link.state());
      if (ebpf.xdpQuery({ iface: 'lo' }).programId !== program.id) throw new Error('not there');
      object.map('packet_counters').get(0); object.map('packet_counters').info();
      program.run({ data: new Uint8Array(64) }); program.stats();
      link.detach();
      program.attachXdp({ iface: 'lo', mode: 'skb', via: 'netlink' }).detach();
      traced.close(); object.close();
      const { loader, reason } = await ebpf.tryCreateLoader();
      if (reason) throw reason;
      const handle = await loader.loadProgram(${JSON.stringify(shippedObject('xdp_counter'))}, 'xdp');
      const { mode } = await loader.attachToInterface(handle, 'lo', 'drv');
      if (mode !== 'skb') throw new Error(mode);
      await loader.detachFromInterface(handle, 'lo');
      await loader.unloadProgram(handle);
      await loader.close();
      const counter = await programs.XdpCounter.attach({ iface: 'lo' });
      counter.read(); counter.close();
      const support = await ebpf.probe();
      if (support.features.tcx === 'unknown' || support.features.runStats !== 'unknown') throw new Error('probe')`;
    const child = ['ip', 'netns', 'exec', ns.name, 'setpriv', '--bounding-set=-all,+bpf,+perfmon,+net_admin'];
    expect(await under(child, body)).toEqual({});
  });

  test.each([
    ['CAP_BPF', 'bpf', load],
    ['CAP_NET_ADMIN', 'net_admin', load],
    ['CAP_PERFMON', 'perfmon', tracing],
    ['CAP_PERFMON', 'perfmon', load], // the verifier's EACCES
    ['CAP_BPF', 'bpf', tracing],
  ])('without %s (dropping %s) the error names exactly it', async (capability, dropped, body) => {
    const held = THREE.filter((name) => name !== dropped);
    expect(await withOnly(held, body)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: [capability],
      hint: `run as root, or give the process ${capability}`,
    });
  });

  test('run statistics take CAP_SYS_ADMIN', async () => {
    expect(await withOnly(THREE, 'ebpf.enableStats()')).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_SYS_ADMIN'],
    });
  });
});

describe('with every capability, what refuses is found by asking', () => {
  test('a seccomp filter', async () => {
    expect(await under(FORBID_BPF, load)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: [],
      hint: "a seccomp filter forbids bpf(2): allow it in the container's profile",
    });
    expect(await under(FORBID_BPF, `throw (await ebpf.tryCreateLoader()).reason`)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: [],
      hint: "a seccomp filter forbids bpf(2): allow it in the container's profile",
    });
  });

  test('a seccomp filter makes everything that bpf(2) answers unknown', async () => {
    const body = `const { programTypes, mapTypes } = await ebpf.probe();
      const answers = new Set([...Object.values(programTypes), ...Object.values(mapTypes)]);
      if (answers.size !== 1 || !answers.has('unknown')) throw new Error([...answers])`;
    expect(await under(FORBID_BPF, body)).toEqual({});
  });

  test('a user namespace', async () => {
    expect(await under(['unshare', '--user', '--map-root-user'], load)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_BPF', 'CAP_NET_ADMIN'],
      hint: 'capabilities of a user namespace do not count here: give the process CAP_BPF, CAP_NET_ADMIN outside of it, or a BPF token (Linux 6.9)',
    });
  });
});

describe('tryCreateLoader', () => {
  test('gives a loader where eBPF can be used', async () => {
    const { loader, reason } = await tryCreateLoader({ programsDir: '/' });
    expect(reason).toBeUndefined();
    expect(loader?.listLoadedPrograms()).toEqual([]);
    await loader?.close();
  });

  test('gives the reason in a container without capabilities', async () => {
    expect(await without(['all'], 'throw (await ebpf.tryCreateLoader()).reason')).toEqual({
      name: 'EbpfPermissionError',
      code: 'EPERM',
      message: 'use eBPF: the kernel refuses to create a map (EPERM)',
      missing: ['CAP_BPF'],
      hint: 'run as root, or give the process CAP_BPF; CAP_NET_ADMIN too for XDP and TC, CAP_PERFMON for tracing',
    });
  });
});

describe('enableStats', () => {
  test('the kernel counts runs while it is held, and not before or after', async () => {
    using object = await loadObject(testObject('pass'));
    const program = object.program('pass');
    const id = program.id;
    const counted = () => {
      const [entry] = [
        JSON.parse(execFileSync('bpftool', ['-j', 'prog', 'show', 'id', `${id}`], { encoding: 'utf8' })),
      ];
      return (entry as { run_cnt?: number }).run_cnt ?? 0;
    };
    const run = () => program.run({ data: new Uint8Array(64), repeat: 10 });
    // Others on the machine may have it on for a while.
    const untilOff = () =>
      until(() => {
        const before = counted();
        run();
        return counted() === before;
      });
    await untilOff();
    const fds = fdCount();
    const start = counted();
    {
      using first = enableStats();
      using _second = enableStats();
      run();
      expect(counted()).toBe(start + 10);
      expect(program.stats()).toMatchObject({ runCount: start + 10 });
      first[Symbol.dispose]();
      first[Symbol.dispose]();
      run();
      expect(counted()).toBe(start + 20);
    }
    expect(fdCount()).toBe(fds);
    await untilOff();
  });
});

describe('onLog', () => {
  test('hears what no error carries, after the call, until it is told not to', async () => {
    const lines: [string, string][] = [];
    onLog((level, line) => lines.push([level, line]));
    try {
      const object = loadObjectSync(testObject('pass'));
      object.close();
      expect(lines).toEqual([]); // never in the middle of a call
      await Promise.resolve();
      expect(lines.some(([level, line]) => level === 'debug' && /^libbpf: /.test(line))).toBe(true);
      lines.length = 0;
      (await loadObject(testObject('pass'))).close();
      await Promise.resolve();
      expect(lines.length).toBeGreaterThan(0);
      lines.length = 0;
      const error = await rejection(loadObject(testObject('refused')));
      await Promise.resolve();
      const carried = (error as EbpfLoadError).verifierLog ?? '';
      expect(carried).not.toBe('');
      expect(lines.filter(([level]) => level !== 'debug')).toEqual([]); // those are the error's
    } finally {
      onLog(null);
    }
    lines.length = 0;
    loadObjectSync(testObject('pass')).close();
    await Promise.resolve();
    expect(lines).toEqual([]);
  });

  test('a worker hears of its own calls alone, and takes its listener along', async () => {
    const source = `
      const { parentPort } = require('node:worker_threads');
      import(${JSON.stringify(new URL('index.js', LIBRARY).href)}).then(async (ebpf) => {
        let lines = 0;
        ebpf.onLog(() => lines++);
        const before = lines;
        parentPort.on('message', async () => {
          const heard = lines;
          (await ebpf.loadObject(${JSON.stringify(testObject('pass'))})).close();
          await null;
          parentPort.postMessage({ before, heard, own: lines > heard });
        });
        parentPort.postMessage('ready');
      });`;
    const worker = new Worker(source, { eval: true });
    const message = () =>
      new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await message();
    (await loadObject(testObject('pass'))).close();
    const answer = message();
    worker.postMessage('go');
    expect(await answer).toEqual({ before: 0, heard: 0, own: true });
    await worker.terminate();
    (await loadObject(testObject('pass'))).close();
  });

  test('takes a function or null', () => {
    expect(() => onLog('x' as never)).toThrow(TypeError);
  });
});
