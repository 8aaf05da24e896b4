import type { NativeInspection, NativePlace, NativeRefusal } from '../addon/binding.ts';
import type { Finding } from '../core/finding.ts';
import { finding, isRule, RULES } from './rules.ts';

// Turns the faults that native code found in the sections into findings.

// include/linux/license.h, license_is_gpl_compatible()
const GPL_COMPATIBLE: ReadonlySet<string> = new Set([
  'GPL',
  'GPL v2',
  'GPL and additional rights',
  'Dual BSD/GPL',
  'Dual MIT/GPL',
  'Dual MPL/GPL',
]);

/** The finding for a rule that the file as a whole breaks. */
export function refusalFinding(place: string, { rule, message, log }: NativeRefusal): Finding {
  if (!isRule(rule)) return { ...finding('object-open', place, message), rule };
  // libbpf's last message names the section or the map, which its errno does not.
  const words = log.at(-1)?.replace(/^libbpf: /, '') ?? message;
  const remedy =
    rule === 'object-open' && /\bBTF\b/.test(words)
      ? 'compile with -g, and do not strip the .BTF section'
      : undefined;
  return finding(rule, place, words, remedy);
}

/** `xdp.bpf.o, section xdp, program count, instruction 12 (xdp.bpf.c:30)` */
export function placeOf(file: string, at: NativePlace): string {
  const noun = at.subprogram ? 'function' : 'program';
  const source = at.file === undefined ? '' : ` (${at.file}:${at.line})`;
  return `${file}, section ${at.section}, ${noun} ${at.function}, instruction ${at.instruction}${source}`;
}

/** Findings for instructions that every kernel refuses. */
export function instructionFindings(file: string, facts: NativeInspection): Finding[] {
  const findings = (facts.defects ?? []).flatMap(({ rule, value, place }) =>
    isRule(rule) ? [finding(rule, placeOf(file, place), defectWords(rule, value))] : [],
  );
  const more = facts.defectsLeftOut ?? 0;
  if (more > 0) findings.push(finding('insn-more', file, `${more} more faulty instructions`));
  return findings;
}

function defectWords(rule: string, value: number): string {
  const opcode = `opcode 0x${value.toString(16).padStart(2, '0')}`;
  switch (rule) {
    case 'insn-opcode':
      return `the kernel has no ${opcode}`;
    case 'insn-reserved':
      return `${opcode} has a field set that it does not use`;
    case 'insn-register':
      return `register r${value} does not exist: there are r0 to r10`;
    case 'insn-frame-pointer':
      return 'writes r10, the frame pointer';
    case 'insn-operand':
      return `the instruction does not take the operand ${value}`;
    case 'insn-ld-imm64':
      if (value >= 0) return `a 64-bit load of the unknown kind ${value}`;
      return value === -1
        ? 'a 64-bit load without its second half'
        : 'a 64-bit load with a broken second half';
    case 'insn-jump-range':
      return `jumps to instruction ${value}, outside the function`;
    case 'insn-jump-middle':
      return `jumps to instruction ${value}, the second half of a 64-bit load`;
    case 'insn-end':
      return 'is the last instruction, and neither exits nor jumps';
    case 'insn-call-target':
      return 'calls something that is not a function in .text';
    default:
      return `calls helper ${value}`;
  }
}

/** Findings for calls and program types that the object's licence does not allow. */
export function licenseFindings(file: string, facts: NativeInspection): Finding[] {
  const license = facts.license ?? '';
  if (GPL_COMPATIBLE.has(license)) return [];
  const under = license === '' ? 'without a licence' : `under the licence "${license}"`;
  const programs = facts.programs ?? [];
  const multi = programs.some(({ section }) => /^[ku](ret)?probe\.(multi|session)/.test(section));
  const calls = (facts.restrictedCalls ?? [])
    // kernel/trace/bpf_trace.c: GPL-only in single probes, unrestricted in multi probes.
    .filter(({ name }) => !(name === 'bpf_get_func_ip' && multi))
    .map(({ name, kind, place }) =>
      kind === 'helper'
        ? finding('license-helper', placeOf(file, place), `calls ${name}, which is GPL-only, ${under}`)
        : finding('license-kfunc', placeOf(file, place), `calls the kernel's ${name} ${under}`),
    );
  const types = programs
    .filter(({ type }) => type === 'lsm' || type === 'struct_ops')
    .map(({ name, type }) =>
      finding('license-type', `${file}, program ${name}`, `a program of type ${type} ${under}`),
    );
  return [...calls, ...types];
}

/** Findings for BTF that libbpf cannot read and CO-RE relocations that it cannot resolve. */
export function typeFindings(file: string, facts: NativeInspection): Finding[] {
  const broken = (facts.log ?? []).flatMap((line) => {
    const [, section] = /Error loading ELF section (\.BTF(?:\.ext)?):/.exec(line) ?? [];
    if (section === undefined) return [];
    const rule = section === '.BTF' ? 'btf-invalid' : 'btf-ext-invalid';
    return [finding(rule, `${file}, section ${section}`, RULES[rule].what)];
  });
  const relocations = (facts.coreDefects ?? []).flatMap((defect) => {
    const { type, field, words, certain } = defect;
    const place = placeOf(file, defect.place);
    const subject = field === '' ? type : `${type}, ${field}`;
    switch (defect.rule) {
      case 'core-type-missing':
      case 'core-field-missing': {
        const lacks =
          defect.rule === 'core-type-missing'
            ? `the kernel has no ${type} (for its ${field})`
            : `the kernel's ${type} has no ${field || 'such shape'}`;
        if (certain) return [finding(defect.rule, place, lacks)];
        return [finding('core-load-time', place, `${lacks}; a value known at load decides`)];
      }
      case 'core-ambiguous':
      case 'core-invalid':
        return [finding(defect.rule, place, `${subject}: ${words.replace(/^libbpf: prog '': /, '')}`)];
      default:
        return [];
    }
  });
  const left = facts.coreUnresolved ?? 0;
  if (left === 0) return [...broken, ...relocations];
  const unresolved = finding('core-unresolved', file, `${left} CO-RE relocations were not resolved`);
  return [...broken, ...relocations, unresolved];
}
