import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bytes, count } from '../../lib/format/units.ts';
import type { Now, Update } from '../../lib/serve/update.ts';
import { launchChromium, Visitor } from '../helpers/browser.ts';
import { endCommands } from '../helpers/command.ts';
import { icmp4, tcp4, udp4 } from '../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { Serving } from '../helpers/serving.ts';
import { until } from '../helpers/until.ts';
import { World } from '../helpers/world.ts';

let before: Snapshot;
let browser: Browser;
let world: World;
let visitors: Visitor[] = [];
beforeAll(async () => {
  before = snapshotIds();
  browser = await launchChromium();
});
beforeEach(() => {
  world = new World();
});
afterEach(async () => {
  for (const visitor of visitors) await visitor.close();
  visitors = [];
  endCommands();
  await world.close();
});
afterAll(async () => {
  await browser.close();
  await assertNothingLeft(before);
});

const serve = (...args: string[]) =>
  new Serving([world.iface, '--netns', world.netns.path, '--listen', '127.0.0.1:0', ...args]);

async function visit(url: string, options?: Parameters<typeof Visitor.at>[2]): Promise<Visitor> {
  const visitor = await Visitor.at(browser, url, options);
  visitors.push(visitor);
  return visitor;
}

const live = async (visitor: Visitor) => {
  await until(async () => (await visitor.text('#stream')) === 'live' && (await visitor.updates()) > 0);
  return visitor;
};

/** From one clock to another, which may be past midnight: up to half a day. */
function secondsBetween(from: string, to: string): number {
  const [a = 0, b = 0] = [from, to].map((text) => Date.parse(`1970-01-01T${text}Z`) / 1000);
  return ((b - a + 129_600) % 86_400) - 43_200;
}

/** Nothing to complain about, and nobody else asked. */
function expectWell(visitor: Visitor): void {
  expect(visitor.complaints).toEqual([]);
  expect(visitor.elsewhere).toEqual([]);
}

