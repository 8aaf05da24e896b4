import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Observer, type ObserverOptions } from '../../../lib/serve/observer.ts';
import { Viewers } from '../../../lib/serve/viewers.ts';
import { CLI } from '../../helpers/child.ts';
import { Command, endCommands } from '../../helpers/command.ts';
import { udp4 } from '../../helpers/frames.ts';
import { assertNothingLeft, bpftool, linksOf, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { samplesOf } from '../../helpers/samples.ts';
import { PYTHON } from '../../helpers/send.ts';
import { Serving, streamOf } from '../../helpers/serving.ts';
import { until } from '../../helpers/until.ts';
import { World } from '../../helpers/world.ts';

let before: Snapshot;
let world: World;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  world = new World();
});
afterEach(async () => {
  endCommands();
  await world.close();
});
afterAll(() => assertNothingLeft(before));

const BYTES = udp4().length;
const MIB = 1024 * 1024;
const serve = (...args: string[]) =>
  new Serving([world.iface, '--netns', world.netns.path, '--listen', '127.0.0.1:0', ...args]);
const udp = () => `ebpf_packets_total{interface="${world.iface}",protocol="udp"}`;
const scraped = async (serving: Serving) => samplesOf(await (await serving.get('metrics')).text());
const healthOf = async (serving: Serving) => {
  const answer = await serving.get('health');
  return { code: answer.status, ...((await answer.json()) as { ebpf_loader: boolean; message: string }) };
};

