import { EbpfValidationError } from './errors.ts';
import { inspectBytes, type ObjectInfo } from './inspect.ts';
import type { NativeRefusal } from './native.ts';
import { DEFAULT_FILE_LIMIT, readSource, type Source } from './source.ts';

/** One rule that a file breaks. */
export interface Finding {
  /** A stable id in kebab case, such as `elf-machine`. */
  rule: string;
  /** An error keeps the object from loading; a warning does not. */
  level: 'error' | 'warning';
  /** The file, and where in it. */
  place: string;
  message: string;
  remedy?: string;
}

export interface ValidationLimits {
  /** The largest file that is read, in bytes. Default 32 MiB. */
  fileBytes: number;
}

export interface ValidationReport {
  /** No finding is an error. */
  ok: boolean;
  findings: Finding[];
  object?: ObjectInfo;
}

const COMPILE = 'compile it with clang -target bpf -g -O2 -c';
const REMEDIES: Readonly<Record<string, string>> = {
  'elf-empty': COMPILE,
  'elf-magic': COMPILE,
  'elf-truncated': 'the file is cut off: copy or compile it again',
  'elf-class': COMPILE,
  'elf-byte-order': 'compile it for this machine: clang -target bpfel or bpfeb',
  'elf-machine': COMPILE,
  'elf-type': 'name the object file, not what a linker made of it',
  'elf-section-table': 'the file is damaged: copy or compile it again',
  'elf-section-bounds': 'the file is cut off: copy or compile it again',
};

/** @internal */
export function refusalFinding(place: string, refused: NativeRefusal): Finding {
  // libbpf's last words name the section or the map; its errno says less.
  const words = refused.log.at(-1)?.replace(/^libbpf: /, '') ?? refused.message;
  const remedy = /\bBTF\b/.test(words)
    ? 'compile with -g, and do not strip the .BTF section'
    : REMEDIES[refused.rule];
  const finding: Finding = { rule: refused.rule, level: 'error', place, message: words };
  if (remedy !== undefined) finding.remedy = remedy;
  return finding;
}

/**
 * Every rule that an object file breaks, before any privilege is needed.
 *
 * @example
 * const { ok, findings } = await validate('xdp_counter.bpf.o');
 * if (!ok) for (const { place, message, remedy } of findings) console.error(place, message, remedy);
 */
export async function validate(
  source: Source,
  options: { limits?: Partial<ValidationLimits> } = {},
): Promise<ValidationReport> {
  try {
    const read = await readSource(source, options.limits?.fileBytes ?? DEFAULT_FILE_LIMIT);
    const object = inspectBytes(read);
    const findings = checkObject(read.place, object);
    return { ok: findings.every((finding) => finding.level !== 'error'), findings, object };
  } catch (error) {
    if (error instanceof EbpfValidationError) return { ok: false, findings: [...error.findings] };
    throw error;
  }
}

/** @internal */
export function checkObject(place: string, object: ObjectInfo): Finding[] {
  const findings: Finding[] = [];
  if (object.programs.length === 0 && object.maps.length === 0) {
    findings.push({
      rule: 'object-empty',
      level: 'error',
      place,
      message: 'no program and no map',
      remedy: 'give each program a SEC() and each map a .maps section',
    });
  }
  if (object.license === '' && object.programs.length > 0) {
    findings.push({
      rule: 'license-missing',
      level: 'error',
      place,
      message: 'no licence: the kernel loads no program without one',
      remedy: 'char LICENSE[] SEC("license") = "GPL";',
    });
  }
  for (const program of object.programs) {
    if (program.type !== 'unspec') continue;
    findings.push({
      rule: 'section-unknown',
      level: 'error',
      place: `${place}, program ${program.name}`,
      message: `SEC("${program.section}") names no program type`,
      remedy: 'use a section name that libbpf knows, such as xdp, tc or tracepoint/…',
    });
  }
  if (!object.hasBtf) {
    findings.push({
      rule: 'btf-missing',
      level: 'warning',
      place,
      message: 'no BTF: no CO-RE, no member names',
      remedy: 'compile with -g',
    });
  }
  return findings;
}
