import type { SectionTarget } from './attach.ts';
import { EbpfAttachError } from './errors.ts';
import type { BpfLink } from './link.ts';
import type { BpfProgram } from './program.ts';

// What the text behind the slash of a SEC() means, kind by kind (libbpf.c, section_defs).

/** Attaches where it says; undefined where that is libbpf's to do. @internal */
export function attachBySection(program: BpfProgram, at: SectionTarget): BpfLink | undefined {
  const { kind, target } = at;
  const ret = kind.includes('ret');
  switch (kind) {
    case 'tp':
    case 'tracepoint': {
      const slash = target.indexOf('/');
      return program.attachTracepoint(target.slice(0, Math.max(slash, 0)), target.slice(slash + 1));
    }
    case 'raw_tp':
    case 'raw_tp.w':
    case 'raw_tracepoint':
    case 'raw_tracepoint.w':
      return program.attachRawTracepoint(target);
    case 'kprobe':
    case 'kretprobe': {
      const { name, offset } = withOffset(target);
      return program.attachKprobe(name, { ret, ...(offset === undefined ? {} : { offset }) });
    }
    case 'ksyscall':
    case 'kretsyscall':
      return program.attachSyscall(target, { ret });
    case 'kprobe.multi':
    case 'kretprobe.multi':
      return program.attachKprobeMulti({ pattern: target }, { ret });
    case 'uprobe':
    case 'uretprobe': {
      const { binary, rest } = parted(program, at, 1);
      const { name: symbol, offset } = withOffset(rest);
      return program.attachUprobe({ binary, symbol, ret, ...(offset === undefined ? {} : { offset }) });
    }
    case 'usdt': {
      const { binary, rest } = parted(program, at, 2);
      const [provider = '', name = ''] = rest.split(':');
      return program.attachUsdt({ binary, provider, name });
    }
  }
  return undefined;
}

/** `fn+0x10` */
function withOffset(target: string): { name: string; offset?: number } {
  const [, name, offset] = /^(.+)\+(0x[\da-f]+|\d+)$/i.exec(target) ?? [];
  return name === undefined ? { name: target } : { name, offset: Number(offset) };
}

/** `binary:function`, `binary:provider:name`: the names hold no colon, a path may. */
function parted(program: BpfProgram, { target }: SectionTarget, names: number) {
  const parts = target.split(':');
  const binary = parts.slice(0, -names).join(':');
  if (binary !== '') return { binary, rest: parts.slice(-names).join(':') };
  throw new EbpfAttachError(`attach ${program.name}: SEC("${program.section}") does not say where`, {
    code: 'ERR_EBPF_NO_TARGET',
    target,
    hint: names === 1 ? 'it is uprobe/<file>:<function>' : 'it is usdt/<file>:<provider>:<name>',
  });
}