describe('node-ebpf serve', () => {
  it('counts exactly what arrives, in /metrics and in the stream, and leaves nothing', async () => {
    const serving = serve();
    await serving.url();
    const { programId } = world.xdp();
    expect(programId).toBeDefined();
    expect(world.tcIds('ingress')).toHaveLength(1);
    await world.send(1234);
    const metrics = await scraped(serving);
    expect(metrics.get(udp())).toBe(1234);
    expect(metrics.get(udp().replace('packets', 'packet_bytes'))).toBe(1234 * BYTES);
    expect(metrics.get('ebpf_health{component="ebpf_loader"}')).toBe(1);
    expect(await healthOf(serving)).toMatchObject({
      code: 200,
      ebpf_loader: true,
      message: 'attached: 4 of 4 programs',
    });
    const end = new AbortController();
    let rates = 0;
    let last = 0;
    for await (const { hello, update, now } of streamOf(
      await serving.get('stream', { signal: end.signal }),
    )) {
      if (hello) {
        expect(hello.window).toBe(1000);
        expect(hello.updates.length).toBeGreaterThan(0);
        await world.send(100);
      }
      for (const { time, packets } of [...(hello?.updates ?? []), ...(update ? [update] : [])]) {
        if (last > 0) rates += ((packets[world.iface]?.udp?.[0] ?? 0) * (time - last)) / 1000;
        last = time;
      }
      if (now?.totals[world.iface]?.udp?.[0] !== 1334) continue;
      expect(now.totals[world.iface]?.udp).toEqual([1334, 1334 * BYTES]);
      expect(now.flows[0]).toMatchObject({
        direction: 'ingress',
        protocol: 'udp',
        total: [1334, 1334 * BYTES],
      });
      expect(now.interfaces[world.iface]).toBeDefined();
      expect(now.health.components).toHaveLength(4);
      break;
    }
    end.abort();
    // The rates of all updates are what was sent: none is lost between two. Their times are whole milliseconds.
    expect(rates).toBeGreaterThan(1334 * 0.97);
    expect(rates).toBeLessThan(1334 * 1.03);
    expect(await serving.end()).toBe(0);
    expect(serving.stdout).toMatch(/^serving .*\nhealthy: attached: 4 of 4 programs\n(.*\n)*detached\n$/);
    expect(serving.stderr).toBe('');
    expect(world.xdp().programId).toBeUndefined();
    expect(world.tcIds('ingress')).toEqual([]);
  });

  it('a program detached behind its back: health, a decision, and no attachment of its own accord', async () => {
    const serving = serve('--programs', 'packets,net');
    await serving.url();
    const { programId = 0 } = world.xdp();
    const [link = 0] = linksOf([programId]);
    bpftool('link', 'detach', 'id', String(link));
    const health = await healthOf(serving);
    expect(health).toMatchObject({ code: 200, ebpf_loader: false, status: 'degraded' });
    expect(health.message).toContain(`xdp_counter on ${world.iface}`);
    await until(
      () => serving.stdout.includes('health is raised: health.ebpf_loader is 0.5, below 1'),
      () => serving.stdout,
    );
    expect(world.xdp().programId).toBeUndefined();
    expect(await serving.end()).toBe(0);
  });

  it('an interface that somebody else holds: the other programs are attached, and it says who has it', async () => {
    const { programId: holder } = world.foreignXdp();
    const serving = serve('--programs', 'packets,flows', '--view', 'lines');
    await serving.url();
    const health = await healthOf(serving);
    expect(health).toMatchObject({ code: 200, status: 'degraded' });
    expect(health.message).toContain(`program ${holder}`);
    const metrics = await scraped(serving);
    const errors = `ebpf_attachment_errors_total{interface="${world.iface}",error_type="EBUSY"}`;
    expect(metrics.get(errors)).toBe(1);
    await until(
      () => / packets\/s, .* retransmits\/s\n/.test(serving.stdout),
      () => serving.stdout,
    );
    expect(await serving.end()).toBe(0);
    expect(serving.stdout).toContain(`xdp_counter:${world.iface} is not attached: `);
    expect(world.xdp().programId).toBe(holder);
  });

  it('where nothing can be attached it fails, and says why', async () => {
    const held = world.foreignXdp();
    const busy = serve('--programs', 'packets');
    expect((await busy.ended).status).toBe(1);
    expect(busy.stderr).toMatch(/^error: attach xdp_counter to .*held by program/);
    expect(world.xdp()).toEqual(held);
    const none = new Serving(
      ['--listen', '0', '--programs', 'latency'],
      ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all'],
    );
    expect((await none.ended).status).toBe(1);
    expect(none.stderr).toMatch(/^error: .*\nhint: .*CAP_/);
    const unknown = new Serving(['no-such-if0', '--listen', '0', '--programs', 'packets,flows']);
    expect((await unknown.ended).status).toBe(1);
    expect(unknown.stderr).toContain('no-such-if0');
  });

  it('a port that is taken, an address that is not here: an error, and nothing was attached', async () => {
    const taken = http.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const serving = serve('--listen', `127.0.0.1:${port}`);
    let attached = false;
    await until(() => {
      attached ||= world.xdp().programId !== undefined;
      return serving.child.exitCode !== null;
    });
    expect((await serving.ended).status).toBe(1);
    expect(serving.stderr).toMatch(/^error: listen on 127\.0\.0\.1:\d+: .*EADDRINUSE.*\nhint: .*--listen\n$/);
    expect(attached).toBe(false);
    taken.close();
    const elsewhere = serve('--listen', '192.0.2.1:0');
    expect((await elsewhere.ended).status).toBe(1);
    expect(elsewhere.stderr).toContain('EADDRNOTAVAIL');
  });

  it('on a terminal it draws a table in place, and gives the cursor back', async () => {
    const [hide, show, below] = ['\x1b[?25l', '\x1b[?25h', '\x1b[0J'];
    const { programId: holder } = world.foreignXdp();
    const args = [world.iface, '--netns', world.netns.path, '--listen', '127.0.0.1:0', '--seconds', '3'];
    const command = `stty cols 100 rows 30; exec ${process.execPath} ${CLI} serve ${args.join(' ')} --programs packets,flows`;
    const { status, stdout } = await new Command(['script', '-qec', command, '/dev/null']).ended;
    expect(status).toBe(0);
    expect([stdout.split(hide).length, stdout.split(show).length]).toEqual([2, 2]);
    expect(stdout.indexOf(hide)).toBe(0);
    expect(stdout.trimEnd().endsWith(show)).toBe(true);
    const screens = stdout.split(below).map((text) => stripVTControlCharacters(text));
    expect(screens.length).toBeGreaterThanOrEqual(4);
    const last = screens.at(-1) ?? '';
    expect(last).toMatch(/^node-ebpf {2}http:\/\/127\.0\.0\.1:\d+\/ {2}degraded\r?$/m);
    expect(last).toMatch(new RegExp(`^[\\d:]{8} xdp_counter:${world.iface} is not attached: `, 'm'));
    expect(last).toMatch(/^detached\r?$/m);
    expect(world.xdp().programId).toBe(holder);
  });

  it('hostile requests get defined answers', async () => {
    const serving = serve('--programs', 'net');
    const { port } = new URL(await serving.url());
    const raw = async (text: string) => {
      const socket = connect(Number(port), '127.0.0.1');
      socket.end(text);
      let answer = '';
      for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
      return answer.split('\r\n', 1)[0];
    };
    const head = 'host: localhost\r\nconnection: close\r\n\r\n';
    expect(await raw(`GET /metrics HTTP/1.1\r\n${head}`)).toBe('HTTP/1.1 200 OK');
    expect(await raw('GET / HTTP/1.1\r\nhost: [::1]:80\r\nconnection: close\r\n\r\n')).toBe(
      'HTTP/1.1 200 OK',
    );
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost@evil', '[::2]', '']) {
      expect(await raw(`GET /metrics HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)).toBe(
        'HTTP/1.1 421 Misdirected Request',
      );
    }
    for (const path of [
      '/../../etc/passwd',
      '/%2e%2e/etc/passwd',
      '//etc/passwd',
      '/page.js.map',
      'http://x/',
      '*',
    ]) {
      expect(await raw(`GET ${path} HTTP/1.1\r\n${head}`)).toBe('HTTP/1.1 404 Not Found');
    }
    expect(await raw(`POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n${head}`)).toBe(
      'HTTP/1.1 405 Method Not Allowed',
    );
    expect(await raw(`GET / HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n${head}`)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await raw('\0\0\0\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    const page = await serving.get('');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(await (await serving.get('', { method: 'HEAD' })).text()).toBe('');
    expect((await serving.get('stream', { method: 'HEAD' })).headers.get('content-type')).toBe(
      'text/event-stream',
    );
    expect(await serving.end()).toBe(0);
  });

  it('200 scrapers at once, and some that go away: every answer is whole, and no descriptor is left', async () => {
    const serving = serve();
    const url = await serving.url();
    const { port } = new URL(url);
    await world.send(100);
    const descriptors = () => readdirSync(`/proc/${serving.child.pid}/fd`).length;
    expect((await scraped(serving)).get(udp())).toBe(100);
    const before = descriptors();
    const gone = Array.from({ length: 50 }, async () => {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n', () => socket.destroy());
      await once(socket, 'close');
    });
    const answers = Array.from({ length: 200 }, async () => {
      const answer = await fetch(`${url}metrics`, { headers: { connection: 'close' } });
      return { status: answer.status, packets: samplesOf(await answer.text()).get(udp()) };
    });
    expect(await Promise.all(answers)).toEqual(Array(200).fill({ status: 200, packets: 100 }));
    await Promise.all(gone);
    await until(() => descriptors() <= before);
    expect(await healthOf(serving)).toMatchObject({ status: 'healthy' });
    expect(await serving.end()).toBe(0);
    expect(serving.stderr).toBe('');
  });

  it('a token: what is measured is for who has it, and whether it is well for everybody', async () => {
    const file = join(world.folder(), 'token');
    writeFileSync(file, 'a-token-that-nobody-guesses\n');
    const serving = serve('--token-file', file, '--programs', 'packets');
    const token = { authorization: 'Bearer a-token-that-nobody-guesses' };
    for (const path of ['metrics', 'stream']) {
      for (const headers of [{}, { authorization: 'Bearer another' }, { authorization: 'Basic YTph' }]) {
        const answer = await serving.get(path, { headers });
        expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
        await answer.body?.cancel();
      }
    }
    expect((await serving.get('metrics', { headers: token })).status).toBe(200);
    expect((await serving.get('')).status).toBe(200); // the page holds nothing
    const bare = await (await serving.get('health')).text();
    expect(JSON.parse(bare)).toMatchObject({ ebpf_loader: true, status: 'healthy' });
    expect(bare).not.toContain(world.iface);
    expect(await (await serving.get('health', { headers: token })).text()).toContain(world.iface);
    expect(await serving.end()).toBe(0);
    expect(serving.stdout).not.toContain('a-token');

    for (const [text, words] of [
      ['short', 'expected one line'],
      ['two words that are long enough', 'expected one line'],
    ]) {
      writeFileSync(file, text ?? '');
      const refused = serve('--token-file', file);
      expect((await refused.ended).status).toBe(1);
      expect(refused.stderr).toContain(words);
    }
    const missing = serve('--token-file', join(world.folder(), 'none'));
    expect((await missing.ended).status).toBe(1);
    expect(missing.stderr).toContain('ENOENT');
  });

  it('on an address that others reach it makes a token and prints it once', async () => {
    world.netns.upLoopback();
    const serving = new Serving(
      [world.iface, '--listen', '0.0.0.0:0', '--programs', 'packets'],
      world.inside,
    );
    const url = new URL(await serving.url());
    expect(url.hash).toMatch(/^#token=[\w-]{32}$/);
    const ask = (header: string) => world.netns.exec(PYTHON, ['-c', ASK, url.port, header]).trim();
    expect(ask('x: y')).toBe('401');
    expect(ask(`authorization: Bearer ${url.hash.slice('#token='.length)}`)).toBe('200');
    expect(await serving.end()).toBe(0);
    expect(serving.stdout.split('#token=')).toHaveLength(2);
  });
});

const ASK = `
import socket, sys
socket_ = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
socket_.sendall(('GET /metrics HTTP/1.0\\r\\n' + sys.argv[2] + '\\r\\n\\r\\n').encode())
print(socket_.recv(12).decode().split()[1])
`;

describe('Observer', () => {
  const observer = (options: Partial<ObserverOptions> = {}) =>
    world.hold(
      new Observer({
        interfaces: [world.iface],
        netns: world.netns.path,
        programs: ['packets', 'flows'],
        retryMs: 0,
        ...options,
      }),
    );
  const counted = async ({ metrics }: Observer) => samplesOf(await metrics.scrape()).get(udp());

  beforeEach(() => world.netns.upLoopback());

  it('an interface that goes away and comes back is counted on', async () => {
    const observing = observer();
    await observing.attach();
    await world.send(50);
    await observing.observe();
    expect(await counted(observing)).toBe(50);
    world.netns.ip('link', 'delete', world.iface);
    const { now } = await observing.observe();
    expect(now.health.status).toBe('unhealthy');
    const ip = (...args: string[]) => world.netns.ip(...args);
    ip('link', 'add', world.veth.a.name, 'type', 'veth', 'peer', 'name', world.iface);
    ip('link', 'set', world.veth.a.name, 'up');
    ip('link', 'set', world.iface, 'up');
    await until(() => ip('link', 'show', 'dev', world.iface).includes('state UP'));
    expect((await observing.observe()).now.health.status).toBe('healthy');
    expect(world.xdp().programId).toBeDefined();
    await world.send(7);
    const after = await observing.observe();
    expect(await counted(observing)).toBe(57);
    expect(after.now.totals[world.iface]?.udp?.[0]).toBe(7);
  });

  it('an interface that comes later is attached to then, and a program that somebody detached is not again', async () => {
    const observing = observer({ interfaces: ['late0'], programs: ['packets'] });
    await observing.attach();
    expect(observing.missing).toMatchObject([
      { name: 'xdp_counter:late0', error: { code: 'ERR_EBPF_NO_INTERFACE' } },
    ]);
    expect(observing.isAttached).toBe(false);
    expect((await observing.observe()).now.health.status).toBe('unhealthy');
    world.netns.ip('link', 'add', 'late0', 'type', 'veth', 'peer', 'name', 'late1');
    world.netns.ip('link', 'set', 'late0', 'up');
    await observing.observe();
    expect(observing.missing).toEqual([]);
    const { programId = 0 } = world.xdp('late0');
    bpftool('link', 'detach', 'id', String(linksOf([programId])[0]));
    for (let i = 0; i < 3; i++) await observing.observe();
    expect(world.xdp('late0').programId).toBeUndefined();
    expect((await observing.observe()).now.health.message).toContain('detached');
  });

  it('a namespace that goes away is told, and breaks nothing', async () => {
    const observing = observer({ programs: ['packets', 'net'] });
    await observing.attach();
    await observing.observe();
    world.netns.close();
    // The kernel takes it apart some time after the last process has left it.
    await until(async () => (await observing.observe()).now.health.status !== 'healthy');
    expect(samplesOf(await observing.metrics.scrape()).size).toBeGreaterThan(0);
  });

  it('keeps the last updates, and decides upon a flood once', async () => {
    const observing = observer({ programs: ['packets'], window: 3, flood: 100 });
    await observing.attach();
    const decisions: string[] = [];
    const deadline = performance.now() + 60_000;
    while (decisions.length === 0 && performance.now() < deadline) {
      await world.send(2000);
      decisions.push(...(await observing.observe()).decisions.map(({ reason }) => reason));
    }
    expect(decisions[0]).toContain(`flood on ${world.iface} is raised: packets.${world.iface} is `);
    expect(observing.hello().updates).toHaveLength(3);
    await world.send(2000);
    expect((await observing.observe()).decisions).toEqual([]);
    expect(observing.hello().now?.decisions).toMatchObject([{ verdict: 'raise' }]);
  });
});

describe('Viewers', () => {
  let server: http.Server;
  let viewers: Viewers;
  beforeEach(async () => {
    viewers = new Viewers();
    server = http.createServer((request, response) => viewers.add(request, response, () => ({})));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    viewers.close();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  const view = async () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await once(socket, 'connect');
    return socket;
  };

  it('one that does not read is let go, and memory does not grow with it; others go on', async () => {
    const slow = await view();
    const quick = await view();
    let read = 0;
    quick.on('data', (chunk: Buffer) => {
      read += chunk.length;
    });
    await until(() => viewers.size === 2);
    const data = 'x'.repeat(MIB);
    let sent = 0;
    const send = async () => {
      viewers.send('update', () => data);
      sent++;
      await until(() => read >= sent * data.length);
    };
    const held = () => {
      globalThis.gc?.();
      const { heapUsed, external, arrayBuffers } = process.memoryUsage();
      return heapUsed + external + arrayBuffers;
    };
    const start = held();
    const resident = process.memoryUsage.rss();
    let most = 0;
    while (viewers.size === 2 && sent < 100) {
      await send();
      most = Math.max(most, held() - start);
    }
    expect(viewers.size).toBe(1);
    // What one may leave unread, and the update that is on its way to both.
    expect(most).toBeLessThan(16 * MIB);
    for (let i = 0; i < 50; i++) await send();
    expect(viewers.size).toBe(1);
    await until(() => held() - start < 3 * MIB);
    // A sanitizer keeps 256 MB of freed memory in quarantine.
    if (!process.env.NODE_EBPF_TEST_NODE)
      expect(process.memoryUsage.rss() - resident).toBeLessThan(100 * MIB);
    slow.destroy();
    quick.destroy();
    await until(() => viewers.size === 0);
  });

  it('there are a hundred at most', async () => {
    const sockets = [];
    for (let i = 0; i < 100; i++) sockets.push(await view());
    await until(() => viewers.size === 100);
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '10']);
    for (const socket of sockets) socket.destroy();
    await until(() => viewers.size === 0);
  });
});
