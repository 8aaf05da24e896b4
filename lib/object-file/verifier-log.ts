// Finds the verifier's logs in libbpf's messages and reads them.

const VERIFIER_LOG = /^libbpf: prog '(.*?)': -- BEGIN PROG LOAD LOG --\n([\s\S]*?)-- END PROG LOAD LOG --$/;

/** Returns the verifier's logs among libbpf's lines, by program name. */
export function verifierLogs(log: readonly string[]): Map<string, string> {
  const logs = new Map<string, string>();
  for (const line of log) {
    const [, program, text] = VERIFIER_LOG.exec(line) ?? [];
    if (program !== undefined && text !== undefined) logs.set(program, text);
  }
  return logs;
}

/** Returns the last line that is not a statistic: the verifier's reason for refusing the program. */
export function verifierSummary(log: string): string | undefined {
  return log
    .split('\n')
    .filter(
      (line) => line !== '' && !/^(processed \d+ insns|verification time|stack depth|max_states)/.test(line),
    )
    .at(-1);
}

export interface VerifierCost {
  /** Number of instructions that the verifier processed. */
  processed: number;
  /** Largest number of states that it kept at once. */
  peakStates: number;
  /** Bytes of stack used by the program and the functions it calls. */
  stackDepth: number;
}

/** Reads the statistics at the end of the log; a number that is missing is 0. */
export function verifierCost(log: string): VerifierCost {
  const costs = /^processed (\d+) insns .*?peak_states (\d+)/m.exec(log);
  const depths = /^stack depth ([\d+]+)$/m.exec(log)?.[1] ?? '0';
  return {
    processed: Number(costs?.[1] ?? 0),
    peakStates: Number(costs?.[2] ?? 0),
    stackDepth: depths.split('+').reduce((sum, depth) => sum + Number(depth), 0),
  };
}

/**
 * Returns the instruction and source line at which the verifier stopped, if the log has them. The source line
 * needs BTF, and its file name and line number Linux 6.10.
 */
export function verifierPlace(log: string): { instruction?: number; source?: string; code?: string } {
  const place: { instruction?: number; source?: string; code?: string } = {};
  const instruction = [...log.matchAll(/^(\d+): \(/gm)].at(-1)?.[1];
  const [, code, source] = [...log.matchAll(/^; (.*?)(?: @ (\S+:\d+))?$/gm)].at(-1) ?? [];
  if (instruction !== undefined) place.instruction = Number(instruction);
  if (source !== undefined) place.source = source;
  if (code !== undefined) place.code = code;
  return place;
}
