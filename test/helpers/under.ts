// What fails in a process that may not do everything.
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { runModule } from './child.ts';

/** The error that `body` ended with, or {}. */
export interface Failure {
  name?: string;
  code?: string;
  message?: string;
  missing?: string[];
  hint?: string;
  findings?: { rule: string }[];
}

/** A seccomp filter that answers bpf(2) with EPERM, as container runtimes have. */
export const FORBID_BPF = [
  '/usr/bin/python3',
  fileURLToPath(new URL('./forbid_bpf.py', import.meta.url)),
] as const;

export async function failureUnder(prefix: readonly string[], body: string): Promise<Failure> {
  const child = runModule(
    `try { ${body}; console.log('{}'); }
     catch ({ name, code, message, missing, hint, findings }) {
       console.log(JSON.stringify({ name, code, message, missing, hint, findings }));
     }`,
    { prefix },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Failure;
}

/** Root without some capabilities: what a container gets. */
export function without(capabilities: readonly string[], body: string): Promise<Failure> {
  return failureUnder(
    ['setpriv', `--bounding-set=${capabilities.map((name) => `-${name}`).join(',')}`],
    body,
  );
}

/** Root with exactly these. */
export function withOnly(capabilities: readonly string[], body: string): Promise<Failure> {
  return failureUnder(
    ['setpriv', `--bounding-set=${['-all', ...capabilities.map((name) => `+${name}`)].join(',')}`],
    body,
  );
}