describe('the page of node-ebpf serve', () => {
  it('shows exactly what arrives, who sent it, and how the programs are', async () => {
    const serving = serve();
    const visitor = await live(await visit(await serving.url()));
    const sent = { tcp: [tcp4(), 321], udp: [udp4(), 1234], icmp: [icmp4(), 77] } as const;
    for (const [frame, times] of Object.values(sent)) await world.send(times, frame);
    const row = ([frame, times]: readonly [Uint8Array, number]) => [
      count(times),
      bytes(times * frame.length),
    ];
    const all = Object.values(sent).reduce((sum, [, times]) => sum + times, 0);
    const size = Object.values(sent).reduce((sum, [frame, times]) => sum + times * frame.length, 0);
    const totals = async () =>
      (await visitor.rows('packets')).map(([name, , , ...total]) => [name, ...total]);
    await until(async () => (await totals()).at(-1)?.[1] === count(all));
    expect(await totals()).toEqual([
      ['tcp', ...row(sent.tcp)],
      ['udp', ...row(sent.udp)],
      ['icmp', ...row(sent.icmp)],
      ['other', '0', '0 B'],
      ['all', count(all), bytes(size)],
    ]);
    const flows = await visitor.rows('flows');
    const ingress = flows.map(([flow, protocol, , , ...total]) => [
      flow?.split(' ', 2).join(' '),
      protocol,
      ...total,
    ]);
    for (const protocol of ['tcp', 'udp', 'icmp'] as const) {
      expect(ingress).toContainEqual([`${world.iface} ←`, protocol, ...row(sent[protocol])]);
    }
    expect((await visitor.rows('components')).map(([status, name]) => [status, name])).toEqual([
      ['healthy', `xdp_counter:${world.iface}`],
      ['healthy', `tc_classifier:${world.iface}`],
      ['healthy', 'tracepoint_net'],
      ['healthy', 'syscall_latency'],
    ]);
    expect((await visitor.rows('interfaces')).map(([name]) => name)).toContain(world.iface);
    expect(await visitor.text('#health')).toBe('healthy');
    expect(await visitor.text('#host')).toBe(hostname());
    expect(await visitor.page.title()).toBe(`node-ebpf: ${hostname()}`);
    expectWell(visitor);
  });

  it('moves: its charts, its rates, its window; and waits where it is told to', async () => {
    const serving = serve();
    const visitor = await live(await visit(await serving.url()));
    const { page } = visitor;
    const charts = ['#packets-chart', '#latency-map', '#network-chart'];
    const pictures = await Promise.all(charts.map((chart) => visitor.picture(chart)));
    const known = await visitor.updates();
    let most = 0;
    await until(async () => {
      await world.send(200);
      most = Math.max(most, Number((await visitor.text('#packets-rate')).replace(/[^\d.]/g, '')));
      return most > 0 && (await visitor.updates()) >= known + 2;
    });
    for (const [i, chart] of charts.entries()) expect(await visitor.picture(chart)).not.toBe(pictures[i]);
    expect(await visitor.text('#calls-p99')).toMatch(/^[\d.]+ (ns|µs|ms|s)$/);
    expect(await visitor.text('#latency-figures')).toMatch(/^p50 .*s, p99 .*s, within a factor/);

    await page.getByRole('button', { name: 'pause' }).click();
    const frozen = await visitor.updates();
    const picture = await visitor.picture('#packets-chart');
    await until(async () => (await visitor.text('#stream')) === 'paused');
    await world.send(50);
    await until(() => page.evaluate('new Promise((resolve) => setTimeout(() => resolve(true), 2500))'));
    expect(await visitor.updates()).toBe(frozen);
    expect(await visitor.picture('#packets-chart')).toBe(picture);
    await page.getByRole('button', { name: 'pause' }).click();
    expect(await visitor.updates()).toBeGreaterThan(frozen);

    // Bytes instead of packets: another scale; without UDP: another picture.
    const drawn = await visitor.picture('#packets-chart');
    await page.getByRole('button', { name: 'bytes' }).click();
    expect(await visitor.picture('#packets-chart')).not.toBe(drawn);
    expect(await visitor.text('#packets-chart .legend')).toMatch(/udp\s*[\d.]+ k?B\/s/);
    const shown = await visitor.picture('#packets-chart');
    const udp = page.locator('#packets-chart').getByRole('button', { name: 'udp' });
    await udp.click();
    expect(await udp.getAttribute('aria-pressed')).toBe('false');
    expect(await visitor.picture('#packets-chart')).not.toBe(shown);

    const [name = ''] = await page
      .locator('#syscall option')
      .evaluateAll((options) => options.map((one) => one.value).slice(1));
    await page.locator('#syscall').selectOption(name);
    expect(await page.locator('#syscall').inputValue()).toBe(name);
    await page.getByRole('button', { name: '1 min' }).click();
    expect(await page.getByRole('button', { name: '1 min' }).getAttribute('aria-pressed')).toBe('true');
    expect(await page.getByRole('button', { name: '5 min' }).getAttribute('aria-pressed')).toBe('false');
    expectWell(visitor);
  });

  it('keeps nobody out: no serious finding of axe-core, in light and dark, wide and narrow', async () => {
    const serving = serve();
    const url = await serving.url();
    for (const colorScheme of ['light', 'dark'] as const) {
      const visitor = await live(await visit(url, { colorScheme }));
      await world.send(100);
      await until(async () => (await visitor.rows('flows')).some(({ length }) => length === 6));
      expect(await visitor.violations()).toEqual([]);
      const background = await visitor.page.evaluate(
        'getComputedStyle(document.documentElement).backgroundColor',
      );
      const [red = 0] = String(background).match(/\d+/g)?.map(Number) ?? [];
      expect(red > 128).toBe(colorScheme === 'light');
      await visitor.page.setViewportSize({ width: 380, height: 800 });
      expect(await visitor.violations()).toEqual([]);
      expect(await visitor.page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(380);
      expectWell(visitor);
    }
  });

  it('goes by keyboard', async () => {
    const serving = serve();
    const visitor = await live(await visit(await serving.url()));
    const { page } = visitor;
    const focused = () =>
      page.evaluate(
        '(document.activeElement.getAttribute("aria-label") ?? document.activeElement.innerText)',
      );
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('Skip to the charts');
    const reached: string[] = [];
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      reached.push(String(await focused()));
    }
    for (const one of ['1 min', 'pause', 'theme: system', 'bytes', '/metrics'])
      expect(reached).toContain(one);
    for (const chart of [
      'Received, by protocol',
      'System call latency',
      'Drops, connections and retransmits',
    ]) {
      expect(reached.some((label) => label.startsWith(`${chart}: arrow keys`))).toBe(true);
    }

    await world.send(500);
    const lines = page.locator('#packets-chart figure');
    await until(async () => (await visitor.updates()) > 3);
    await lines.focus();
    await page.keyboard.press('ArrowLeft');
    const when = () => visitor.text('#packets-chart .when');
    const second = await when();
    expect(second).toMatch(/^\d\d:\d\d:\d\d$/);
    await page.keyboard.press('Home');
    expect(secondsBetween(await when(), second)).toBeGreaterThan(0);
    await page.keyboard.press('End');
    expect(secondsBetween(second, await when())).toBeGreaterThan(0);
    await page.keyboard.press('Escape');
    expect(await when()).toBe('');

    await page.locator('#latency-map figure').focus();
    const cell = () => visitor.text('#latency-map .when');
    await page.keyboard.press('ArrowLeft');
    const [first = ''] = /(?<=, ).* to .*: [\d,]+ calls$/.exec(await cell()) ?? [];
    expect(first).not.toBe('');
    await page.keyboard.press('ArrowUp');
    expect(await cell()).not.toContain(first.split(':')[0]);
    await page.keyboard.press('ArrowDown');
    expect(await cell()).toContain(first.split(':')[0]);
    await page.keyboard.press('Escape');
    expect(await cell()).toBe('');

    const theme = page.locator('#theme');
    await theme.focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Enter');
    expect(await theme.textContent()).toBe('theme: dark');
    await page.reload();
    expect(await page.locator('html').getAttribute('data-theme')).toBe('dark');
    expectWell(visitor);
  });

  it('asks for the token, takes it from the address, and forgets it there', async () => {
    const file = join(world.folder(), 'token');
    writeFileSync(file, 'a-token-that-nobody-guesses');
    const serving = serve('--token-file', file, '--programs', 'packets');
    const url = await serving.url();
    const visitor = await visit(url);
    const { page } = visitor;
    const token = page.getByLabel('This server requires a token');
    await token.waitFor();
    expect(await visitor.violations()).toEqual([]);
    await token.fill('another-one-that-is-not-it');
    await page.keyboard.press('Enter');
    await until(async () => (await visitor.text('#refused')) === 'wrong token');
    await token.fill('a-token-that-nobody-guesses');
    await page.getByRole('button', { name: 'open', exact: true }).click();
    await live(visitor);
    expect(await token.isVisible()).toBe(false);
    // The console tells of each 401, and of nothing else.
    expect(visitor.complaints.filter((text) => !text.includes('401'))).toEqual([]);

    const second = await live(await visit(`${url}#token=a-token-that-nobody-guesses`));
    expect(second.page.url()).toBe(url);
    await second.page.reload();
    await live(second);
    expectWell(second);
  });

  it('waits for a server that is gone, and goes on with the next', async () => {
    const first = serve('--programs', 'packets');
    const url = await first.url();
    const visitor = await live(await visit(url));
    expect(await first.end()).toBe(0);
    await until(async () => (await visitor.text('#stream')) === 'not connected');
    const second = new Serving([
      world.iface,
      '--netns',
      world.netns.path,
      '--listen',
      new URL(url).host,
      '--programs',
      'packets',
    ]);
    await second.url();
    await until(async () => (await visitor.text('#stream')) === 'live', undefined, 30_000);
    await world.send(5);
    await until(async () => (await visitor.rows('packets'))[1]?.[3] === '5');
    expect(visitor.elsewhere).toEqual([]);
  });
});

