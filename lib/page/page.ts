import { bytes, clock, count, latency, rate } from '../format/units.ts';
import type { Hello, Now, Pair, Update } from '../serve/update.ts';
import { byId, choice, element, fillSelect, fillTable, say } from './element.ts';
import { columnsOf, HeatMap, percentile } from './heat-map.ts';
import { LineChart } from './line-chart.ts';
import { follow, keepToken, takeToken } from './stream.ts';

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'other'];
const ALL = 'all';
/**
 * The heat map has room for at least this many columns, so that the first ones are not drawn as wide blocks.
 */
const LEAST_COLUMNS = 60;
const THEMES = ['system', 'light', 'dark'];
const THEME_KEY = 'node-ebpf-theme';

let updates: Update[] = [];
let kept = 0;
let now: Now | undefined;
let range = 300;
let unit: 0 | 1 = 0;
let paused = false;
/** The decisions that are shown. They are only replaced if they change: screen readers announce each once. */
let shownDecisions: string | undefined;

const formatRate = (value: number) => (unit === 0 ? `${rate(value)}/s` : `${bytes(value)}/s`);
const packetChart = new LineChart(
  byId('packets-chart', HTMLDivElement),
  'Received, by protocol',
  PROTOCOLS.map((name) => ({ name, label: name })),
  formatRate,
);
const networkChart = new LineChart(
  byId('network-chart', HTMLDivElement),
  'Drops, connections and retransmits',
  [
    { name: 'drops', label: 'drops' },
    { name: 'opened', label: 'connections opened' },
    { name: 'retransmits', label: 'retransmits' },
  ],
  (value) => `${rate(value)}/s`,
);
const latencyMap = new HeatMap(byId('latency-map', HTMLDivElement), 'System call latency');
const interfaces = byId('interface', HTMLSelectElement);
const syscalls = byId('syscall', HTMLSelectElement);

function shown(): Update[] {
  return range === 0 ? updates : updates.slice(-range);
}

/** Adds up the rates of one interface, or of all interfaces, by protocol. */
function ofInterface(packets: Update['packets'], iface: string): Record<string, Pair> {
  const chosen = iface === ALL ? Object.values(packets) : [packets[iface] ?? {}];
  const sum = (name: string, i: 0 | 1) =>
    chosen.reduce((total, tallies) => total + (tallies[name]?.[i] ?? 0), 0);
  return Object.fromEntries(PROTOCOLS.map((name): [string, Pair] => [name, [sum(name, 0), sum(name, 1)]]));
}

function sumOf(pairs: Record<string, Pair>, i: 0 | 1): number {
  return Object.values(pairs).reduce((total, one) => total + one[i], 0);
}

function showPackets(last: Update, all: Update[], names: readonly string[]): void {
  const iface = fillSelect(interfaces, names.length > 1 ? [ALL, ...names] : [...names]);
  const there = ({ packets }: Update) => iface === ALL || iface in packets;
  const rates = all.map((update) => (there(update) ? ofInterface(update.packets, iface) : undefined));
  packetChart.show([
    all.map(({ time }) => time / 1000),
    ...PROTOCOLS.map((name) => rates.map((one) => one?.[name]?.[unit] ?? null)),
  ]);
  const speeds = ofInterface(last.packets, iface);
  const totals = ofInterface(now?.totals ?? {}, iface);
  const row = (name: string, speed: Pair, total: Pair) => [
    name,
    rate(speed[0]),
    bytes(speed[1]),
    total[0].toLocaleString('en-US'),
    bytes(total[1]),
  ];
  fillTable(
    byId('packets', HTMLTableElement),
    [
      ...PROTOCOLS.map((name) => row(name, speeds[name] ?? [0, 0], totals[name] ?? [0, 0])),
      row('all', [sumOf(speeds, 0), sumOf(speeds, 1)], [sumOf(totals, 0), sumOf(totals, 1)]),
    ],
    '',
  );
}

function showLatency(last: Update, all: Update[]): void {
  const chosen = fillSelect(syscalls, [ALL, ...Object.keys(last.latency)]);
  const syscall = chosen === ALL ? undefined : chosen;
  const columns = columnsOf(all, syscall);
  latencyMap.show(columns, Math.max(all.length, LEAST_COLUMNS));
  const [p50, p99] = [percentile(columns, 50), percentile(columns, 99)];
  say(
    byId('latency-figures', HTMLParagraphElement),
    Number.isNaN(p50) ? 'no calls' : `p50 ${latency(p50)}, p99 ${latency(p99)}, within a factor of 1.4`,
  );
}

function showFigures(last: Update): void {
  const packets = ofInterface(last.packets, ALL);
  const [calls] = columnsOf([last], undefined);
  const p99 = percentile(calls ? [calls] : [], 99);
  const seconds = Math.max((last.time - (updates.at(-2)?.time ?? last.time - 1000)) / 1000, 0.001);
  const made = calls?.slots.reduce((sum, [, number]) => sum + number, 0) ?? 0;
  const figures = {
    'packets-rate': `${rate(sumOf(packets, 0))}/s`,
    'bytes-rate': `${bytes(sumOf(packets, 1))}/s`,
    'calls-rate': `${rate(made / seconds)}/s`,
    'calls-p99': latency(p99),
    'drops-rate': `${rate(last.network.drops)}/s`,
    'opened-rate': `${rate(last.network.opened)}/s`,
    'retransmits-rate': `${rate(last.network.retransmits)}/s`,
  };
  for (const [id, text] of Object.entries(figures)) say(byId(id, HTMLElement), text);
}

