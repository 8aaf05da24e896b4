// Makes docs/page-light.png and docs/page-dark.png: runs `serve` on a veth pair between two new namespaces
// with generated traffic, and opens its page in Chromium. Needs root and the packages of scripts/setup
// --test. Takes some two minutes.
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const SECONDS = 100;
const WEB = '192.0.2.1';
const CLIENTS = '192.0.2.2';
const DATAGRAMS = 4433;
const root = fileURLToPath(new URL('..', import.meta.url));
const self = fileURLToPath(import.meta.url);
const chosen = process.argv[2];

/** The observed side: a web server and a UDP echo. */
function web() {
  http.createServer((_, response) => response.end('x'.repeat(3000))).listen(80, WEB);
  const echo = createSocket('udp4').bind(DATAGRAMS, WEB);
  echo.on('message', (data, { port }) => echo.send(data, port, CLIENTS));
  // Nothing listens there: the answers are ICMP.
  const unheard = createSocket('udp4').on('error', () => {});
  setInterval(() => unheard.send('x', 9, CLIENTS, () => {}), 40);
}

/** The client side: waves of requests and datagrams. */
async function clients() {
  const socket = createSocket('udp4').bind(0, CLIENTS);
  for (let turn = 0; ; turn++) {
    const wave = (period, phase = 0) => 1 + Math.sin((turn / 10 / period) * 2 * Math.PI + phase);
    for (let i = 0; i < 12 * wave(37) + (turn % 230 < 40 ? 30 : 0); i++) {
      socket.send(Buffer.alloc(200 + 40 * i), DATAGRAMS, WEB);
    }
    for (let i = 0; i < 4 * wave(23, 2); i++) {
      http.get({ host: WEB, agent: false }, (response) => response.resume()).on('error', () => {});
    }
    if (turn % 20 === 0) http.get({ host: WEB, port: 81 }).on('error', () => {});
    await sleep(100);
  }
}

async function main() {
  const names = { web: `node-ebpf-web-${process.pid}`, clients: `node-ebpf-clients-${process.pid}` };
  const ip = (...args) => execFileSync('ip', args, { stdio: 'inherit' });
  const children = [];
  const start = (command, args) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  };
  try {
    for (const name of Object.values(names)) ip('netns', 'add', name);
    const peer = ['type', 'veth', 'peer', 'name', 'wan0', 'netns', names.clients];
    ip('-n', names.web, 'link', 'add', 'web0', ...peer);
    for (const [netns, device, address] of [
      [names.web, 'web0', WEB],
      [names.clients, 'wan0', CLIENTS],
    ]) {
      ip('-n', netns, 'address', 'add', `${address}/24`, 'dev', device);
      ip('-n', netns, 'link', 'set', device, 'up');
      ip('-n', netns, 'link', 'set', 'lo', 'up');
    }
    const at = ['--netns', `/run/netns/${names.web}`, '--listen', '127.0.0.1:0', '--flood', '500'];
    const serving = start(process.execPath, [`${root}dist/cli/main.js`, 'serve', 'web0', ...at]);
    const [line] = await once(createInterface(serving.stdout), 'line');
    const [, url] = /^serving (\S+)$/.exec(line) ?? [];
    for (const side of Object.keys(names)) {
      start('ip', ['netns', 'exec', names[side], process.execPath, self, side]);
    }
    const browser = await chromium.launch({
      executablePath: execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim(),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    });
    await sleep(SECONDS * 1000);
    for (const colorScheme of ['light', 'dark']) {
      const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 1400 } });
      await page.goto(url);
      await page.locator('[data-range="60"]').click();
      await sleep(3000);
      await page.screenshot({ path: `${root}docs/page-${colorScheme}.png`, fullPage: true });
      await page.close();
    }
    await browser.close();
    serving.kill('SIGTERM');
    await once(serving, 'exit');
  } finally {
    for (const child of children) child.kill('SIGKILL');
    for (const name of Object.values(names)) ip('netns', 'delete', name);
  }
}

await (chosen === 'web' ? web() : chosen === 'clients' ? clients() : main());
