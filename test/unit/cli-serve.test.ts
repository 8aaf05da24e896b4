import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { serveFrame } from '../../lib/cli/serve/frame.ts';
import { address, programs } from '../../lib/cli/serve/serve.ts';
import { LineServeView, QuietServeView } from '../../lib/cli/serve/view.ts';
import { isLoopback } from '../../lib/serve/access.ts';
import type { Observation } from '../../lib/serve/observer.ts';
import { printed } from '../helpers/printed.ts';

const subject = { url: 'http://127.0.0.1:9435/', interfaces: ['lo', 'eth0'], demo: false };
const observation: Observation = {
  update: {
    time: 0,
    packets: { lo: { udp: [1200, 90_000], tcp: [34, 4000] }, eth0: { other: [6, 360] } },
    latency: {
      read: [
        [10, 70],
        [12, 30],
      ],
      futex: [[20, 5]],
    },
    network: { drops: 3.5, retransmits: 0, opened: 2 },
  },
  now: {
    totals: { lo: { udp: [12_000, 900_000], tcp: [340, 40_000] }, eth0: { other: [6, 360] } },
    modes: { lo: 'skb', eth0: 'drv' },
    interfaces: {},
    flows: [],
    drops: [],
    transitions: [],
    health: {
      component: 'ebpf_loader',
      status: 'healthy',
      message: 'attached: 6 of 6 programs',
      components: [],
    },
    decisions: [],
  },
  decisions: [],
};

describe('serve --listen', () => {
  it('is a port, or an address and a port', () => {
    expect(address('9435')).toEqual({ host: '127.0.0.1', port: 9435 });
    expect(address(':0')).toEqual({ host: '127.0.0.1', port: 0 });
    expect(address('0.0.0.0:80')).toEqual({ host: '0.0.0.0', port: 80 });
    expect(address('localhost:65535')).toEqual({ host: 'localhost', port: 65_535 });
    expect(address('[::1]:9435')).toEqual({ host: '::1', port: 9435 });
  });

  it.each(['', '65536', '-1', '80.5', '1e3', '::1:80', '[::1]', 'host', 'host:', 'a b:80', '[x]:80', '0x50'])(
    'is not %j',
    (text) => expect(() => address(text)).toThrow('Expected a port or an address and a port'),
  );

  it('knows what only this machine reaches', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) expect(isLoopback(host)).toBe(true);
    for (const host of ['0.0.0.0', '::', '128.0.0.1', '127.0.0.1.example', '127', '']) {
      expect(isLoopback(host)).toBe(false);
    }
  });
});

describe('serve --programs', () => {
  it('are names from a list', () => {
    expect(programs('packets')).toEqual(['packets']);
    expect(programs('net, latency')).toEqual(['net', 'latency']);
  });

  it.each(['', 'packet', 'packets,', 'all'])('are not %j', (text) => {
    expect(() => programs(text)).toThrow('Expected some of packets, flows, net, latency.');
  });
});

describe('the views of serve', () => {
  it('is a line each second for pipes, and the totals at the end', () => {
    const view = new LineServeView(subject);
    const lines = printed(() => {
      view.open(observation);
      view.log('drops is raised');
      view.show(observation);
      view.close(observation);
    });
    expect(lines.map((line) => line.replace(/^\d\d:\d\d:\d\d /, 'time '))).toEqual([
      'serving http://127.0.0.1:9435/',
      'healthy: attached: 6 of 6 programs',
      'time drops is raised',
      'time 1,240 packets/s, 94.4 kB/s, 105 system calls, 3.5 drops/s, 0 retransmits/s',
      'lo: 12,340 packets, 940 kB',
      'eth0: 6 packets, 360 B',
      'detached',
    ]);
  });

  it('is what happens and nothing else for logs', () => {
    const view = new QuietServeView(subject);
    const lines = printed(() => {
      view.open(observation);
      view.show(observation);
      view.close(observation);
    });
    expect(lines).toEqual([
      'serving http://127.0.0.1:9435/',
      'healthy: attached: 6 of 6 programs',
      'detached',
    ]);
  });

  const plain = new Writable(); // no terminal: no colours
  const drawn = (columns: number, rows: number, demo = false, final = false) =>
    serveFrame(
      { subject: { ...subject, demo }, observation, log: ['12:00:00 drops is raised'], final },
      { columns, rows, stream: plain },
    );

  it('is a table for terminals', () => {
    expect(drawn(120, 40)).toMatchInlineSnapshot(`
      [
        "node-ebpf  http://127.0.0.1:9435/  healthy",
        "attached: 6 of 6 programs",
        "",
        "       packets/s    bytes/s      tcp      udp     icmp    other       total",
        "lo         1,234    94.0 kB       34    1,200        0        0      12,340",
        "eth0         6.0      360 B        0        0        0      6.0           6",
        "",
        "system calls 105, connections 2.0/s, drops 3.5/s, retransmits 0/s",
        "12:00:00 drops is raised",
        "",
        "^C detaches and ends",
      ]
    `);
    expect(drawn(120, 40, true)[1]).toContain('demo: also sends packets on lo');
    expect(drawn(120, 40, false, true).at(-1)).toBe('detached');
  });

  it('never needs more cells or lines than there are', () => {
    for (let columns = 1; columns <= 120; columns += 7) {
      for (const rows of [1, 5, 50]) {
        const lines = drawn(columns, rows);
        expect(lines.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
        for (const line of lines) expect(line.length).toBeLessThan(Math.max(columns, 1));
      }
    }
  });
});
