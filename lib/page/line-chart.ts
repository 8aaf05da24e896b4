import { clock } from '../format/units.ts';
import { colour, onTheme } from './colours.ts';
import { element, say } from './element.ts';
import uPlot from './uplot.js';

/** A line of a chart. */
export interface Line {
  /** The name of the line, and of its colour in page.css. */
  readonly name: string;
  readonly label: string;
}

const HEIGHT = 250;
const WIDTH = { line: 1.75, grid: 1 };

/**
 * Draws lines over time, with values below: the last ones, or those at the pointer or the arrow keys' place.
 */
export class LineChart {
  readonly #plot: uPlot;
  readonly #format: (value: number) => string;
  readonly #values: HTMLElement[];
  readonly #when = element('span', { class: 'when' });
  /** The place of the arrow keys: the number of updates before the last one. */
  #back: number | undefined;

  /** @param format formats a value */
  constructor(where: HTMLElement, label: string, lines: readonly Line[], format: (value: number) => string) {
    this.#format = format;
    this.#values = lines.map(() => element('span'));
    const figure = element('figure', {
      tabindex: '0',
      'aria-label': `${label}: arrow keys move through time`,
    });
    where.append(figure, element('div', { class: 'legend' }, ...lines.map(this.#legend), this.#when));
    const axis: uPlot.Axis = {
      stroke: () => colour('faint'),
      grid: { stroke: () => colour('line'), width: WIDTH.grid },
      ticks: { stroke: () => colour('line'), width: WIDTH.grid },
      font: '12px system-ui, sans-serif',
    };
    this.#plot = new uPlot(
      {
        width: where.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
        axes: [
          { ...axis, values: (_, times) => times.map((time) => clock(new Date(time * 1000))), space: 90 },
          { ...axis, values: (_, values) => values.map(format), size: 74 },
        ],
        series: [
          {},
          ...lines.map(({ name }) => ({
            label: name,
            width: WIDTH.line,
            points: { show: false },
            spanGaps: false,
            stroke: () => colour(name),
            fill: () => colour(name).replace(/^rgb\((.*)\)$/, 'rgba($1, 0.07)'),
          })),
        ],
        hooks: { setCursor: [() => this.#showValues()] },
      },
      [[], ...lines.map(() => [])],
      figure,
    );
    new ResizeObserver(() => this.#plot.setSize({ width: where.clientWidth, height: HEIGHT })).observe(where);
    onTheme(() => this.#plot.redraw(false));
    figure.addEventListener('keydown', (event) => this.#move(event));
    figure.addEventListener('blur', () => this.#place(undefined));
  }

  /** @param columns times in seconds, then the values of each line; null if there is no value */
  show(columns: (number | null)[][]): void {
    // Once a batch returns, the new scale is set, and the cursor can be placed on it.
    this.#plot.batch(() => this.#plot.setData(columns as uPlot.AlignedData));
    if (this.#back !== undefined) this.#place(this.#back);
    this.#showValues();
  }

  readonly #legend = ({ name, label }: Line, at: number): HTMLElement => {
    const mark = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    mark.setAttribute('viewBox', '0 0 10 10');
    mark.setAttribute('aria-hidden', 'true');
    const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
    for (const [key, value] of Object.entries({ cx: '5', cy: '5', r: '5' })) dot.setAttribute(key, value);
    dot.style.fill = `var(--${name})`;
    mark.append(dot);
    const button = element('button', { type: 'button', 'aria-pressed': 'true' }, mark, label);
    const value = this.#values[at];
    if (value) button.append(value);
    button.addEventListener('click', () => {
      const show = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(show));
      this.#plot.setSeries(at + 1, { show });
    });
    return button;
  };

  #showValues(): void {
    const [times = [], ...lines] = this.#plot.data;
    const { idx } = this.#plot.cursor;
    const at = idx ?? times.length - 1;
    for (const [i, values] of lines.entries()) {
      const value = values[at];
      const where = this.#values[i];
      if (where) say(where, typeof value === 'number' ? this.#format(value) : '–');
    }
    say(this.#when, idx == null || times[at] === undefined ? '' : clock(new Date(times[at] * 1000)));
  }

  #move(event: KeyboardEvent): void {
    const step = { ArrowLeft: 1, ArrowRight: -1, PageUp: 10, PageDown: -10 }[event.key];
    const most = this.#plot.data[0].length - 1;
    if (step !== undefined) this.#place(Math.min(Math.max((this.#back ?? 0) + step, 0), most));
    else if (event.key === 'Home') this.#place(most);
    else if (event.key === 'End') this.#place(0);
    else if (event.key === 'Escape') this.#place(undefined);
    else return;
    event.preventDefault();
  }

  #place(back: number | undefined): void {
    this.#back = back;
    const [times] = this.#plot.data;
    const time = back === undefined ? undefined : times[times.length - 1 - back];
    this.#plot.setCursor({ left: time === undefined ? -10 : this.#plot.valToPos(time, 'x'), top: 10 });
  }
}