describe('whatever the server says', () => {
  const HOSTILE = '<img src=x onerror=alert(1)>';
  const NAME = 'xn0';
  const update = (i: number): Update => ({
    time: Date.UTC(2026, 0, 1) + i * 1000,
    packets: { [NAME]: { udp: [i, 100 * i] } },
    latency: { read: [[10, i + 1]], [HOSTILE]: [[12, 1]] },
    network: { drops: 0, retransmits: 0, opened: i % 7 },
  });
  const now: Now = {
    totals: { [NAME]: { udp: [5, 500] } },
    modes: { [NAME]: HOSTILE },
    interfaces: { [HOSTILE]: { receive: [1, 2], transmit: [3, 4] } },
    flows: [
      {
        interface: NAME,
        direction: 'ingress',
        protocol: HOSTILE,
        source: HOSTILE,
        destination: 'b',
        rate: [1, 2],
        total: [3, 4],
      },
    ],
    drops: [[HOSTILE, 1, 2]],
    transitions: [[HOSTILE, 1, 2]],
    health: {
      component: 'ebpf_loader',
      status: 'degraded',
      message: HOSTILE,
      components: [{ component: HOSTILE, status: 'unhealthy', message: HOSTILE }],
    },
    decisions: [{ time: '2026-01-01T00:00:00Z', rule: 'x', verdict: 'raise', reason: HOSTILE }],
  };
  const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  const LENGTH = 1000;

  it('a window of 1,000 updates stays one, and a name is text and never HTML', async () => {
    const serving = serve('--programs', 'net');
    const visitor = await visit('about:blank');
    const { page } = visitor;
    const updates = Array.from({ length: LENGTH }, (_, i) => update(i));
    const hello = { host: HOSTILE, version: '1', window: LENGTH, updates, now };
    const more = Array.from({ length: 20 }, (_, i) => event('update', [update(LENGTH + i), now])).join('');
    // The stream is whole at once, and ends: what comes later is in the second. A third one is not answered.
    let streams = 0;
    let later = false;
    await page.route('**/stream', async (route) => {
      const stream = streams++;
      if (stream > 1) return;
      if (stream === 1) await until(() => later);
      const body = event('hello', hello) + (stream === 1 ? more : '');
      await route.fulfill({ contentType: 'text/event-stream', body });
    });
    let alerts = 0;
    page.on('dialog', (dialog) => {
      alerts++;
      return dialog.dismiss();
    });
    await page.goto(await serving.url());
    await until(async () => (await visitor.updates()) === LENGTH);
    await page.getByRole('button', { name: 'all' }).click();
    await page.locator('#packets-chart figure').focus();
    await page.keyboard.press('Home');
    const legend = () => visitor.text('#packets-chart .legend');
    expect(await legend()).toMatch(/udp\s*0\/s/);
    later = true;
    // Whoever looks at the first sees the first of the thousand that are left: the 21st.
    await until(() => streams > 2);
    expect(await legend()).toMatch(/udp\s*20\/s/);
    expect(await visitor.updates()).toBe(LENGTH);
    for (const table of ['interfaces', 'flows', 'drops', 'transitions', 'components']) {
      expect((await visitor.rows(table)).flat().join(' ')).toContain(HOSTILE);
    }
    expect(await visitor.text('#decisions')).toContain(HOSTILE);
    expect(await visitor.text('#host')).toBe(HOSTILE);
    expect(await page.locator('main img').count()).toBe(0);
    expect(alerts).toBe(0);
    expect(visitor.complaints).toEqual([]);
  });
});
