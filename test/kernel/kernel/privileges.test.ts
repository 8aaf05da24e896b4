import { execFileSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { onLog } from '../../../lib/addon/log.ts';
import type { EbpfLoadError } from '../../../lib/core/errors.ts';
import { enableStats } from '../../../lib/kernel/run-stats.ts';
import { loadObject, loadObjectSync } from '../../../lib/object/object.ts';
import { inspect } from '../../../lib/object-file/inspect.ts';
import { validate } from '../../../lib/object-file/validate.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { rejection } from '../../helpers/caught.ts';
import { Cgroup } from '../../helpers/cgroup.ts';
import { endChildren, LIBRARY } from '../../helpers/child.ts';
import { assertNothingLeft, fdCount, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { createNetns } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { FORBID_BPF, failureUnder, withOnly, without } from '../../helpers/under.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const load = `const object = await ebpf.loadObject(${JSON.stringify(shippedObject('xdp_counter'))})`;
const attach = (via: string) =>
  `${load}; object.program('xdp_counter').attachXdp({ iface: 'lo', mode: 'skb', via: '${via}' })`;

const attachTc = `const tc = await ebpf.loadObject(${JSON.stringify(testObject('tc_count'))});
  tc.program('tc_count').attachTc({ iface: 'lo', direction: 'ingress', via: 'clsact', removeQdisc: true })`;

test.each([
  ['XDP', attach('netlink')],
  ['TC', attachTc],
])('without CAP_NET_ADMIN, which %s takes, the error names exactly it', async (_, body) => {
  expect(await without(['net_admin'], body)).toMatchObject({
    name: 'EbpfPermissionError',
    missing: ['CAP_NET_ADMIN'],
    hint: 'run as root, or give the process CAP_NET_ADMIN',
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

test.each(['BpfProgram', 'BpfMap', 'BpfLink'])('without CAP_SYS_ADMIN %s.list() is refused', async (name) => {
  expect(await without(['sys_admin'], `ebpf.${name}.list()`)).toMatchObject({
    name: 'EbpfPermissionError',
    message: expect.stringMatching(/^list the (program|map|link)s: /),
    missing: ['CAP_SYS_ADMIN'],
  });
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
    expect(await failureUnder(child, body)).toEqual({});
  });

  test('every type loads and attaches: TC both ways, cgroup, socket, tracepoints; a map is pinned and found', async () => {
    using ns = createNetns();
    ns.upLoopback();
    using cgroup = new Cgroup();
    using bpffs = new Bpffs();
    const body = `
      const { createServer } = await import('node:net');
      ${attachTc}.detach();
      const link = tc.program('tc_count').attachTc({ iface: 'lo', direction: 'egress', via: 'tcx' });
      if (link.state() !== 'attached') throw new Error(link.state());
      link.close();
      const groups = await ebpf.loadObject(${JSON.stringify(testObject('cgroup'))});
      for (const name of ['count_ingress', 'count_egress', 'count_connect'])
        groups.program(name).attachCgroup(${JSON.stringify(cgroup.path)}).detach();
      groups.map('counts').pin(${JSON.stringify(bpffs.at('counts'))});
      ebpf.BpfMap.fromPin(${JSON.stringify(bpffs.at('counts'))}).unpin();
      groups.close();
      const sockets = await ebpf.loadObject(${JSON.stringify(testObject('socket'))});
      const server = createServer();
      await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
      sockets.program('keep').attachSocket(server._handle.fd).detach();
      server.close();
      sockets.close();
      const traced = await ebpf.loadObject(${JSON.stringify(testObject('traced'))});
      for (const made of traced.attachAll()) made.detach();
      const report = await ebpf.validate(${JSON.stringify(testObject('pass'))}, { dryRun: true });
      if (!report.ok) throw new Error(JSON.stringify(report.findings));
      traced.close(); tc.close()`;
    const child = ['nsenter', `--net=${ns.path}`, 'setpriv', '--bounding-set=-all,+bpf,+perfmon,+net_admin'];
    expect(await failureUnder(child, body)).toEqual({});
  });

  test('without CAP_NET_ADMIN TC names exactly it', async () => {
    expect(await withOnly(['bpf', 'perfmon'], attachTc)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_NET_ADMIN'],
      hint: 'run as root, or give the process CAP_NET_ADMIN',
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
  test('a seccomp filter makes everything that bpf(2) answers unknown', async () => {
    const body = `const { programTypes, mapTypes } = await ebpf.probe();
      const answers = new Set([...Object.values(programTypes), ...Object.values(mapTypes)]);
      if (answers.size !== 1 || !answers.has('unknown')) throw new Error([...answers])`;
    expect(await failureUnder(FORBID_BPF, body)).toEqual({});
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

  test('hears what inspect, validate and a dry run make libbpf say, and a load once', async () => {
    const lines: string[] = [];
    const source = testObject('pass');
    const opened = (name: string) => lines.filter((line) => line.includes(`loading object '${name}'`)).length;
    onLog((_, line) => lines.push(line));
    try {
      inspect(source);
      await Promise.resolve();
      expect(opened('inspect')).toBe(1);
      await validate(source);
      await Promise.resolve();
      expect(opened('inspect')).toBe(2);
      await validate(source, { dryRun: true });
      await Promise.resolve();
      expect([opened('inspect'), opened('pass')]).toEqual([3, 1]);
      // What loads is looked at first: that is not said.
      (await loadObject(source)).close();
      await Promise.resolve();
      expect([opened('inspect'), opened('pass')]).toEqual([3, 2]);
      // Of what is refused, the finding has the warnings, and onLog() the rest.
      lines.length = 0;
      const { findings } = await validate(source, { btf: shippedObject('xdp_counter') });
      expect(findings).toEqual([]);
      expect(lines.every((line) => line.startsWith('libbpf: '))).toBe(true);
    } finally {
      onLog(null);
    }
    lines.length = 0;
    inspect(source);
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
