import { access, constants, stat } from 'node:fs/promises';
import type { CompleteInspection, NativeInspection } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { EbpfValidationError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { instructionFindings, licenseFindings, refusalFinding, typeFindings } from './code-findings.ts';
import { dryRun, type VerifierVerdict } from './dry-run.ts';
import { isComplete, type ObjectInfo, objectInfo } from './inspect.ts';
import type { ValidationLimits } from './limits.ts';
import { mapFindings, nameFindings } from './map-findings.ts';
import { finding } from './rules.ts';
import { DEFAULT_FILE_LIMIT, readSource, type Source, type SourceBytes } from './source.ts';

/** Options of validate(). */
export interface ValidateOptions {
  /**
   * Also load each program by itself and close it again, for the verdict of the kernel's verifier. Needs the
   * privilege to load.
   */
  dryRun?: boolean;
  /** Limits that differ from the defaults. */
  limits?: Partial<ValidationLimits>;
  /**
   * Path of the kernel BTF that CO-RE relocations are checked against. Default `/sys/kernel/btf/vmlinux` if
   * it can be read, together with the BTF of the kernel's modules.
   */
  btf?: string;
}

/** The result of validate(). */
export interface ValidationReport {
  /** Whether no finding is an error. */
  ok: boolean;
  /** The errors and warnings, with those of the verifier last. */
  findings: Finding[];
  /** The contents of the object; absent if libbpf cannot open it. */
  object?: ObjectInfo;
  /** A verdict for each program that was loaded; present with `dryRun`. */
  verifier?: VerifierVerdict[];
}

// kernel/bpf/verifier.c: BPF_COMPLEXITY_LIMIT_INSNS (5.2)
const KERNEL_INSTRUCTIONS = 1_000_000;
const DEFAULT_LIMITS: ValidationLimits = {
  fileBytes: DEFAULT_FILE_LIMIT,
  instructions: KERNEL_INSTRUCTIONS,
  maxEntries: 2 ** 32 - 1,
  mapBytes: Number.POSITIVE_INFINITY,
};
const RUNNING_KERNEL = '/sys/kernel/btf/vmlinux';

/**
 * Finds every rule that an object file breaks, without any privilege: in its ELF sections and BTF, its
 * instructions, licence, maps and names, and in its CO-RE relocations against a kernel's types. Works on the
 * thread pool.
 *
 * `dryRun` adds the verifier's verdict and cost. If the process may not load programs, a finding names the
 * missing capabilities.
 *
 * @throws TypeError if `source` is not a path, a URL or bytes; faults of the file are findings
 * @example
 * const { ok, findings } = await validate('xdp_counter.bpf.o', { limits: { mapBytes: 2 ** 20 } });
 * if (!ok) for (const { place, message, remedy } of findings) console.error(place, message, remedy);
 */
export async function validate(source: Source, options: ValidateOptions = {}): Promise<ValidationReport> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  let read: SourceBytes;
  try {
    // The caller may change the bytes while this waits, and every step must see the same bytes.
    const own = source instanceof Uint8Array ? new Uint8Array(source) : source;
    read = await readSource(own, limits.fileBytes);
  } catch (error) {
    if (error instanceof EbpfValidationError) return report([...error.findings]);
    throw error;
  }
  const { path, problem } = await kernelBtf(options.btf);
  const facts = await native().examine(read.bytes, path);
  const findings = objectFindings(read.place, facts, limits);
  const btfProblem = problem ?? facts.kernelBtfError;
  if (btfProblem !== undefined && path !== RUNNING_KERNEL)
    findings.push(finding('btf-kernel', options.btf ?? RUNNING_KERNEL, btfProblem));
  if (facts.refusals.length > 0 || !isComplete(facts)) return report(findings);

  const object = objectInfo(facts, read.bytes.byteLength);
  if (!options.dryRun) return report(findings, { object });
  // Some faults make libbpf write outside its memory.
  const unsafe = checkLoadable(read.place, facts, object).some(({ rule }) => UNSAFE.has(rule));
  if (unsafe) return report(findings, { object, verifier: [] });
  const { verdicts, findings: refusals } = await dryRun(read, facts.programs);
  return report([...findings, ...refusals], { object, verifier: verdicts });
}

