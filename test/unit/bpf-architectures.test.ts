// The bundled programs compile for the architectures that the package is for, whichever of them this machine is: libbpf's headers
// are others there.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

it.each(['x86_64', 'aarch64'])('on %s', (machine) => {
  const to = mkdtempSync(join(tmpdir(), 'node-ebpf-bpf-'));
  try {
    execFileSync(`${root}/scripts/build-bpf`, [machine, to], { encoding: 'utf8', stdio: 'pipe' });
    const sources = readdirSync(`${root}/bpf`).filter((name) => name.endsWith('.bpf.c'));
    expect(readdirSync(to)).toEqual(sources.map((name) => name.replace(/c$/, 'o')));
  } finally {
    rmSync(to, { recursive: true });
  }
});
