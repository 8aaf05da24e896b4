import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const open = new Set<Bpffs>();

// A test that throws outside its own finally, or a process that ends early, still takes its mounts along. A worker thread of
// vitest is terminated, and has no exit.
const closeAll = () => {
  for (const bpffs of [...open]) bpffs.close();
};
afterAll(closeAll);
process.on('exit', closeAll);

/** A BPF file system of the test's own, which goes with all pins in it. The folder's name has no dot. */
export class Bpffs implements Disposable {
  readonly path: string;
  #mounted = false;

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 'node-ebpf-bpffs-'));
    open.add(this);
    execFileSync('mount', ['-t', 'bpf', 'bpf', this.path], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#mounted = true;
  }

  at(name: string): string {
    return join(this.path, name);
  }

  /** What is pinned: the kernel may have put iterators of its own there, such as maps.debug (CONFIG_BPF_PRELOAD). */
  names(): string[] {
    return readdirSync(this.path)
      .filter((name) => !name.includes('.'))
      .sort();
  }

  /** The folder stays, without its file system. */
  unmount(): void {
    if (this.#mounted) execFileSync('umount', [this.path], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#mounted = false;
  }

  close(): void {
    if (!open.delete(this)) return;
    this.unmount();
    rmdirSync(this.path);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
