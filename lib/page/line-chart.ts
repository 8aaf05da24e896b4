import { clock } from '../format/units.ts';
import { colour, onTheme } from './colours.ts';
import { element, say } from './element.ts';
import uPlot from './uplot.js';

/** A line of a chart. */
export interface Line {
  /** Also the name of its colour in page.css. */
  readonly name: string;
  readonly words: string;
}

const HEIGHT = 250;
const WIDTH = { line: 1.75, grid: 1 };

/** Lines over time, with the values below: of the last update, or of where the pointer or the arrow keys are. */
export class LineChart {
  readonly #plot: uPlot;
  readonly #words: (value: number) => string;
  readonly #values: HTMLElement[];
  readonly #when = element('span', { class: 'when' });
  /** Where the arrow keys are: how many updates before the last. */
  #back: number | undefined;

  /** @param words of a value */
  constructor(where: HTMLElement, label: string, lines: readonly Line[], words: (value: number) => string) {
    this.#words = words;
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
          { ...axis, values: (_, values) => values.map(words), size: 74 },
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
        hooks: { setCursor: [() => this.#tell()] },
      },
      [[], ...lines.map(() => [])],
      figure,
    );
    new ResizeObserver(() => this.#plot.setSize({ width: where.clientWidth, height: HEIGHT })).observe(where);
    onTheme(() => this.#plot.redraw(false));
    figure.addEventListener('keydown', (event) => this.#move(event));
    figure.addEventListener('blur', () => this.#place(undefined));
  }

  /** @param columns times in seconds, then the values of each line; null where there is none */
  show(columns: (number | null)[][]): void {
    // In a batch the new scale is there when it returns, and what was looked at is placed on that.
    this.#plot.batch(() => this.#plot.setData(columns as uPlot.AlignedData));
    if (this.#back !== undefined) this.#place(this.#back);
    this.#tell();
  }

  readonly #legend = ({ name, words }: Line, at: number): HTMLElement => {
    const mark = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    mark.setAttribute('viewBox', '0 0 10 10');
    mark.setAttribute('aria-hidden', 'true');
    const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
    for (const [key, value] of Object.entries({ cx: '5', cy: '5', r: '5' })) dot.setAttribute(key, value);
    dot.style.fill = `var(--${name})`;
    mark.append(dot);
    const button = element('button', { type: 'button', 'aria-pressed': 'true' }, mark, words);
    const value = this.#values[at];
    if (value) button.append(value);
    button.addEventListener('click', () => {
      const show = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(show));
      this.#plot.setSeries(at + 1, { show });
    });
    return button;
  };

  #tell(): void {
    const [times = [], ...lines] = this.#plot.data;
    const { idx } = this.#plot.cursor;
    const at = idx ?? times.length - 1;
    for (const [i, values] of lines.entries()) {
      const value = values[at];
      const where = this.#values[i];
      if (where) say(where, typeof value === 'number' ? this.#words(value) : '–');
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