function report(findings: Finding[], rest: Omit<ValidationReport, 'ok' | 'findings'> = {}): ValidationReport {
  return { ok: findings.every(({ level }) => level !== 'error'), findings, ...rest };
}

// A FIFO would block a thread of the pool for ever. The running kernel's types are optional: no problem if
// they cannot be read.
async function kernelBtf(named: string | undefined): Promise<{ path?: string; problem?: string }> {
  const path = named ?? RUNNING_KERNEL;
  try {
    if (!(await stat(path)).isFile()) return { problem: 'not a regular file' };
    await access(path, constants.R_OK);
    return { path };
  } catch (error) {
    return named === undefined ? {} : { problem: (error as Error).message };
  }
}

function objectFindings(place: string, facts: NativeInspection, limits: ValidationLimits): Finding[] {
  const refusals = facts.refusals.map((refusal) => refusalFinding(place, refusal));
  const findings = [
    ...instructionFindings(place, facts),
    ...typeFindings(place, facts),
    ...licenseFindings(place, facts),
  ];
  if (isComplete(facts)) {
    findings.push(
      ...checkObject(place, objectInfo(facts, 0)),
      ...programFindings(place, facts.programs, limits),
      ...mapFindings(place, facts.maps, limits),
    );
  }
  // libbpf stops at the first fault. If another rule has described the fault, libbpf's own message adds
  // nothing.
  const known = refusals.some(({ rule }) => rule !== 'object-open') || findings.some(isError);
  return [...refusals.filter(({ rule }) => !(known && rule === 'object-open')), ...findings];
}

const isError = ({ level }: Finding): boolean => level === 'error';

function programFindings(
  place: string,
  programs: CompleteInspection['programs'],
  limits: ValidationLimits,
): Finding[] {
  const sizes = programs.flatMap(({ name, section, instructions, tooManyFunctions }) => {
    const at = `${place}, section ${section}, program ${name}`;
    if (tooManyFunctions)
      return [finding('program-functions', at, 'it calls more than 256 functions, the kernel’s limit')];
    if (instructions <= limits.instructions) return [];
    return [
      finding('program-size', at, `${instructions} instructions, over the limit of ${limits.instructions}`),
    ];
  });
  return [...sizes, ...nameFindings(place, 'program', programs)];
}

/** Findings from libbpf's view of the object. @internal */
export function checkObject(place: string, object: ObjectInfo): Finding[] {
  const findings: Finding[] = [];
  if (object.programs.length === 0 && object.maps.length === 0)
    findings.push(finding('object-empty', place, 'no program and no map'));
  if (object.license === '' && object.programs.length > 0)
    findings.push(
      finding('license-missing', place, 'no licence: the kernel treats it as not GPL-compatible'),
    );
  for (const { name, section, type } of object.programs) {
    if (type !== 'unspec') continue;
    findings.push(
      finding('section-unknown', `${place}, program ${name}`, `SEC("${section}") names no program type`),
    );
  }
  if (!object.hasBtf) findings.push(finding('btf-missing', place, 'no BTF: no CO-RE, no member names'));
  return findings;
}

// libbpf 1.5 writes the second half of a 64-bit load even if it is missing (bpf_object__relocate_data), reads
// members with a negative index (bpf_core_parse_spec), and follows calls recursively
// (bpf_object__reloc_code).
const UNSAFE: ReadonlySet<string> = new Set([
  'insn-ld-imm64',
  'insn-more', // the instructions left out may have one of these faults
  'core-invalid',
  'program-functions',
]);

/** Findings that keep an object from being given to libbpf. The verifier judges the rest. @internal */
export function checkLoadable(place: string, facts: CompleteInspection, object: ObjectInfo): Finding[] {
  const calls = facts.programs
    .filter(({ tooManyFunctions }) => tooManyFunctions)
    .map(({ name }) =>
      finding(
        'program-functions',
        `${place}, program ${name}`,
        'it calls more than 256 functions, the kernel’s limit',
      ),
    );
  const unsafe = [...instructionFindings(place, facts), ...typeFindings(place, facts)].filter(({ rule }) =>
    UNSAFE.has(rule),
  );
  return [...checkObject(place, object), ...calls, ...unsafe];
}
