import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let made = 0;

/** A cgroup (v2) of the test's own, in the file system that is mounted already or in one that goes with it. */
export class Cgroup implements Disposable {
  readonly path: string;
  readonly #mount: string | undefined;

  constructor() {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    let root = mounts.find((line) => / - cgroup2 /.test(line))?.split(' ')[4];
    if (root === undefined) {
      this.#mount = root = mkdtempSync(join(tmpdir(), 'node-ebpf-cgroup-'));
      execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', root]);
    }
    this.path = join(root, `node-ebpf-${process.pid}-${made++}`);
    mkdirSync(this.path);
  }

  /** Removes it; its processes have ended. */
  remove(): void {
    rmdirSync(this.path);
  }

  [Symbol.dispose](): void {
    try {
      this.remove();
    } catch {
      // the test removed it
    }
    if (this.#mount !== undefined) {
      execFileSync('umount', [this.#mount]);
      rmdirSync(this.#mount);
    }
  }
}
