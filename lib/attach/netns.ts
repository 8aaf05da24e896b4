import { EbpfAttachError } from '../core/errors.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Programs of a network namespace as a whole: which socket gets a connection, how a packet's headers are read.

// What a program of the type attaches to; there is one place for each.
const PLACES: Readonly<Record<string, string>> = {
  sk_lookup: 'sk_lookup',
  flow_dissector: 'flow_dissector',
};

/** @internal */
export function attachNetns(program: ProgramRef, netns: string | number): Attached {
  const target = typeof netns === 'number' ? `descriptor ${netns}` : String(netns);
  const what = `attach ${program.name} to network namespace ${target}`;
  if (typeof netns === 'number' ? !Number.isInteger(netns) || netns < 0 : typeof netns !== 'string') {
    throw new TypeError(`Expected a path or a descriptor for netns but received ${String(netns)}`);
  }
  requireType(what, program, Object.keys(PLACES), target);
  try {
    return { native: program.native.attachNetns(netns, PLACES[program.type] ?? ''), target };
  } catch (error) {
    const at = { kind: program.type, target };
    const failure = attachFailure(what, program.name, at, error, ['CAP_BPF']);
    const hint = REFUSALS[failure.code];
    if (hint === undefined || !(failure instanceof EbpfAttachError)) return rethrow(failure);
    const { code, errno, syscall } = failure;
    throw new EbpfAttachError(failure.message, { code, errno, syscall, target, hint });
  }
}

function rethrow(error: Error): never {
  throw error;
}

const REFUSALS: Readonly<Record<string, string>> = {
  EINVAL: 'it is no network namespace: /proc/<pid>/ns/net and /run/netns/<name> are',
  // net/core/flow_dissector.c: one, and none beside that of the first namespace.
  EEXIST: 'the namespace has such a program, or the machine’s first namespace has: bpftool net shows it',
  EBUSY: 'the namespace has such a program: bpftool net shows it',
};
