import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import type { KernelReport } from '../../scripts/vm/report.js';
import { until } from '../helpers/until.ts';

// The short selection on a kernel that has what this one may lack: each test of the guest is a test here.

const RUN = fileURLToPath(new URL('../../scripts/vm/run.js', import.meta.url));
const KERNEL = '6.12';
/** All that a guest writes on this machine is in here, and every process of it names this folder. */
const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-vm-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** run.js ends when standard input does: with this process, however that ended. */
function start(...args: string[]): ChildProcess {
  const { NODE_V8_COVERAGE: _, ...env } = process.env;
  return spawn(process.execPath, [RUN, KERNEL, '--with-parent', ...args], {
    env: { ...env, TMPDIR: folder },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}

/** The processes of guests, by /proc. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // it ended meanwhile
      }
    })
    .filter((command) => command.includes(folder));
}

const json = join(folder, 'reports.json');
const child = start('--short', '--json', json);
let output = '';
child.stdout?.on('data', (bytes) => {
  output += bytes;
});
await once(child, 'close');
const reports = JSON.parse(readFileSync(json, 'utf8')) as KernelReport[];
rmSync(json);

for (const { release, files } of reports) {
  for (const { file, tests } of files) {
    describe(`${release}: ${file || 'the guest'}`, () => {
      for (const { name, state, error } of tests) {
        if (state === 'skipped') test.skip(name, () => {});
        else
          test(name, () => {
            if (state !== 'passed') throw new Error(error);
          });
      }
    });
  }
}

test('one kernel was run, and its summary is what this reports', () => {
  expect(reports.map(({ kernel }) => kernel)).toEqual([KERNEL]);
  const states = reports
    .flatMap(({ files }) => files.flatMap(({ tests }) => tests))
    .map(({ state }) => state);
  const count = (state: string) => states.filter((one) => one === state).length;
  expect(output.trim().split('\n').at(-1)).toBe(
    `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`,
  );
  expect(child.exitCode).toBe(count('failed') > 0 ? 1 : 0);
});

test('the guest left no process and no file', () => {
  expect({ processes: processes(), files: readdirSync(folder) }).toEqual({ processes: [], files: [] });
});

describe('a guest that is interrupted', () => {
  const interrupted = async (end: (child: ChildProcess) => void) => {
    const child = start('--', 'sh', '-c', 'echo up; sleep 1000');
    const closed = once(child, 'close');
    const [bytes] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    expect(bytes.toString()).toBe('up\n');
    expect(processes().filter((command) => /qemu|virtiofsd/.test(command)).length).toBeGreaterThan(1);
    end(child);
    await closed;
    await until(
      () => processes().length === 0,
      () => `still there: ${processes().join('\n')}`,
    );
    return child;
  };

  test.each(['SIGTERM', 'SIGINT'] as const)('by %s: it ends, and leaves nothing', async (signal) => {
    const { exitCode } = await interrupted((child) => child.kill(signal));
    expect(exitCode).toBeGreaterThan(128);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('by the end of who started it', async () => {
    await interrupted((child) => child.stdin?.end());
    expect(readdirSync(folder)).toEqual([]);
  });

  test('by SIGKILL, which nobody can answer: no process is left', async () => {
    await interrupted((child) => child.kill('SIGKILL'));
  });
});