function showTables({ flows, drops, transitions, interfaces: names, health, decisions }: Now): void {
  const counts = ([name, perSecond, total]: readonly [string, number, number]) => [
    name,
    rate(perSecond),
    count(total),
  ];
  fillTable(
    byId('flows', HTMLTableElement),
    flows.map((flow) => [
      `${flow.interface} ${flow.direction === 'ingress' ? '←' : '→'} ${flow.source} → ${flow.destination}`,
      flow.protocol,
      rate(flow.rate[0]),
      bytes(flow.rate[1]),
      count(flow.total[0]),
      bytes(flow.total[1]),
    ]),
    'no packets yet',
  );
  fillTable(byId('drops', HTMLTableElement), drops.map(counts), 'no drops yet');
  fillTable(byId('transitions', HTMLTableElement), transitions.map(counts), 'no connections yet');
  fillTable(
    byId('interfaces', HTMLTableElement),
    Object.entries(names).map(([name, { receive, transmit }]) => [
      name,
      rate(receive[0]),
      bytes(receive[1]),
      rate(transmit[0]),
      bytes(transmit[1]),
    ]),
    'not measured',
  );
  fillTable(
    byId('components', HTMLTableElement),
    health.components.map(({ status, component, message }) => [
      { text: status, class: status },
      component.replace(/^program:/, ''),
      message,
    ]),
    'no programs',
  );
  const pill = byId('health', HTMLParagraphElement);
  pill.className = `pill ${health.status}`;
  pill.title = health.message;
  say(pill, health.status);
  const list = byId('decisions', HTMLOListElement);
  const lines = decisions.map(({ time, reason }) => `${time} ${reason}`).join('\n');
  if (shownDecisions === lines) return;
  shownDecisions = lines;
  list.replaceChildren(
    ...(decisions.length === 0 ? [element('li', { class: 'none' }, 'none yet')] : []),
    ...decisions.map(({ time, verdict, reason }) =>
      element(
        'li',
        {},
        element('time', { datetime: time }, clock(new Date(time))),
        element('b', { class: verdict }, verdict === 'raise' ? 'raised' : 'cleared'),
        reason,
      ),
    ),
  );
}

function show(): void {
  const last = updates.at(-1);
  if (!last || !now) return;
  const all = shown();
  showPackets(last, all, Object.keys(now.totals));
  showLatency(last, all);
  networkChart.show([
    all.map(({ time }) => time / 1000),
    ...(['drops', 'opened', 'retransmits'] as const).map((name) => all.map(({ network }) => network[name])),
  ]);
  showFigures(last);
  showTables(now);
  document.body.dataset.updates = String(updates.length);
}

function showTheme(theme: string): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(byId('theme', HTMLButtonElement), `theme: ${theme}`);
}

choice(document.querySelectorAll<HTMLButtonElement>('[data-range]'), ({ dataset }) => {
  range = Number(dataset.range);
  show();
});
choice(document.querySelectorAll<HTMLButtonElement>('[data-unit]'), ({ dataset }) => {
  unit = dataset.unit === '1' ? 1 : 0;
  show();
});
interfaces.addEventListener('change', show);
syscalls.addEventListener('change', show);
const pause = byId('pause', HTMLButtonElement);
pause.addEventListener('click', () => {
  paused = !paused;
  pause.setAttribute('aria-pressed', String(paused));
  if (!paused) show();
});
let theme = localStorage.getItem(THEME_KEY) ?? 'system';
showTheme(theme);
byId('theme', HTMLButtonElement).addEventListener('click', () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system';
  localStorage.setItem(THEME_KEY, theme);
  showTheme(theme);
});

// Makes boxes that scroll focusable, so that they can be scrolled with the keyboard.
const scrolled = new ResizeObserver((entries) => {
  for (const box of new Set(entries.map(({ target }) => target.closest<HTMLElement>('.scroll')))) {
    if (!box) continue;
    const scrolls = box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  }
});
for (const one of document.querySelectorAll('.scroll, .scroll > table')) scrolled.observe(one);

takeToken();
const access = byId('access', HTMLFormElement);
const token = byId('token', HTMLInputElement);
await follow({
  hello({ host, version, window, updates: before, now: then }: Hello) {
    updates = [...before];
    kept = window;
    now = then ?? now;
    document.title = `node-ebpf: ${host}`;
    say(byId('host', HTMLParagraphElement), host);
    say(byId('about', HTMLParagraphElement), `node-ebpf ${version}, keeps the last ${count(window)} seconds`);
    access.hidden = true;
    show();
  },
  update(update, then) {
    updates.push(update);
    if (updates.length > kept) updates.shift();
    now = then;
    if (!paused) show();
  },
  state(text, live) {
    const where = byId('stream', HTMLParagraphElement);
    where.className = live ? 'healthy' : 'degraded';
    say(where, paused && live ? 'paused' : text);
  },
  refused() {
    say(byId('refused', HTMLParagraphElement), access.hidden ? '' : 'wrong token');
    access.hidden = false;
    token.focus();
    return new Promise((resolve) => {
      access.addEventListener(
        'submit',
        (event) => {
          event.preventDefault();
          keepToken(token.value);
          resolve();
        },
        { once: true },
      );
    });
  },
});
