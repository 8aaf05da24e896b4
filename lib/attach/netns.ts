import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Programs of a network namespace as a whole: which socket gets a connection, how a packet's headers are read.

// Each has one attach type, of the same name.
const TYPES = ['sk_lookup', 'flow_dissector'];

/** @internal */
export function attachNetns(program: ProgramRef, netns: string | number): Attached {
  const target = typeof netns === 'number' ? `descriptor ${netns}` : String(netns);
  const what = `attach ${program.name} to network namespace ${target}`;
  if (typeof netns === 'number' ? !Number.isInteger(netns) || netns < 0 : typeof netns !== 'string') {
    throw new TypeError(`Expected a path or a descriptor for netns but received ${String(netns)}`);
  }
  requireType(what, program, TYPES, target);
  try {
    return { native: program.native.attachNetns(netns, program.type), target };
  } catch (error) {
    throw attachFailure(what, program.name, { kind: program.type, target }, error, {
      needed: ['CAP_BPF'],
      hints: HINTS,
    });
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EINVAL: 'it is no network namespace: /proc/<pid>/ns/net and /run/netns/<name> are',
  // net/core/flow_dissector.c: one, and none beside that of the first namespace.
  EEXIST: 'the namespace has such a program, or the machine’s first namespace has: bpftool net shows it',
  EBUSY: 'the namespace has such a program: bpftool net shows it',
};
