import { readFileSync } from 'node:fs';
import { EbpfNotSupportedError } from '../core/errors.ts';

// The perf event types of kprobes and uprobes, whose numbers are in sysfs.

const SOURCES = '/sys/bus/event_source/devices';
const MISSING = {
  kprobe: {
    words: 'this kernel has no kprobes',
    hint: 'it is built without CONFIG_KPROBES: use a tracepoint',
  },
  uprobe: { words: 'this kernel has no uprobes', hint: 'it is built without CONFIG_UPROBES' },
} as const;

/** The type of the perf event, and the bit of its config that selects the function's return. */
export interface ProbeKind {
  pmu: number;
  returnBit: number | undefined;
}

/** @throws EbpfNotSupportedError `kprobes`, `uprobes`, `sysfs` */
export function probeKind(what: string, kind: 'kprobe' | 'uprobe', ret: boolean): ProbeKind {
  try {
    const pmu = Number(readFileSync(`${SOURCES}/${kind}/type`, 'latin1'));
    if (!ret) return { pmu, returnBit: undefined };
    // `config:0`
    const format = readFileSync(`${SOURCES}/${kind}/format/retprobe`, 'latin1');
    return { pmu, returnBit: Number(/^config:(\d+)$/m.exec(format)?.[1]) };
  } catch (error) {
    throw missing(what, kind, error);
  }
}

function missing(what: string, kind: 'kprobe' | 'uprobe', cause: unknown): EbpfNotSupportedError {
  try {
    readFileSync(`${SOURCES}/software/type`);
  } catch {
    return new EbpfNotSupportedError(
      `${what}: sysfs is not mounted, and only it has the event type of probes`,
      {
        feature: 'sysfs',
        hint: 'mount -t sysfs sysfs /sys',
        cause,
      },
    );
  }
  const { words, hint } = MISSING[kind];
  return new EbpfNotSupportedError(`${what}: ${words}`, { feature: `${kind}s`, hint, cause });
}
