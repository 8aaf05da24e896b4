// What libbpf prints around the verifier's log, and what the log says.

const VERIFIER_LOG = /^libbpf: prog '(.*?)': -- BEGIN PROG LOAD LOG --\n([\s\S]*?)-- END PROG LOAD LOG --$/;

/** The verifier's logs among libbpf's lines, by program. */
export function verifierLogs(log: readonly string[]): Map<string, string> {
  const logs = new Map<string, string>();
  for (const line of log) {
    const [, program, text] = VERIFIER_LOG.exec(line) ?? [];
    if (program !== undefined && text !== undefined) logs.set(program, text);
  }
  return logs;
}

/** The last line that is not the verifier's bookkeeping: it says what is wrong. */
export function verifierSummary(log: string): string | undefined {
  return log
    .split('\n')
    .filter(
      (line) => line !== '' && !/^(processed \d+ insns|verification time|stack depth|max_states)/.test(line),
    )
    .at(-1);
}

export interface VerifierCost {
  /** Instructions that the verifier walked. */
  processed: number;
  /** The most states that it kept at once. */
  peakStates: number;
  /** Bytes of stack, of the program and of the functions that it calls together. */
  stackDepth: number;
}

/** What the verifier's last lines count; 0 for what they do not have. */
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
 * The instruction and the source line that the verifier was at when it stopped, where the log has them: the latter needs
 * BTF, and its file and number Linux 6.10.
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
