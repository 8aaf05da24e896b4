// The bundled programs compile for the architectures that the package is for, whichever of them this machine is: libbpf's headers
// are others there.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = readdirSync(`${root}/bpf`).filter((name) => name.endsWith('.bpf.c'));
const COMPILE = `source scripts/steps.sh
  "$(find_clang)" -target bpf -mcpu=v2 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -std=gnu11 "-D__TARGET_ARCH_$1" \\
    -I bpf -I .cache/libbpf/headers -idirafter "/usr/include/$(uname -m)-linux-gnu" -c "bpf/$2" -o /dev/null`;

it.each(['x86', 'arm64'].flatMap((arch) => sources.map((source) => [arch, source] as const)))(
  'for %s: %s',
  (arch, source) => {
    expect(execFileSync('bash', ['-c', COMPILE, 'bash', arch, source], { cwd: root, encoding: 'utf8' })).toBe(
      '',
    );
  },
);
