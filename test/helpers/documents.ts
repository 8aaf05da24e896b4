// What the documents show, and the machine that their examples take for granted.
import { copyFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createNetns, type Netns } from './netns.ts';
import { shippedObject, testObject } from './objects.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Block {
  /** Of the fence above it. */
  line: number;
  code: string;
}

/** The fenced blocks of a language; '' for those of none. */
export function blocks(document: string, language: string): Block[] {
  const text = readFileSync(join(ROOT, document), 'utf8');
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(({ 2: code = '', index }) => ({ line: text.slice(0, index).split('\n').length, code }));
}

/** A folder with the objects that examples load. The caller removes it. */
export function exampleFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-docs-'));
  copyFileSync(shippedObject('xdp_counter'), join(folder, 'xdp_counter.bpf.o'));
  for (const name of ['my_program', 'execs']) copyFileSync(testObject(name), join(folder, `${name}.bpf.o`));
  return folder;
}

/** A network namespace with lo and an eth0 of its own, of whose pair the other end is down: nothing goes over it. */
export function exampleNetns(): Netns {
  const netns = createNetns();
  netns.upLoopback();
  netns.exec('sh', ['-ec', 'ip link add eth0 type veth peer name eth0-peer; ip link set eth0 up']);
  return netns;
}
