// A small C program whose functions are probed, compiled where it is needed: position-independent, as compilers do it by default.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SOURCE = `
#include <stdio.h>
#include <stdlib.h>
#include <sys/sdt.h>
#include <unistd.h>

__attribute__((noinline)) int first(int n) { __asm__ volatile("" : "+r"(n)); return n + 1; }
__attribute__((noinline)) int second(int n) { __asm__ volatile("" : "+r"(n)); return n + 2; }
static __attribute__((noinline)) int hidden(int n) { __asm__ volatile("" : "+r"(n)); return n + 3; }

static void turn(int times)
{
	for (int i = 0; i < times; i++) {
		volatile int n = hidden(second(first(i)));
		DTRACE_PROBE1(node_ebpf, turn, i + 1);
		(void)n;
		getppid();
	}
}

/* Each line of its standard input is a number of turns; it answers when they are done. */
int main(void)
{
	char line[32];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		turn(atoi(line));
		puts("done");
	}
	return 0;
}
`;

export class ProbedProgram implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'node-ebpf-probed-'));
  readonly path: string;

  /** @param flags for gcc, such as -s */
  constructor(flags: readonly string[] = []) {
    this.path = join(this.folder, 'probed');
    writeFileSync(`${this.path}.c`, SOURCE);
    execFileSync('gcc', ['-O1', '-pie', '-fPIE', ...flags, '-o', this.path, `${this.path}.c`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Runs it, and waits for the end. */
  turn(times: number): void {
    execFileSync(this.path, { input: `${times}\n`, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
