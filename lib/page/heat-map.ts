import { clock, count, latency } from '../format/units.ts';
import type { Update } from '../serve/update.ts';
import { between, colour, onTheme } from './colours.ts';
import { element, say } from './element.ts';

/** The latencies of one update: `[slot, calls]`; slot i is 2^i to 2^(i + 1) ns. */
export interface Column {
  readonly time: number;
  readonly slots: readonly (readonly [slot: number, calls: number])[];
}

const HEIGHT = 260;
const LEFT = 60;
const BOTTOM = 22;
/** The smallest range of slots: about half a microsecond to an eighth of a second. */
const LEAST = { from: 9, to: 27 };
const SHADES = 32;
const FONT = '12px system-ui, sans-serif';
/** Marks of the logarithmic scale, in ns. */
const MARKS = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/** Makes the columns of all system calls, or of one. */
export function columnsOf(updates: readonly Update[], syscall: string | undefined): Column[] {
  return updates.map(({ time, latency: calls }) => {
    const sums = new Map<number, number>();
    for (const [name, slots] of Object.entries(calls)) {
      if (syscall !== undefined && name !== syscall) continue;
      for (const [slot, number] of slots) sums.set(slot, (sums.get(slot) ?? 0) + number);
    }
    return { time, slots: [...sums] };
  });
}

/** Returns the `p`th percentile by nearest rank: the midpoint of its slot in ns; NaN without calls. */
export function percentile(columns: readonly Column[], p: number): number {
  const sums = new Map<number, number>();
  for (const { slots } of columns)
    for (const [slot, calls] of slots) sums.set(slot, (sums.get(slot) ?? 0) + calls);
  const sorted = [...sums].sort(([a], [b]) => a - b);
  const rank = Math.ceil((p / 100) * sorted.reduce((sum, [, calls]) => sum + calls, 0));
  let seen = 0;
  for (const [slot, calls] of sorted) {
    seen += calls;
    if (seen >= rank) return 2 ** slot * Math.SQRT2;
  }
  return Number.NaN;
}

/**
 * Draws time across, latency up, and the number of calls as colour. Arrow keys and pointer show the number.
 */
export class HeatMap {
  readonly #where: HTMLElement;
  readonly #canvas = element('canvas');
  readonly #reading = element('span', { class: 'when', role: 'status' });
  #columns: readonly Column[] = [];
  #places = 1;
  #range: { from: number; to: number } = LEAST;
  #most = 1;
  #at: { back: number; slot: number } | undefined;

