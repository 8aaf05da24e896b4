// Runs a guest on the host's root file system, with the same tools, Node and build on another kernel; or on a
// root of another architecture. The files are shared read-only, and the guest's writes are lost when it ends.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { initramfs } from './initramfs.js';
import { partsOf } from './kernels.js';

const INIT = fileURLToPath(new URL('./init.c', import.meta.url));
/** Debian 12 has it in QEMU's package, later versions in a separate one. */
const VIRTIOFSD = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'];
/** Modules for the guest itself, then for the tests: the guest has no modprobe for its kernel. */
const MODULES = [
  'virtio_pci',
  'virtio_console',
  'virtio_rng',
  'virtiofs',
  'overlay',
  'veth',
  'dummy',
  'sch_ingress',
  'cls_bpf',
  'cls_u32',
  'cls_basic',
  'act_bpf',
  'act_gact',
  'loop',
  'tun',
  'nf_defrag_ipv4',
  'nf_defrag_ipv6',
];
const MEGABYTES = 2048;
const PROCESSORS = 2;

/**
 * For each architecture, QEMU's machine, the kernel's name of the first serial port, and the compiler for
 * init.c.
 */
const ARCHITECTURES = {
  x64: {
    qemu: 'qemu-system-x86_64',
    machine: 'q35',
    emulated: 'max',
    console: 'ttyS0',
    compiler: () => ['gcc'],
  },
  arm64: {
    qemu: 'qemu-system-aarch64',
    machine: 'virt',
    emulated: 'cortex-a72',
    console: 'ttyAMA0',
    compiler: (root) => ['clang-14', '--target=aarch64-linux-gnu', `--sysroot=${root}`, '-fuse-ld=lld'],
  },
};

/** Ends the children with this process in every case: even a SIGKILL leaves no guest. */
const WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL'];

/** Thrown if the guest ended, or never started, without reporting how its command ended. */
export class GuestError extends Error {
  name = 'GuestError';
}

/**
 * Runs a command as root on the kernel in `kernel` (a folder of kernels.js) and returns its exit status;
 * `out` and `err` receive its output. Aborting `signal` ends the guest.
 *
 * @param {object} options
 * @param {'x64' | 'arm64'} [options.architecture] the kernel's
 * @param {string} [options.root] the guest's root; for another architecture, one with the C library's headers
 */
export async function runInGuest(options) {
  const { kernel, cache, command, environment, folder, seconds, signal, out, err } = options;
  const { architecture = 'x64', root = '/' } = options;
  const { image, modules } = partsOf(kernel);
  const init = buildInit(cache, architecture, root);
  const temporary = mkdtempSync(join(tmpdir(), 'node-ebpf-vm-'));
  const running = new Set();
  const start = (name, ...args) => {
    const log = [];
    const child = spawn(WITH_PARENT[0], [...WITH_PARENT.slice(1), name, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = new Promise((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('close', (status, killed) => resolve(killed ?? `status ${status}`));
    }).finally(() => running.delete(one));
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => log.push(bytes));
    const one = { child, ended, log: () => Buffer.concat(log).toString() };
    running.add(one);
    return one;
  };
  const lines = [];
  const ports = [out, err, collect(lines)].map((sink, index) =>
    listen(join(temporary, `port${index + 1}`), sink),
  );
  try {
    const archive = initramfs({ init, modules, wanted: MODULES, command, environment, folder });
    writeFileSync(join(temporary, 'initramfs'), archive);
    const socket = join(temporary, 'host');
    const shared = start(
      virtiofsd(),
      `--socket-path=${socket}`,
      '-o',
      `source=${root}`,
      '-o',
      'cache=always',
      '-o',
      'sandbox=chroot',
    );
    while (!existsSync(socket)) {
      if (!running.has(shared)) throw new GuestError(`virtiofsd ended: ${shared.log()}`);
      await sleep(5);
    }
    await Promise.all(ports.map(({ ready }) => ready));
    const { qemu: emulator } = ARCHITECTURES[architecture];
    const qemu = start(emulator, ...qemuArguments({ architecture, image, temporary, socket }));
    const limit = AbortSignal.timeout(seconds * 1000);
    const stop = AbortSignal.any([limit, ...(signal ? [signal] : [])]);
    const aborted = new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
    if (!stop.aborted) await Promise.race([qemu.ended, aborted]);
    if (stop.aborted) {
      const why = limit.aborted ? `did not end within ${seconds} s` : 'was interrupted';
      throw new GuestError(`the guest ${why}\n${consoleOf(temporary)}`);
    }
    // The sockets still deliver QEMU's last output.
    await Promise.all(ports.map(({ ended }) => ended));
    const status = /^exit (\d+)$/m.exec(lines.join(''))?.[1];
    if (status !== undefined) return Number(status);
    const words = [lines.join(''), qemu.log(), consoleOf(temporary)].filter(Boolean).join('\n');
    throw new GuestError(`the guest ended without a report (QEMU: ${await qemu.ended})\n${words}`);
  } finally {
    for (const { child } of running) child.kill('SIGKILL');
    await Promise.all([...running].map(({ ended }) => ended));
    for (const port of ports) port.close();
    rmSync(temporary, { recursive: true, force: true });
  }
}

const collect = (lines) => (bytes) => lines.push(bytes.toString());

/** Opens a port of the guest: a socket that QEMU connects to. */
function listen(path, sink) {
  let connection;
  let finish;
  const ended = new Promise((resolve) => {
    finish = resolve;
  });
  const server = createServer((socket) => {
    connection = socket;
    socket.on('data', sink);
    socket.on('error', finish);
    socket.on('close', finish);
  });
  const ready = new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(path, resolve);
  });
  const close = () => {
    connection?.destroy();
    server.close();
  };
  return { ready, ended, close };
}

