import { native } from '../addon/native.ts';
import { describeFailure } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { capabilitiesToLoad, missingCapabilities, permissionHint } from '../kernel/capabilities.ts';
import { finding } from './rules.ts';
import type { SourceBytes } from './source.ts';
import { verifierCost, verifierLogs, verifierPlace, verifierSummary } from './verifier-log.ts';

/** The verifier's verdict on one program. */
export interface VerifierVerdict {
  /** Name of the program. */
  program: string;
  /** Whether the verifier accepts it. */
  ok: boolean;
  /** Number of instructions that the verifier processed; its limit is 1,000,000. */
  processed: number;
  /** Largest number of states that the verifier kept at once. */
  peakStates: number;
  /** Bytes of stack used by the program and the functions it calls. */
  stackDepth: number;
  /** The verifier's log, if it refused the program. */
  log?: string;
}

interface Candidate {
  name: string;
  section: string;
  type: string;
}

/** Loads each program by itself and closes it again. */
export async function dryRun(
  source: SourceBytes,
  programs: readonly Candidate[],
): Promise<{ verdicts: VerifierVerdict[]; findings: Finding[] }> {
  const verdicts: VerifierVerdict[] = [];
  const findings: Finding[] = [];
  for (const [index, program] of programs.entries()) {
    const place = `${source.place}, section ${program.section}, program ${program.name}`;
    const { failure, log, remaining } = await native().dryRun(source.bytes, source.name, index);
    if (remaining > 0)
      findings.push(finding('dry-run-remaining', place, `${remaining} programs and maps are still there`));
    const text = verifierLogs(log).get(program.name);
    if (failure === undefined) {
      verdicts.push({ program: program.name, ok: true, ...verifierCost(text ?? '') });
      continue;
    }
    const refusal = refusalFinding(place, program, failure, log, text);
    findings.push(refusal);
    // Without the privilege the kernel would refuse every other program in the same way.
    if (refusal.rule === 'dry-run-permission') break;
    const verdict = { program: program.name, ok: false, ...verifierCost(text ?? '') };
    verdicts.push(text === undefined ? verdict : { ...verdict, log: text });
  }
  return { verdicts, findings };
}

function refusalFinding(
  place: string,
  program: Candidate,
  failure: Error,
  log: readonly string[],
  text: string | undefined,
): Finding {
  const { words, options } = describeFailure(failure, `program ${program.name}`);
  const summary = text === undefined ? undefined : verifierSummary(text);
  // Without CAP_PERFMON the verifier forbids operations that could leak a kernel address
  // (kernel/bpf/verifier.c, allow_ptr_leaks).
  const needed = summary === undefined ? capabilitiesToLoad(program.type) : (['CAP_PERFMON'] as const);
  const forbidden =
    summary === undefined
      ? options.code === 'EPERM'
      : options.code === 'EACCES' && /prohibited|leaks addr/.test(summary);
  const missing = forbidden ? missingCapabilities(needed) : [];
  if (forbidden && (missing.length > 0 || summary === undefined)) {
    const lacks = missing.length > 0 ? `the process lacks ${missing.join(', ')}` : words;
    return finding('dry-run-permission', place, lacks, permissionHint(missing));
  }
  if (text !== undefined && summary !== undefined) {
    const { instruction, source } = verifierPlace(text);
    const at = instruction === undefined ? '' : `, instruction ${instruction}`;
    const line = source === undefined ? '' : ` (${source})`;
    return finding('verifier-refused', `${place}${at}${line}`, summary);
  }
  const complaint = log.find((line) => /^libbpf: (map|prog) .*(failed|can't|cannot)/.test(line));
  return finding('dry-run-failed', place, complaint?.replace(/^libbpf: /, '') ?? words);
}
