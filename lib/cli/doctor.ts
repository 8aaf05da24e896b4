import { styleText } from 'node:util';
import type { Command } from 'commander';
import { EbpfError } from '../core/errors.ts';
import type { XdpMode } from '../core/xdp-mode.ts';
import { bytes } from '../format/units.ts';
import type { KernelSupport, Tri } from '../kernel/features.ts';
import { print, printable, printJson } from './terminal/output.ts';

/** The object that `doctor --json` prints. */
export interface Diagnosis extends KernelSupport {
  libbpf: string;
  node: string;
  userNamespace: boolean;
  /** The soft RLIMIT_MEMLOCK in bytes; null if it is unlimited. */
  memlockBytes: number | null;
  /** The sysctl kernel.unprivileged_bpf_disabled; null if it cannot be read. */
  unprivilegedBpfDisabled: number | null;
  /** The helpers that this package's programs call, as `type.helper`. */
  helpers: Record<string, Tri>;
  interfaces: InterfaceXdp[];
}

interface InterfaceXdp {
  name: string;
  ifindex: number;
  up: boolean;
  mode?: XdpMode;
  programId?: number;
  features: readonly string[];
  /** Why the kernel could not be asked. */
  error?: string;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('show which BPF features this process can use, and what to do about missing ones')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Each feature is tried, and nothing is left behind. "unknown" means that this process may not ask: run it as root.

Exit status: 0 whatever it finds, 1 if it cannot run at all (not Linux, or no addon).

Examples:
  $ node-ebpf doctor
  $ sudo node-ebpf doctor --json | jq .features.fentry`,
    )
    .action(async (options: { json?: true }) => {
      const found = await diagnose();
      if (options.json) printJson(found);
      else print(...(await describe(found)));
    });
}

async function diagnose(): Promise<Diagnosis> {
  const { libbpfVersion, probeWithHelpers } = await import('../kernel/features.ts');
  const { inUserNamespace, memlockLimit, unprivilegedBpfDisabled } = await import(
    '../kernel/capabilities.ts'
  );
  const { remedies, ...support } = await probeWithHelpers();
  const memlock = memlockLimit();
  const found = await interfaces();
  return {
    ...support,
    libbpf: libbpfVersion(),
    node: process.version,
    userNamespace: inUserNamespace(),
    memlockBytes: memlock === 'unlimited' ? null : memlock,
    unprivilegedBpfDisabled: unprivilegedBpfDisabled() ?? null,
    interfaces: found.list,
    remedies: found.error === undefined ? remedies : { ...remedies, interfaces: found.error },
  };
}

async function interfaces(): Promise<{ list: InterfaceXdp[]; error?: string }> {
  const { listInterfaces } = await import('../kernel/interfaces.ts');
  const { xdpQuery } = await import('../attach/xdp-query.ts');
  const messageOf = (error: unknown) => {
    if (error instanceof EbpfError) return error.message;
    throw error;
  };
  try {
    const list = listInterfaces(undefined).map(({ name, ifindex, up }) => {
      try {
        return { name, ifindex, up, ...xdpQuery({ iface: ifindex }) };
      } catch (error) {
        return { name, ifindex, up, features: [], error: messageOf(error) };
      }
    });
    return { list };
  } catch (error) {
    return { list: [], error: messageOf(error) };
  }
}

async function describe(found: Diagnosis): Promise<string[]> {
  const { tableLines } = await import('./terminal/table.ts');
  const { kernelBefore } = await import('../kernel/release.ts');
  const system = tableLines(
    [{ head: 'kernel' }, { head: printable(found.kernel) }],
    [
      ['libbpf', `${found.libbpf.replace(/^v/, '')}, Node ${found.node}`],
      ['capabilities', capabilities(found)],
      ['memlock limit', memlock(found, kernelBefore('5.11', found.kernel))],
      ['unprivileged BPF', unprivileged(found.unprivilegedBpfDisabled)],
      ['lockdown', found.lockdown],
      ...(['btf', 'jit', 'bpffs', 'tracefs'] as const).map((name) => [LABELS[name], found[name]]),
    ],
  );
  const attached = tableLines(
    [
      { head: 'interface' },
      { head: 'state' },
      { head: 'XDP program' },
      { head: 'XDP features of the driver' },
    ],
    found.interfaces.map(({ name, up, mode, programId, features, error }) => [
      printable(name),
      up ? 'up' : 'down',
      mode === undefined ? '-' : `${programId} (${mode})`,
      error === undefined ? features.join(', ') || '-' : printable(error),
    ]),
  );
  return [
    ...system,
    '',
    ...verdicts('features', found.features),
    '',
    ...verdicts('program types', found.programTypes),
    '',
    ...verdicts('map types', found.mapTypes),
    '',
    ...verdicts('helpers', found.helpers),
    '',
    ...attached,
    ...remedyLines(found),
  ];
}

const LABELS = { btf: 'BTF', jit: 'JIT', bpffs: 'bpffs', tracefs: 'tracefs' } as const;
const COLOURS = { yes: 'green', no: 'red', unknown: 'yellow' } as const;

function capabilities({ capabilities: held, userNamespace }: Diagnosis): string {
  const of = ['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_PERFMON', 'CAP_SYS_ADMIN', 'CAP_SYS_RESOURCE'];
  const has = of.filter((name) => held.includes(name)).join(', ') || 'none that BPF needs';
  return userNamespace ? `${has}: in a user namespace, where BPF ignores them` : has;
}

function memlock({ memlockBytes }: Diagnosis, counts: boolean): string {
  if (memlockBytes === null) return 'none';
  return `${bytes(memlockBytes)}${counts ? '' : ', not used for maps since Linux 5.11'}`;
}

function unprivileged(sysctl: number | null): string {
  if (sysctl === null) return 'unknown';
  return `${sysctl === 0 ? 'allowed' : 'not allowed'} (kernel.unprivileged_bpf_disabled is ${sysctl})`;
}

/** Makes a line for each answer, with the names that have it. */
function verdicts(title: string, answers: Record<string, Tri>): string[] {
  const lines = (['yes', 'no', 'unknown'] as const).flatMap((answer) => {
    const names = Object.keys(answers).filter((name) => answers[name] === answer);
    if (names.length === 0) return [];
    const word = styleText(COLOURS[answer], answer.padEnd(7), { stream: process.stdout });
    return wrapped(names).map((text, index) => `  ${index === 0 ? word : ' '.repeat(7)}  ${text}`);
  });
  return [styleText('bold', title, { stream: process.stdout }), ...lines];
}

const WIDTH = 100;

function wrapped(names: readonly string[]): string[] {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length > WIDTH) lines.push(name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines.map((line, index) => (index < lines.length - 1 ? `${line},` : line));
}

/** Lists each remedy once, below the names that it is for. */
function remedyLines({ remedies }: Diagnosis): string[] {
  const byRemedy = new Map<string, string[]>();
  for (const [path, remedy] of Object.entries(remedies)) {
    const name = path.slice(path.indexOf('.') + 1);
    byRemedy.set(remedy, [...(byRemedy.get(remedy) ?? []), name]);
  }
  if (byRemedy.size === 0) return [];
  const lines = [...byRemedy].flatMap(([remedy, names]) => [
    `  ${printable(shortened([...new Set(names)]))}`,
    `    ${printable(remedy)}`,
  ]);
  return ['', styleText('bold', 'remedies', { stream: process.stdout }), ...lines];
}

const NAMED = 6;

function shortened(names: readonly string[]): string {
  const more = names.length - NAMED;
  return more > 1 ? `${names.slice(0, NAMED).join(', ')} and ${more} more` : names.join(', ');
}
