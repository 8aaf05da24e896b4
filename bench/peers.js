// Other readers of BPF maps. A reader that is not installed is left out, with the reason.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inJs } from './measure.js';

const CACHE = fileURLToPath(new URL('../.cache/bench/', import.meta.url));
const BPF = '1.3.0';

/**
 * @typedef {object} Peer
 * @property {(map: import('../dist/index.js').BpfMap, expected: number) => Promise<object | undefined>}
 * reader a contender
 */

/** Runs a command that ends with this process, even if this one is interrupted. */
async function finish(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const stop = (signal) => {
    child.kill(signal);
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, stop);
  try {
    const [status] = await once(child, 'close');
    if (status !== 0)
      throw new Error(`${command} exited with status ${status}: ${stderr.trim().split('\n').at(-1)}`);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, stop);
  }
}

async function npmBpf() {
  const folder = join(CACHE, 'npm-bpf');
  const whole = join(folder, `installed-${BPF}`);
  if (!existsSync(whole)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    await finish('npm', ['install', '--prefix', folder, '--no-audit', '--no-fund', `bpf@${BPF}`]);
    writeFileSync(whole, '');
  }
  return createRequire(join(folder, 'package.json'))('bpf');
}

/** npm bpf does not know per-CPU values; it reads them if its value size is that of a slot. */
function asBpf(bpf, map) {
  const { fd, keySize, maxEntries } = map;
  return new bpf.RawMap({ fd, type: bpf.MapType.HASH, keySize, valueSize: map.slotSize, maxEntries });
}

function agree(what, got, expected) {
  if (got !== expected) throw new Error(`${what} reads a total of ${got}, but C reads ${expected}`);
}

/** @returns {Peer[]} */
function bpfPeers(bpf) {
  const batch = {
    async reader(map, expected) {
      const raw = asBpf(bpf, map);
      const read = () => {
        let total = 0;
        for (const entries of raw.getBatch(map.maxEntries)) {
          for (const [, value] of entries) {
            for (let i = 0; i < value.length; i += 8)
              total += value.readUInt32LE(i) + value.readUInt32LE(i + 4) * 2 ** 32;
          }
        }
        return total;
      };
      agree('npm bpf, by batch', read(), expected);
      return inJs('npm bpf', 'getBatch', read);
    },
  };
  const entries = {
    async reader(map, expected) {
      const raw = asBpf(bpf, map);
      const read = () => {
        let total = 0n;
        for (const [, value] of raw.entries()) {
          for (let i = 0; i < value.length; i += 8) total += value.readBigUInt64LE(i);
        }
        return Number(total);
      };
      agree('npm bpf, by entries', read(), expected);
      return inJs('npm bpf', 'entries', read);
    },
  };
  return [batch, entries];
}

/** @type {Peer} */
const bpftool = {
  async reader(map) {
    const read = () => {
      const output = execFileSync('bpftool', ['-j', 'map', 'dump', 'id', String(map.id)], {
        encoding: 'utf8',
        maxBuffer: 2 ** 30,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      return JSON.parse(output).length;
    };
    if (read() !== map.maxEntries) throw new Error('bpftool does not list every entry');
    return inJs('bpftool', '-j map dump', read);
  },
};

const GO_CODE = '/usr/share/gocode';

/** cilium/ebpf from Debian's package, whose batches do not support per-CPU maps. */
async function cilium() {
  if (!existsSync(join(GO_CODE, 'src/github.com/cilium/ebpf')))
    throw new Error('install golang-go and golang-github-cilium-ebpf-dev');
  const program = join(CACHE, 'cilium');
  const source = fileURLToPath(new URL('go/main.go', import.meta.url));
  await finish('go', ['build', '-o', program, source], {
    env: { ...process.env, GO111MODULE: 'off', GOPATH: GO_CODE, GOCACHE: join(CACHE, 'go') },
  });
  return program;
}

// The kernel's numbers of map types, which BCC needs and the library does not expose.
const TYPES = { hash: 1, array: 2, percpu_hash: 5, percpu_array: 6 };

/** BCC for Python from Debian's package, which runs in Debian's interpreter. */
async function bcc() {
  const python = '/usr/bin/python3';
  const script = fileURLToPath(new URL('python/bcc_read.py', import.meta.url));
  await finish(python, ['-c', 'import bcc']).catch(() => {
    throw new Error('install python3-bpfcc');
  });
  return (map) => [
    python,
    [script, ...[map.id, TYPES[map.type], map.keySize, map.valueSize, map.maxEntries].map(String)],
  ];
}

/**
 * A child process that reads on request.
 *
 * @param {string} impl
 * @param {(map: import('../dist/index.js').BpfMap) => [string, string[]]} command
 * @returns {Peer}
 */
function commandPeer(impl, command) {
  return {
    async reader(map, expected) {
      // It ends when its standard input is closed, and so with this process.
      const child = spawn(...command(map), { stdio: ['pipe', 'pipe', 'inherit'] });
      const lines = createInterface(child.stdout);
      const next = async () => (await once(lines, 'line'))[0].split(' ');
      const [via, total] = await next();
      agree(impl, Number(total), expected);
      return {
        impl,
        via,
        async run(loops) {
          child.stdin.write(`${loops}\n`);
          return Number((await next())[0]);
        },
        close: () => child.stdin.end(),
      };
    },
  };
}

/**
 * @param {boolean} all also readers in other languages
 * @param {(line: string) => void} warn
 * @returns {Promise<Peer[]>}
 */
export async function findPeers(all, warn) {
  const peers = [];
  const add = async (name, find) => {
    try {
      peers.push(...[await find()].flat());
    } catch (error) {
      warn(`${name} is left out: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
    }
  };
  await add('npm bpf', async () => bpfPeers(await npmBpf()));
  await add('bpftool', async () => {
    await finish('bpftool', ['version']);
    return bpftool;
  });
  if (!all) return peers;
  await add('cilium/ebpf', async () => {
    const program = await cilium();
    return commandPeer('cilium/ebpf (Debian’s)', (map) => [program, [String(map.id)]]);
  });
  await add('BCC', async () => commandPeer('BCC (Debian’s)', await bcc()));
  return peers;
}