function qemuArguments({ architecture, image, temporary, socket }) {
  const { machine, emulated, console: port } = ARCHITECTURES[architecture];
  const kvm = architecture === process.arch && canUseKvm();
  const ports = [1, 2, 3].flatMap((number) => [
    '-chardev',
    `socket,id=port${number},path=${join(temporary, `port${number}`)}`,
    '-device',
    `virtserialport,chardev=port${number},nr=${number}`,
  ]);
  // Run both emulated processors in one thread. With a thread for each, 6.12 panicked twice at a branch of
  // __schedule that it was patching ("Oops: int3", in probe.test.ts and perf-event.test.ts). It looks like a
  // bug of QEMU: one processor runs code that the other replaced.
  return [
    '-M',
    machine,
    '-smp',
    `${PROCESSORS}`,
    '-m',
    `${MEGABYTES}`,
    ...(kvm ? ['-accel', 'kvm', '-cpu', 'host,pmu=off'] : ['-accel', 'tcg,thread=single', '-cpu', emulated]),
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-reboot',
    '-kernel',
    image,
    '-initrd',
    join(temporary, 'initramfs'),
    '-append',
    [
      `console=${port}`,
      'quiet',
      'loglevel=5',
      'panic=-1',
      'oops=panic',
      'random.trust_cpu=on',
      'mitigations=off',
      'nokaslr',
      'audit=0',
      'lsm=landlock,lockdown,yama,bpf',
      ...(kvm ? [] : ['no_timer_check']),
    ].join(' '),
    '-serial',
    `file:${join(temporary, 'console')}`,
    '-device',
    'virtio-rng-pci',
    '-device',
    'virtio-serial-pci',
    ...ports,
    '-object',
    `memory-backend-memfd,id=memory,size=${MEGABYTES}M,share=on`,
    '-numa',
    'node,memdev=memory',
    '-chardev',
    `socket,id=host,path=${socket}`,
    '-device',
    'vhost-user-fs-pci,chardev=host,tag=host,queue-size=1024',
  ];
}

/** /dev/kvm may exist without working: nested, or with another backend than the processor's. */
function canUseKvm() {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  return ['kvm_intel', 'kvm_amd'].some((name) => existsSync(`/sys/module/${name}`));
}

function virtiofsd() {
  const path = VIRTIOFSD.find(existsSync);
  if (!path) throw new GuestError('virtiofsd is not installed: run scripts/setup --vm');
  return path;
}

/** Compiles init.c, once for each of its versions and architectures. */
function buildInit(cache, architecture, root) {
  const version = createHash('sha256').update(readFileSync(INIT)).digest('hex').slice(0, 12);
  const path = join(cache, `init-${architecture}-${version}`);
  if (existsSync(path)) return path;
  mkdirSync(cache, { recursive: true });
  const flags = ['-std=gnu11', '-O2', '-static', '-s', '-Wall', '-Wextra', '-Werror'];
  const [compiler, ...target] = ARCHITECTURES[architecture].compiler(root);
  execFileSync(compiler, [...target, ...flags, '-o', `${path}.${process.pid}`, INIT], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  renameSync(`${path}.${process.pid}`, path);
  return path;
}

/** Returns the end of the kernel's console output. */
function consoleOf(temporary) {
  const file = join(temporary, 'console');
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(-30).join('\n') : '';
}