  constructor(where: HTMLElement, label: string) {
    this.#where = where;
    const figure = element(
      'figure',
      { tabindex: '0', 'aria-label': `${label}: arrow keys move through it` },
      this.#canvas,
    );
    where.append(figure, element('div', { class: 'legend' }, this.#reading));
    new ResizeObserver(() => this.#draw()).observe(where);
    onTheme(() => this.#draw());
    figure.addEventListener('keydown', (event) => this.#move(event));
    figure.addEventListener('blur', () => this.#point(undefined));
    this.#canvas.addEventListener('pointermove', (event) => this.#point(this.#under(event)));
    this.#canvas.addEventListener('pointerleave', () => this.#point(undefined));
  }

  /** @param places the number of columns that fit; the last one is at the right */
  show(columns: readonly Column[], places: number): void {
    this.#columns = columns;
    this.#places = Math.max(places, 2);
    const slots = columns.flatMap(({ slots }) => slots);
    this.#range = {
      from: slots.reduce((least, [slot]) => Math.min(least, slot), LEAST.from),
      to: slots.reduce((most, [slot]) => Math.max(most, slot + 1), LEAST.to),
    };
    this.#most = slots.reduce((most, [, calls]) => Math.max(most, calls), 1);
    this.#draw();
  }

  #size(): { width: number; left: number; cell: number; row: number; height: number } {
    const width = this.#where.clientWidth;
    const height = HEIGHT - BOTTOM;
    const rows = this.#range.to - this.#range.from;
    return { width, left: LEFT, cell: (width - LEFT) / this.#places, row: height / rows, height };
  }

  #draw(): void {
    const { width, left, cell, row, height } = this.#size();
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = HEIGHT * scale;
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${HEIGHT}px`;
    const context = this.#canvas.getContext('2d');
    if (!context) return;
    context.scale(scale, scale);
    context.fillStyle = colour('none');
    context.fillRect(left, 0, width - left, height);
    const shades = Array.from({ length: SHADES }, (_, i) => between('few', 'many', i / (SHADES - 1)));
    const full = Math.log1p(this.#most);
    for (const [i, { slots }] of this.#columns.entries()) {
      const x = this.#x(i, cell);
      for (const [slot, calls] of slots) {
        context.fillStyle = shades[Math.round((Math.log1p(calls) / full) * (SHADES - 1))] ?? '';
        context.fillRect(x, this.#y(slot + 1, row, height), Math.max(cell, 0.75) + 0.25, row + 0.25);
      }
    }
    context.font = FONT;
    context.fillStyle = colour('faint');
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (const ns of MARKS) {
      const y = this.#y(Math.log2(ns), row, height);
      if (y > 6 && y < height - 6) context.fillText(latency(ns).replace(/\.0+ /, ' '), left - 7, y);
    }
    context.textBaseline = 'alphabetic';
    for (const [i, { time }] of this.#columns.entries()) {
      const every = Math.max(Math.ceil(90 / cell), 1);
      if ((this.#columns.length - 1 - i) % every !== 0) continue;
      const x = this.#x(i, cell) + cell;
      if (x > left + 60) context.fillText(clock(new Date(time)), x, HEIGHT - 5);
    }
    if (this.#at) {
      const i = this.#columns.length - 1 - this.#at.back;
      context.strokeStyle = colour('text');
      context.lineWidth = 1.5;
      context.strokeRect(this.#x(i, cell), this.#y(this.#at.slot + 1, row, height), Math.max(cell, 2), row);
    }
    this.#showReading();
  }

  #x(i: number, cell: number): number {
    return LEFT + (this.#places - this.#columns.length + i) * cell;
  }

  #y(slot: number, row: number, height: number): number {
    return height - (slot - this.#range.from) * row;
  }

  #showReading(): void {
    const column = this.#at && this.#columns[this.#columns.length - 1 - this.#at.back];
    let text = '';
    if (this.#at && column) {
      const { slot } = this.#at;
      const calls = column.slots.find(([number]) => number === slot)?.[1] ?? 0;
      const range = `${latency(2 ** slot)} to ${latency(2 ** (slot + 1))}`;
      text = `${clock(new Date(column.time))}, ${range}: ${count(calls)} calls`;
    }
    say(this.#reading, text);
  }

  #under({ offsetX, offsetY }: PointerEvent): { back: number; slot: number } | undefined {
    const { cell, row, height } = this.#size();
    const back = this.#places - 1 - Math.floor((offsetX - LEFT) / cell);
    const slot = this.#range.from + Math.floor((height - offsetY) / row);
    const inside = offsetX > LEFT && offsetY < height && back < this.#columns.length;
    return inside ? { back: Math.max(back, 0), slot } : undefined;
  }

  #move(event: KeyboardEvent): void {
    const [across = 0, up = 0] =
      { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [];
    if (event.key === 'Escape') this.#point(undefined);
    if (across === 0 && up === 0) return;
    event.preventDefault();
    const { back, slot } = this.#at ?? { back: 0, slot: Math.round((this.#range.from + this.#range.to) / 2) };
    this.#point({
      back: Math.min(Math.max(back + across, 0), Math.max(this.#columns.length - 1, 0)),
      slot: Math.min(Math.max(slot + up, this.#range.from), this.#range.to - 1),
    });
  }

  #point(at: { back: number; slot: number } | undefined): void {
    this.#at = at;
    this.#draw();
  }
}
