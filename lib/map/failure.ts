import { describeFailure, EbpfMapError, EbpfStateError, isNativeFailure } from '../core/errors.ts';
import { MapFlags } from '../core/map-spec.ts';
import { missingCapabilities, permissionError } from '../kernel/capabilities.ts';

interface Subject {
  readonly name: string;
  readonly id: number;
  readonly type: string;
  readonly flags: number;
  readonly maxEntries: number;
}

/** The words for a map in messages: some have no name. */
export function mapWords({ name, id }: Pick<Subject, 'name' | 'id'>): string {
  return `map ${name || id}`;
}

/** What native code threw while it worked on a map, as a public error; anything else as it is. */
export function mapFailure(map: Subject, verb: string, error: unknown): unknown {
  if (!isNativeFailure(error)) return error;
  const subject = mapWords(map);
  if (error.code === 'ERR_EBPF_CLOSED')
    return new EbpfStateError(`${subject} is closed`, { state: 'closed' });
  const { words, options } = describeFailure(error, subject);
  const message = `${verb} ${subject} (${map.type}): ${words}`;
  if (options.code === 'EPERM' && !refusedByFlags(map, verb)) {
    const missing = missingCapabilities(['CAP_BPF']);
    if (missing.length > 0) return permissionError(message, options, missing);
  }
  return new EbpfMapError(message, { ...options, map: map.name, hint: hint(map, options.code) });
}

function refusedByFlags({ flags }: Subject, verb: string): boolean {
  return (flags & (verb === 'read' ? MapFlags.WRONLY : MapFlags.RDONLY)) !== 0;
}

function hint({ type, maxEntries }: Subject, code: string): string | undefined {
  if (code !== 'E2BIG') return undefined;
  return type.includes('array')
    ? `its indices go from 0 to ${maxEntries - 1}`
    : `it holds ${maxEntries} entries, and is full`;
}
