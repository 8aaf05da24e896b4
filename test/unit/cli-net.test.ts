import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { netFrame } from '../../lib/cli/net/frame.ts';
import { JsonNetView, LineNetView } from '../../lib/cli/net/view.ts';
import {
  closed,
  NetMeter,
  type NetSample,
  type NetTotals,
  netMeans,
  opened,
} from '../../lib/meters/net-meter.ts';
import { printed } from '../helpers/printed.ts';

function totals(scale: number): NetTotals {
  return {
    interfaces: {
      lo: { rx: { packets: 0, bytes: 0 }, tx: { packets: 0, bytes: 0 } },
      eth0: {
        rx: { packets: 100 * scale, bytes: 9_000 * scale },
        tx: { packets: 40 * scale, bytes: 2_000 * scale },
      },
    },
    drops: { NO_SOCKET: 3 * scale },
    tcp: {
      retransmits: scale,
      transitions: { 'SYN_SENT→ESTABLISHED': 2 * scale, 'LAST_ACK→CLOSE': scale, 'CLOSE→LISTEN': scale },
    },
    lost: 0,
  };
}

function sampled(): NetSample {
  let [now, scale] = [5_000, 1];
  const meter = new NetMeter(
    () => totals(scale),
    () => now,
  );
  [now, scale] = [7_000, 5];
  return meter.sample();
}

describe('the meter of net', () => {
  it('has rates per second of what changed, and totals', () => {
    const { elapsed, rates, totals: now } = sampled();
    expect(elapsed).toBe(2);
    expect(now).toEqual(totals(5));
    expect(rates).toEqual({
      interfaces: { ...totals(2).interfaces },
      drops: { NO_SOCKET: 6 },
      tcp: totals(2).tcp,
    });
  });

  it('starts what was not there before at nothing', () => {
    let found: NetTotals = { interfaces: {}, drops: {}, tcp: { retransmits: 0, transitions: {} }, lost: 0 };
    let now = 0;
    const meter = new NetMeter(
      () => found,
      () => now,
    );
    found = totals(1);
    now = 1_000;
    const { lost, ...rates } = totals(1);
    expect(meter.sample().rates).toEqual(rates);
    expect(lost).toBe(0);
    expect(meter.sample().rates.drops).toEqual({ NO_SOCKET: 0 }); // no time has passed
  });

  it('has means of the whole run, and counts what is opened and closed', () => {
    const means = netMeans(sampled());
    expect(means.drops).toEqual({ NO_SOCKET: 7.5 });
    expect(means.interfaces.eth0?.rx).toEqual({ packets: 250, bytes: 22_500 });
    expect([opened(totals(4).tcp), closed(totals(4).tcp)]).toEqual([8, 4]);
  });
});

describe('the views of net', () => {
  it('are a line per second under one head, and each interface at the end', () => {
    const view = new LineNetView('all interfaces');
    const lines = printed(() => {
      view.open();
      view.show(sampled());
      view.close({ ...sampled(), totals: { ...totals(5), lost: 7 } });
    });
    const [title, head = '', second = '', total = '', ...rest] = lines;
    expect(title).toMatch(/^all interfaces: packets\/s and bytes\/s/);
    expect(head).toMatch(/^time +rx +tx +drops +retransmits +opened +closed$/);
    expect(second).toMatch(/^\d\d:\d\d:\d\d +200 +18\.0 kB +80 +4\.00 kB +6\.0 +2\.0 +4\.0 +2\.0$/);
    expect(total).toMatch(/^total +500 +45\.0 kB +200 +10\.0 kB +15 +5 +10 +5$/);
    expect([second.length, total.length]).toEqual([head.length, head.length]);
    expect(rest).toEqual([
      'interface lo: rx 0 packets, 0 B; tx 0 packets, 0 B',
      'interface eth0: rx 500 packets, 45.0 kB; tx 200 packets, 10.0 kB',
      'dropped NO_SOCKET: 15',
      'tcp SYN_SENT→ESTABLISHED: 10',
      'tcp LAST_ACK→CLOSE: 5',
      'tcp CLOSE→LISTEN: 5',
      'not counted: 7',
      'detached after 2.0 s',
    ]);
  });

  it('are one JSON object per line', () => {
    const view = new JsonNetView();
    const sample = sampled();
    const lines = printed(() => {
      view.open();
      view.show(sample);
      view.close();
    });
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { time: sample.time.toISOString(), totals: sample.totals, rates: sample.rates },
    ]);
  });
});

describe('the tables of net', () => {
  const plain = new Writable(); // no terminal: no colours
  const lines = (columns: number, rows: number, final = false, lost = 0): string[] => {
    const sample = { ...sampled(), totals: { ...totals(5), lost } };
    return netFrame({ title: 'all interfaces', sample, final }, { columns, rows, stream: plain });
  };

  it('have the busiest interface first, drops by reason, and TCP', () => {
    expect(lines(80, 40)).toMatchInlineSnapshot(`
      [
        "all interfaces  2.0 s",
        "",
        "interface         rx packets/s    rx bytes/s  tx packets/s    tx bytes/s",
        "eth0                       200       18.0 kB            80       4.00 kB",
        "lo                           0           0 B             0           0 B",
        "total                      200       18.0 kB            80       4.00 kB",
        "",
        "dropped                                   /s         total",
        "NO_SOCKET                                6.0            15",
        "",
        "TCP                                       /s         total",
        "retransmits                              2.0             5",
        "opened                                   4.0            10",
        "closed                                   2.0             5",
        "SYN_SENT→ESTABLISHED                     4.0            10",
        "LAST_ACK→CLOSE                           2.0             5",
        "CLOSE→LISTEN                             2.0             5",
        "",
        "^C detaches and ends",
      ]
    `);
  });

  it('end with the means of the whole run, and say what was not counted', () => {
    const drawn = lines(80, 40, true, 12);
    expect(drawn[0]).toBe('all interfaces  2.0 s, detached: means and totals');
    expect(drawn[3]).toMatch(/^eth0 +250 +22\.5 kB +100 +5\.00 kB$/);
    expect(drawn.at(-1)).toBe('not counted: 12');
  });

  it('never need more cells or lines than there are', () => {
    for (let columns = 1; columns <= 120; columns += 3) {
      for (const rows of [1, 5, 50]) {
        const drawn = lines(columns, rows);
        expect(drawn.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
        for (const line of drawn) expect(line.length).toBeLessThan(Math.max(columns, 1));
      }
    }
  });
});
