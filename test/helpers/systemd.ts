// A machine that systemd runs: this one's files, in namespaces of its own. Whatever is written, mounted or started there ends with it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cgroup } from './cgroup.ts';
import type { Netns } from './netns.ts';
import { until } from './until.ts';

const TARGET = 'node-ebpf-test.target';

/**
 * $1: where the root is mounted, over this machine's own. The kernel's settings can be read there, not written: systemd would
 * write those of /etc/sysctl.d, which are the whole machine's. What systemd leaves to who made the container is that mounts are
 * shared: without, no service gets credentials.
 */
const BOOT = `set -e
  mount -t tmpfs -o mode=755 tmpfs "$1"
  mkdir "$1/upper" "$1/work" "$1/root"
  mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
  cd "$1/root"
  mount -t proc proc proc
  mount --bind proc/sys proc/sys
  mount -o remount,bind,ro proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount --rbind /dev dev
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t tmpfs tmpfs tmp
  : >etc/machine-id
  printf '[Unit]\\nRequires=sysinit.target\\nAfter=sysinit.target\\n' >etc/systemd/system/${TARGET}
  pivot_root . mnt
  umount -l mnt
  mount --make-rshared /
  exec env -i container=node-ebpf-test "PATH=$PATH" /lib/systemd/systemd --system --unit=${TARGET}`;

export class Systemd {
  readonly #process: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'node-ebpf-systemd-'));
  readonly #cgroup = new Cgroup();
  #said = '';
  /** systemd's own, as this machine numbers processes. */
  #pid = 0;

  private constructor(netns: Netns) {
    const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc', '--cgroup'];
    this.#process = spawn(
      'setpriv',
      [
        // Whatever becomes of this process.
        '--pdeathsig',
        'KILL',
        'nsenter',
        `--net=${netns.path}`,
        'sh',
        '-c',
        'echo $$ >"$0/cgroup.procs" && exec "$@"',
        this.#cgroup.path,
        'unshare',
        ...namespaces,
        '--propagation',
        'private',
        'sh',
        '-c',
        BOOT,
        'sh',
        this.#folder,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text;
      });
  }

  /** Resolves where every unit can be started. Its network is the namespace's. */
  static async boot(netns: Netns): Promise<Systemd> {
    const systemd = new Systemd(netns);
    try {
      await until(
        () => systemd.#isUp(),
        () => `systemd is not up: ${systemd.#said}`,
        60_000,
      );
    } catch (error) {
      await systemd.close();
      throw error;
    }
    return systemd;
  }

  /** What there is at a path of its own. */
  path(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  /**
   * What shell commands print, and all that they say where one of them fails.
   *
   * @param options.online in this machine's network instead of its own
   */
  run(
    script: string,
    options: { folder?: string; online?: boolean; environment?: NodeJS.ProcessEnv } = {},
  ): string {
    const { folder = '/', online = false, environment = {} } = options;
    const there = `cd "$0" && ${script}`;
    const { status, stdout, stderr } = spawnSync(
      'nsenter',
      [...this.#inside(online), 'sh', '-ec', there, folder],
      {
        encoding: 'utf8',
        env: { ...process.env, ...environment },
      },
    );
    if (status !== 0) throw new Error(`${script}: status ${status}\n${stdout}${stderr}`);
    return stdout;
  }

  /** A property of a unit, as systemctl(1) shows it. */
  property(unit: string, name: string): string {
    return this.run(`systemctl show --property ${name} --value ${unit}`).trim();
  }

  /** What a unit has said. */
  journal(unit: string): string {
    return this.run(`journalctl --sync && journalctl --unit ${unit} --output cat --no-pager`);
  }

  async close(): Promise<void> {
    // The first process of a PID namespace takes all others along, and they their mounts.
    this.#process.kill('SIGKILL');
    await until(
      () =>
        spawnSync('find', [this.#cgroup.path, '-mindepth', '1', '-depth', '-type', 'd', '-delete']).status ===
        0,
      () => `processes are left in ${this.#cgroup.path}`,
    );
    await until(() => this.#process.exitCode !== null || this.#process.signalCode !== null);
    this.#cgroup[Symbol.dispose]();
    rmdirSync(this.#folder);
  }

  #inside(online = false): string[] {
    const namespaces = ['--mount', '--pid', '--cgroup', '--root', '--wd', ...(online ? [] : ['--net'])];
    return [`--target=${this.#pid}`, ...namespaces];
  }

  #isUp(): boolean {
    if (this.#process.exitCode !== null) throw new Error(`systemd ended: ${this.#said}`);
    if (this.#pid === 0) {
      const { stdout } = spawnSync('pgrep', ['--parent', `${this.#process.pid}`, '--exact', 'systemd'], {
        encoding: 'utf8',
      });
      this.#pid = Number(stdout);
    }
    if (this.#pid === 0) return false;
    const active = ['systemctl', 'is-active', '--quiet', TARGET];
    return spawnSync('nsenter', [...this.#inside(), ...active]).status === 0;
  }
}
