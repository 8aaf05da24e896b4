import { Writable } from 'node:stream';
import { describe, expect, it, test } from 'vitest';
import { addRule } from '../../lib/cli/flows/flows.ts';
import { flowFrame } from '../../lib/cli/flows/frame.ts';
import { flowLines, flowsWords, flowWords } from '../../lib/cli/flows/view.ts';
import {
  type Classes,
  type Counters,
  FlowMeter,
  meanSample,
  sumClasses,
} from '../../lib/meters/flow-meter.ts';
import type { Flow } from '../../lib/programs/flow.ts';

function flow(sourcePort: number, packets: number, rest: Partial<Flow> = {}): Flow {
  return {
    direction: 'ingress',
    protocol: 'tcp',
    source: '192.0.2.1',
    sourcePort,
    destination: '2001:db8::1',
    destinationPort: 443,
    packets,
    bytes: 100 * packets,
    firstNs: sourcePort,
    lastNs: 9,
    ...rest,
  };
}

function classes(ingress: number, egress: number): Classes {
  const tally = (packets: number) => ({ packets, bytes: 10 * packets });
  return {
    other: { ingress: tally(0), egress: tally(1) },
    web: { ingress: tally(ingress), egress: tally(egress) },
  };
}

class Fake implements Counters {
  now = 1_000;
  all: Flow[] = [];
  tallies = classes(0, 0);
  evicted = 0;
  readonly meter: FlowMeter;
  constructor(...flows: Flow[]) {
    this.all = flows;
    this.meter = new FlowMeter(this, () => this.now);
  }
  classes(): Classes {
    return this.tallies;
  }
  flows(): Flow[] {
    return this.all;
  }
  flowAccount() {
    return { created: this.all.length + this.evicted, evicted: this.evicted };
  }
}

describe('FlowMeter', () => {
  it('divides by the time that passed, and puts the fastest flow first', () => {
    const fake = new Fake(flow(1, 1_000), flow(2, 10));
    fake.now += 2_000;
    fake.all = [flow(1, 1_001), flow(2, 30), flow(3, 4)];
    fake.tallies = classes(8, 2);
    fake.evicted = 2;
    const { elapsed, rates, flows, evicted } = fake.meter.sample();
    expect(elapsed).toBe(2);
    expect(rates.web).toEqual({ ingress: { packets: 4, bytes: 40 }, egress: { packets: 1, bytes: 10 } });
    expect(rates.other).toEqual({ ingress: { packets: 0, bytes: 0 }, egress: { packets: 0, bytes: 0 } });
    expect(flows.map(({ sourcePort, rates: { packets } }) => [sourcePort, packets])).toEqual([
      [2, 10],
      [3, 2],
      [1, 0.5],
    ]);
    expect(evicted).toBe(2);
  });

  it('counts a flow that was evicted and came again from 0', () => {
    const fake = new Fake(flow(1, 1_000));
    fake.now += 1_000;
    fake.all = [flow(1, 7, { firstNs: 77 })];
    expect(fake.meter.sample().flows[0]?.rates.packets).toBe(7);
  });

  it('gives 0 and no infinity where no time has passed', () => {
    const fake = new Fake(flow(1, 5));
    const { flows, rates } = fake.meter.sample();
    expect(flows[0]?.rates).toEqual({ packets: 0, bytes: 0 });
    expect(sumClasses(rates, 'egress')).toEqual({ packets: 0, bytes: 0 });
  });

  it('ends with means, and the flows of the most bytes', () => {
    const fake = new Fake(flow(1, 100));
    fake.now += 10_000;
    fake.all = [flow(1, 100), flow(2, 50)];
    fake.tallies = classes(20, 0);
    const { flows, rates } = meanSample(fake.meter.sample());
    expect(flows.map(({ sourcePort, rates: { packets } }) => [sourcePort, packets])).toEqual([
      [1, 10],
      [2, 5],
    ]);
    expect(sumClasses(rates, 'ingress')).toEqual({ packets: 2, bytes: 20 });
  });
});

