import { styleText } from 'node:util';
import { clock, count, duration, plural, rate } from '../../format/units.ts';
import type { BpfMap } from '../../map/map.ts';
import { chooseView } from '../terminal/choose-view.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { endOfRun } from '../terminal/pace.ts';
import { clip } from '../terminal/screen.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { Area, View } from '../terminal/view.ts';
import { watch } from '../terminal/watch.ts';
import { MapMeter, type MapRow, type MapSample } from './meter.ts';
import type { WatchOptions } from './options.ts';
import { keyWords, namedFields, perCpuMap, requirePerCpu } from './row.ts';

/** The map that `map watch` shows. */
export interface WatchedMap {
  id: number;
  name: string;
  type: string;
  /** The names of the numbers in a row. */
  fields: readonly string[];
  perCpu: boolean;
}

// The name of the field if the value is one integer, for which BTF has no name.
const WHOLE = 'value';

export async function watchMap(
  map: BpfMap,
  { interval, seconds, fields, perCpu, json }: WatchOptions,
): Promise<void> {
  const end = endOfRun();
  try {
    if (perCpu) requirePerCpu(map);
    const members = (await namedFields(map))?.map(({ name }) => name);
    const chosen = fields?.map((field) => (field === WHOLE && members?.[0] === '' ? '' : field)) ?? members;
    using reader = map.reader({ ...(chosen ? { fields: chosen } : {}), perCpu: perCpu === true });
    const names = chosen?.map((field) => String(field) || WHOLE) ?? offsets(map, reader.fields);
    const eachCpu = perCpu === true && perCpuMap(map);
    const watched: WatchedMap = {
      id: map.id,
      name: map.name,
      type: map.type,
      fields: names,
      perCpu: eachCpu,
    };
    const meter = new MapMeter(reader, {
      keySize: map.keySize,
      perCpu: eachCpu,
      keyOf: (key: Uint8Array) => keyWords(map, key),
    });
    const view = await chooseView<MapSample>(json, {
      json: () => new JsonView(watched),
      lines: () => new LineView(watched),
      screen: async () => (sample, final) => (area) => mapFrame(watched, sample, final, area),
    });
    await watch({
      view,
      sample: () => meter.sample(),
      intervalMs: interval * 1000,
      seconds,
      signal: end.signal,
    });
  } finally {
    end.forget();
  }
}

// The same offsets as those of wholeValue() in lib/map/fields.ts.
function offsets({ valueSize }: BpfMap, fields: number): string[] {
  if (valueSize < 8) return [WHOLE];
  return Array.from({ length: fields }, (_, i) => String(8 * i));
}

/** For programs: one JSON object per line, with every row. */
class JsonView implements View<MapSample> {
  readonly #map: WatchedMap;

  constructor(map: WatchedMap) {
    this.#map = map;
  }

  open(): void {}

  show({ time, rows }: MapSample): void {
    const { id, name, fields } = this.#map;
    const named = (numbers: readonly number[]) =>
      Object.fromEntries(fields.map((field, i) => [field, numbers[i] ?? 0]));
    printJson({
      time: time.toISOString(),
      map: { id, name },
      rows: rows.map(({ key, cpu, values, rates }) => ({
        key,
        ...(cpu === undefined ? {} : { cpu }),
        values: named(values),
        rates: named(rates),
      })),
    });
  }

  close(): void {}
}

/** For pipes and logs: one line for each row that changed. */
class LineView implements View<MapSample> {
  readonly #map: WatchedMap;

  constructor(map: WatchedMap) {
    this.#map = map;
  }

  open({ rows }: MapSample): void {
    print(`${title(this.#map)}: ${plural(rows.length, 'row')}; rows that change, with rates per second`);
  }

  show({ time, rows }: MapSample): void {
    const { fields } = this.#map;
    print(
      ...rows
        .filter(({ changed }) => changed)
        .map(({ key, cpu, values, rates }) => {
          const numbers = fields.map(
            (field, i) => `${printable(field)}=${values[i]} (${rate(rates[i] ?? 0)}/s)`,
          );
          return `${clock(time)} ${key}${cpu === undefined ? '' : ` cpu ${cpu}`}: ${numbers.join(' ')}`;
        }),
    );
  }

  close({ rows, elapsed }: MapSample): void {
    print(`${plural(rows.length, 'row')} after ${duration(elapsed)}`);
  }
}

// Lines used besides rows: the title, a blank line and the head, a blank line and the last line.
const AROUND = { title: 1, before: 2, after: 2 };

/** Makes the lines of one screen of `map watch`, cut to the size of the terminal. @internal */
export function mapFrame(map: WatchedMap, sample: MapSample, final: boolean, area: Area): string[] {
  const { stream } = area;
  const paint = (format: 'bold' | 'dim', text: string) => styleText(format, text, { stream });
  const most = Math.max(area.rows - 1 - AROUND.title - AROUND.before - AROUND.after, 1);
  const shown = fastest(sample.rows, most);
  const right = (head: string): Column => ({ head, align: 'right' });
  const [head = '', ...body] = tableLines(
    [
      { head: 'key' },
      ...(map.perCpu ? [right('cpu')] : []),
      ...map.fields.flatMap((field) => [right(printable(field)), right('/s')]),
    ],
    shown.map(({ key, cpu, values, rates }) => [
      String(key),
      ...(cpu === undefined ? [] : [String(cpu)]),
      ...map.fields.flatMap((_, i) => [count(values[i] ?? 0), rate(rates[i] ?? 0)]),
    ]),
  );
  const more = sample.rows.length - shown.length;
  const last = [...(more > 0 ? [`and ${plural(more, 'row')} more`] : []), ...(final ? [] : ['^C ends'])];
  const lines = [
    `${paint('bold', title(map))}  ${map.type}  ${duration(sample.elapsed)}`,
    '',
    paint('dim', head),
    ...body,
    ...(last.length > 0 ? ['', paint('dim', last.join('; '))] : []),
  ];
  return lines.slice(0, Math.max(area.rows - 1, 1)).map((line) => clip(line, area.columns - 1));
}

// Keeps the map's order: rows that change places with every sample cannot be read.
function fastest(rows: readonly MapRow[], most: number): readonly MapRow[] {
  if (rows.length <= most) return rows;
  const speed = ({ rates }: MapRow) => rates.reduce((fast, one) => Math.max(fast, Math.abs(one)), 0);
  const kept = new Set(
    rows
      .map((row) => ({ row, speed: speed(row) }))
      .sort((a, b) => b.speed - a.speed)
      .slice(0, most)
      .map(({ row }) => row),
  );
  return rows.filter((row) => kept.has(row));
}

function title({ id, name }: WatchedMap): string {
  return name === '' ? `map ${id}` : `map ${id} "${printable(name)}"`;
}
