import { setImmediate as turn } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { EbpfNotSupportedError } from '../../core/errors.ts';
import type { BpfMap } from '../../map/map.ts';
import { positiveNumber, wholeNumber } from '../terminal/arguments.ts';
import { print, printable, printJson, stdoutLost } from '../terminal/output.ts';
import { type KeyText, keyBytes, parseKey } from './key.ts';
import { MAP_ARGUMENT, openMap } from './name.ts';
import type { RowOptions, WatchOptions } from './options.ts';
import { keyWords, namedFields, RowFormat, type RowLine, rowWords } from './row.ts';

const NAMING = `
If several maps have the name, the command fails and lists their IDs. An ID or a name needs CAP_SYS_ADMIN, a pin
CAP_BPF; the names of fields need CAP_SYS_ADMIN.`;

export function addMap(program: Command): void {
  const map = program
    .command('map')
    .description('show the contents of one map')
    .addHelpText(
      'after',
      `
Examples:
  $ node-ebpf map dump packet_counters
  $ node-ebpf map get /sys/fs/bpf/packet_counters 1
  $ node-ebpf map watch 17 --fields packets,bytes`,
    );
  addDump(map);
  addGet(map);
  addWatch(map);
}

function addDump(map: Command): void {
  map
    .command('dump')
    .description('print every row')
    .argument('<map>', MAP_ARGUMENT)
    .option('--limit <n>', 'stop after this many keys', wholeNumber({ least: 1 }))
    .option('--per-cpu', "show each CPU's value instead of the sum")
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
A key is shown as an array index, or as bytes in hexadecimal. A value is shown as integers with their names if the map
has BTF; otherwise as bytes, or as sums of 64-bit words with their offsets. In JSON, a number above 2^53 is a string.
${NAMING}

Examples:
  $ node-ebpf map dump packet_counters
  $ node-ebpf map dump packet_counters --per-cpu
  $ node-ebpf map dump 17 --limit 10 --json | jq .values.bytes`,
    )
    .action(async (name: string, options: RowOptions & { limit?: number }) => {
      await withMap(name, (opened) => dump(opened, options));
    });
}

async function dump(
  map: BpfMap,
  { limit = Number.POSITIVE_INFINITY, perCpu, json }: RowOptions & { limit?: number },
) {
  requireRows(map);
  const format = new RowFormat(map, await namedFields(map), perCpu === true);
  using scan = map.batch();
  let left = limit;
  for (let rows = scan.next(); rows > 0 && left > 0; rows = scan.next()) {
    const lines: RowLine[] = [];
    for (let row = 0; row < rows && left > 0; row++, left--) {
      const key = scan.keys.subarray(row * scan.keyStride, (row + 1) * scan.keyStride);
      const slot = scan.values.subarray(row * scan.valueStride, (row + 1) * scan.valueStride);
      lines.push(...format.lines(key, slot));
    }
    show(lines, json);
    await turn(); // lets an error of standard output arrive
    if (stdoutLost.aborted) return;
  }
}

function addGet(map: Command): void {
  map
    .command('get')
    .description('print the value of one key')
    .argument('<map>', MAP_ARGUMENT)
    .argument('<key>', 'a number, or bytes such as 0a:00:00:01 or 0x0a000001', parseKey)
    .option('--per-cpu', "show each CPU's value instead of the sum")
    .option('--json', 'print one JSON object; with --per-cpu, one per line')
    .addHelpText(
      'after',
      `
A number is for keys of 1, 2, 4 or 8 bytes in the byte order of this machine; bytes are in memory order.
${NAMING}

Exit status: 0 if the map has the key, 1 if it does not.

Examples:
  $ node-ebpf map get packet_counters 1
  $ node-ebpf map get 17 0a:00:00:01 --json`,
    )
    .action(async (name: string, key: KeyText, options: RowOptions) => {
      await withMap(name, (opened) => get(opened, key, options));
    });
}

async function get(map: BpfMap, text: KeyText, { perCpu, json }: RowOptions): Promise<void> {
  requireRows(map);
  const key = keyBytes(text, map.keySize);
  const format = new RowFormat(map, await namedFields(map), perCpu === true);
  const slot = map.get(key);
  if (slot) return show(format.lines(key, slot), json);
  process.exitCode = 1;
  const name = keyWords(map, key);
  if (json) printJson({ key: name, value: null });
  else print(`${printable(map.name || String(map.id))} has no key ${name}`);
}

function addWatch(map: Command): void {
  map
    .command('watch')
    .description('show the values at an interval, and how fast they change')
    .argument('<map>', MAP_ARGUMENT)
    .option('--interval <s>', 'seconds between samples', positiveNumber, 1)
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .option('--fields <names>', 'comma-separated names in BTF, or offsets; default: all', fieldList)
    .option('--per-cpu', "show each CPU's values instead of the sums")
    .option('--json', 'print one JSON object per line, with every row')
    .addHelpText(
      'after',
      `
A terminal shows a table, of the fastest-changing rows if not all fit. A pipe gets a line for each row that changed.
^C or SIGTERM ends the command. Rates are per second of the time that really passed.
${NAMING}

Examples:
  $ node-ebpf map watch packet_counters
  $ node-ebpf map watch 17 --fields packets,bytes --interval 0.5
  $ node-ebpf map watch /sys/fs/bpf/flows --json | jq '.rows | length'`,
    )
    .action(async (name: string, options: WatchOptions) => {
      const { watchMap } = await import('./watch.ts');
      await withMap(name, (opened) => watchMap(opened, options));
    });
}

async function withMap(name: string, work: (map: BpfMap) => Promise<void>): Promise<void> {
  using map = await openMap(name);
  await work(map);
}

function requireRows({ name, id, type, keySize }: BpfMap): void {
  if (keySize > 0) return;
  throw new EbpfNotSupportedError(`read map ${name || id}: a ${type} map has no keys`, {
    feature: `rows of a ${type} map`,
    hint: 'map dump, get and watch read maps with keys: arrays, hashes and tries',
  });
}

function show(lines: readonly RowLine[], json?: true): void {
  if (json) for (const line of lines) printJson(line);
  else print(...lines.map(rowWords));
}

/** Parses a list of BTF names and offsets, such as `packets,8`. @internal */
export function fieldList(text: string): (string | number)[] {
  const fields = text.split(',').map((field) => field.trim());
  if (fields.includes('')) throw new InvalidArgumentError('Expected names or offsets, separated by commas.');
  return fields.map((field) => (/^\d+$/.test(field) ? Number(field) : field));
}
