import { styleText } from 'node:util';
import { duration } from '../../format/units.ts';
import { type FlowSample, meanSample } from '../../meters/flow-meter.ts';
import { clip } from '../terminal/screen.ts';
import type { Area } from '../terminal/view.ts';
import { classLines, type FlowSubject, flowLines, flowsWords, waysOf } from './view.ts';

// Lines used besides rows: the title, a blank line and a head per table, a blank line and the last line.
const AROUND = { title: 1, table: 2, last: 2 };

/** Makes the lines of one screen of `flows`, cut to the width and height of the terminal. */
export function flowFrame(subject: FlowSubject, sample: FlowSample, final: boolean, area: Area): string[] {
  const { columns, rows, stream } = area;
  const { classes, rates, flows } = final ? meanSample(sample) : sample;
  const paint = (format: 'bold' | 'dim', text: string) => styleText(format, text, { stream });
  const table = ([head, ...body]: readonly string[]) =>
    head === undefined ? [] : ['', paint('dim', head), ...body];
  const high = Math.max(rows - 1, 1);
  const named = Object.keys(classes).length;
  const room = high - AROUND.title - 2 * AROUND.table - AROUND.last - named;
  const shown = flows.slice(0, Math.min(subject.top, Math.max(room, 1)));
  const way = subject.direction === 'both' ? '' : `, ${subject.direction}`;
  const title = `${paint('bold', subject.iface)}  ${subject.via}${way}  ${duration(sample.elapsed)}`;
  const last = final ? flowsWords(sample) : `${flowsWords(sample)}; ^C detaches and ends`;
  return [
    final ? `${title}, detached: means and totals` : title,
    ...table(classLines(final ? classes : rates, waysOf(subject), final ? 'totals' : 'rates')),
    ...table(flowLines(shown)),
    '',
    paint('dim', last),
  ]
    .slice(0, high)
    .map((line) => clip(line, columns - 1)); // a character in the last cell makes some terminals wrap
}