describe('what is shown of flows', () => {
  const subject = { iface: 'v0b', direction: 'both', via: 'tcx', top: 3 } as const;
  const plain = new Writable(); // no terminal: no colours
  const fake = new Fake();
  fake.now += 1_000;
  fake.all = [1, 2, 3, 4, 5].map((port) =>
    flow(port, port * 1_000, port === 5 ? { direction: 'egress' } : {}),
  );
  fake.evicted = 4;
  fake.tallies = classes(12_345, 678);
  const sample = fake.meter.sample();
  const lines = (columns: number, rows: number, final = false) =>
    flowFrame(subject, sample, final, { columns, rows, stream: plain });

  it('has the classes, the fastest flows and what was lost', () => {
    expect(lines(120, 24)).toMatchInlineSnapshot(`
      [
        "v0b  tcx  1.0 s",
        "",
        "class  ingress packets/s  bytes/s  egress packets/s  bytes/s",
        "other                  0      0 B                 0      0 B",
        "web               12,345   123 kB               678  6.78 kB",
        "",
        "     protocol  from         to                 packets/s  bytes/s  packets   bytes",
        "out  tcp       192.0.2.1:5  [2001:db8::1]:443      5,000   500 kB    5,000  500 kB",
        "in   tcp       192.0.2.1:4  [2001:db8::1]:443      4,000   400 kB    4,000  400 kB",
        "in   tcp       192.0.2.1:3  [2001:db8::1]:443      3,000   300 kB    3,000  300 kB",
        "",
        "5 flows, 4 evicted; ^C detaches and ends",
      ]
    `);
  });

  it('shows as many flows as there is room for', () => {
    const shown = (rows: number) => lines(120, rows).filter((line) => line.includes('192.0.2.1')).length;
    expect([24, 13, 12, 11, 3].map(shown)).toEqual([3, 3, 2, 1, 0]);
    expect(lines(120, 12).at(-1)).toContain('^C');
  });

  it('never needs more cells or lines than there are', () => {
    for (let columns = 1; columns <= 120; columns += 7) {
      for (const rows of [1, 5, 11, 50]) {
        const drawn = lines(columns, rows, rows === 11);
        expect(drawn.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
        for (const line of drawn) expect(line.length).toBeLessThan(Math.max(columns, 2));
      }
    }
  });

  it('names both ends of a flow', () => {
    expect(flowWords(flow(7, 1))).toBe('tcp 192.0.2.1:7 > [2001:db8::1]:443 in');
    const fragment = flow(0, 1, { destinationPort: 0, direction: 'egress', protocol: 'udp' });
    expect(flowWords(fragment)).toBe('udp 192.0.2.1 > 2001:db8::1 out');
    expect(flowLines([])).toEqual([]);
    expect(flowsWords({ ...sample, flows: [], evicted: 0 })).toBe('0 flows');
  });
});

describe('--rule', () => {
  test.each([
    ['web', /a rule such as web=tcp\/443/],
    ['web=tcp/', /a rule such as/],
    ['web=tcp/4x', /a rule such as/],
    ['web=tcp/0', /1 to 65535/],
    ['web=icmp/1', /tcp or udp/],
    ['=tcp/1', /letters, digits/],
    ['other=tcp/1', /another name than other/],
    ['again=tcp/443', /one rule for tcp\/443/],
  ])('%s is refused', (text, message) => {
    expect(() => addRule(text, addRule('web=tcp/443'))).toThrow(message);
  });

  it('adds up', () => {
    expect(addRule('dns=udp/53', addRule('web=tcp/443'))).toEqual([
      { class: 'web', protocol: 'tcp', port: 443 },
      { class: 'dns', protocol: 'udp', port: 53 },
    ]);
  });
});
