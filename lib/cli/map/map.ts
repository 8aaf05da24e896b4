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
A name that several maps have is an error which lists their ids. An id or a name takes CAP_SYS_ADMIN, a pin CAP_BPF;
the kernel tells the names of fields with CAP_SYS_ADMIN alone.`;

export function addMap(program: Command): void {
  const map = program
    .command('map')
    .description('show the values of one map')
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
    .option('--limit <n>', 'stop after so many keys', wholeNumber({ least: 1 }))
    .option('--per-cpu', "each CPU's value, instead of their sum")
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
A key is an array's index, or its bytes in hexadecimal. A value is its integers by their names, where the map has BTF;
else its bytes, or sums of 64-bit words by their offsets. With --json, a number above 2^53 is text.
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
    await turn(); // where an error of standard output is heard
    if (stdoutLost.aborted) return;
  }
}

function addGet(map: Command): void {
  map
    .command('get')
    .description('print the value of one key')
    .argument('<map>', MAP_ARGUMENT)
    .argument('<key>', 'a number, or its bytes: 0a:00:00:01, 0x0a000001', parseKey)
    .option('--per-cpu', "each CPU's value, instead of their sum")
    .option('--json', 'print one JSON object, or with --per-cpu one per line')
    .addHelpText(
      'after',
      `
A number is for keys of 1, 2, 4 or 8 bytes, in the byte order of this machine; bytes are as they are in memory.
${NAMING}

Exit status: 0 where the key is there, 1 where it is not.

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
  const told = keyWords(map, key);
  if (json) printJson({ key: told, value: null });
  else print(`${printable(map.name || String(map.id))} has no key ${told}`);
}

function addWatch(map: Command): void {
  map
    .command('watch')
    .description('show the values again and again, and how fast they change')
    .argument('<map>', MAP_ARGUMENT)
    .option('--interval <s>', 'seconds from one look to the next', positiveNumber, 1)
    .option('--seconds <n>', 'stop after so many seconds', positiveNumber)
    .option('--fields <names>', 'by their names in BTF or by offset, with commas; default: all', fieldList)
    .option('--per-cpu', "each CPU's values, instead of their sum")
    .option('--json', 'print one JSON object per line, with every row')
    .addHelpText(
      'after',
      `
A terminal gets a table: where there are more rows than lines, those that change fastest. A pipe gets a line for each
row that changed. ^C or SIGTERM ends it. Rates are per second of the time that really passed.
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
    hint: 'this shows maps that have keys: arrays, hashes, tries',
  });
}

function show(lines: readonly RowLine[], json?: true): void {
  if (json) for (const line of lines) printJson(line);
  else print(...lines.map(rowWords));
}

/** `packets,8`: names of BTF, and offsets. @internal */
export function fieldList(text: string): (string | number)[] {
  const fields = text.split(',').map((field) => field.trim());
  if (fields.includes(''))
    throw new InvalidArgumentError('Expected names or offsets with commas between them.');
  return fields.map((field) => (/^\d+$/.test(field) ? Number(field) : field));
}
