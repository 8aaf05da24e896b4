import { EbpfAttachError } from '../core/errors.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import type { SectionTarget } from './failure.ts';

// Parses the part of a SEC() after the slash, by kind (libbpf.c, section_defs).

/** The target of a SEC(), by kind. */
export type ParsedSection =
  | { kind: 'tracepoint'; category: string; name: string }
  | { kind: 'raw_tracepoint'; name: string }
  | { kind: 'kprobe'; name: string; offset?: number; ret: boolean }
  | { kind: 'syscall'; name: string; ret: boolean }
  | { kind: 'kprobe.multi'; pattern: string; ret: boolean }
  | { kind: 'uprobe'; binary: string; symbol: string; offset?: number; ret: boolean }
  | { kind: 'usdt'; binary: string; provider: string; name: string };

/** Parses a SEC(). Returns undefined for the kinds that libbpf attaches. @internal */
export function parseSection(program: ProgramRef, at: SectionTarget): ParsedSection | undefined {
  const { kind, target } = at;
  const ret = kind.includes('ret');
  switch (kind) {
    case 'tp':
    case 'tracepoint': {
      const slash = target.indexOf('/');
      return {
        kind: 'tracepoint',
        category: target.slice(0, Math.max(slash, 0)),
        name: target.slice(slash + 1),
      };
    }
    case 'raw_tp':
    case 'raw_tp.w':
    case 'raw_tracepoint':
    case 'raw_tracepoint.w':
      return { kind: 'raw_tracepoint', name: target };
    case 'kprobe':
    case 'kretprobe':
      return { kind: 'kprobe', ret, ...withOffset(target) };
    case 'ksyscall':
    case 'kretsyscall':
      return { kind: 'syscall', name: target, ret };
    case 'kprobe.multi':
    case 'kretprobe.multi':
      return { kind: 'kprobe.multi', pattern: target, ret };
    case 'uprobe':
    case 'uretprobe': {
      const { binary, rest } = parted(program, at, 1);
      const { name: symbol, ...offset } = withOffset(rest);
      return { kind: 'uprobe', binary, symbol, ret, ...offset };
    }
    case 'usdt': {
      const { binary, rest } = parted(program, at, 2);
      const [provider = '', name = ''] = rest.split(':');
      return { kind: 'usdt', binary, provider, name };
    }
  }
  return undefined;
}

/** Splits `fn+0x10`. */
function withOffset(target: string): { name: string; offset?: number } {
  const [, name, offset] = /^(.+)\+(0x[\da-f]+|\d+)$/i.exec(target) ?? [];
  return name === undefined ? { name: target } : { name, offset: Number(offset) };
}

/** Splits `binary:function` or `binary:provider:name`. The path may contain colons, the names cannot. */
function parted(program: ProgramRef, { target }: SectionTarget, names: number) {
  const parts = target.split(':');
  const binary = parts.slice(0, -names).join(':');
  if (binary !== '') return { binary, rest: parts.slice(-names).join(':') };
  throw new EbpfAttachError(`attach ${program.name}: SEC("${program.section}") does not name a target`, {
    code: 'ERR_EBPF_NO_TARGET',
    target,
    hint: names === 1 ? 'the form is uprobe/<file>:<function>' : 'the form is usdt/<file>:<provider>:<name>',
  });
}
