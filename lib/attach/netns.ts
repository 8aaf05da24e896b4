import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Programs on a whole network namespace: sk_lookup selects the socket of a connection, flow_dissector parses
// packet headers.

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
  EINVAL: 'not a network namespace: use /proc/<pid>/ns/net or /run/netns/<name>',
  // net/core/flow_dissector.c: one per namespace, and none if the initial namespace has one.
  EEXIST: "the namespace or the machine's initial namespace has such a program already: see bpftool net",
  EBUSY: 'the namespace has such a program already: see bpftool net',
};
