import { clearScreenDown, cursorTo, moveCursor } from 'node:readline';
import type { WriteStream } from 'node:tty';
import { stripVTControlCharacters } from 'node:util';
import type { Draw, Drawing, View } from './view.ts';

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';

/** Redraws lines in place on a terminal, and leaves the last ones there. */
export class Screen {
  readonly #stream: WriteStream;
  #drawn: readonly string[] = [];
  #last: Drawing | undefined;

  constructor(stream: WriteStream = process.stdout) {
    this.#stream = stream;
  }

  open(drawing: Drawing): void {
    this.#stream.write(HIDE_CURSOR);
    process.on('exit', this.#showCursor); // runs however the process ends
    process.on('SIGTSTP', this.#suspend);
    process.on('SIGCONT', this.#resume);
    this.#stream.on('resize', this.#redraw);
    this.show(drawing);
  }

  show(drawing: Drawing): void {
    this.#last = drawing;
    this.#redraw();
  }

  close(drawing: Drawing): void {
    this.#last = drawing;
    this.#redraw();
    this.#stream.off('resize', this.#redraw);
    process.off('SIGTSTP', this.#suspend);
    process.off('SIGCONT', this.#resume);
    process.off('exit', this.#showCursor);
    this.#showCursor();
  }

  readonly #redraw = (): void => {
    if (!this.#last) return;
    const { columns, rows } = size(this.#stream);
    this.#stream.cork(); // one write, so that no half-drawn frame is shown
    // If the terminal became narrower, it has wrapped the lines that were drawn.
    const height = this.#drawn.reduce(
      (lines, line) => lines + Math.max(1, Math.ceil(width(line) / columns)),
      0,
    );
    moveCursor(this.#stream, 0, -Math.min(height, rows - 1));
    cursorTo(this.#stream, 0);
    clearScreenDown(this.#stream);
    this.#drawn = this.#last({ columns, rows, stream: this.#stream });
    this.#stream.write(this.#drawn.map((line) => `${line}\n`).join(''));
    this.#stream.uncork();
  };

  readonly #showCursor = (): void => {
    this.#stream.write(SHOW_CURSOR);
  };

  // ^Z: gives the cursor back to the shell; on return, the table is drawn anew below the shell's output.
  readonly #suspend = (): void => {
    this.#showCursor();
    this.#drawn = [];
    process.kill(process.pid, 'SIGSTOP');
  };

  readonly #resume = (): void => {
    this.#stream.write(HIDE_CURSOR);
    this.#redraw();
  };
}

/** For terminals: draws each sample in place of the one before. */
export class ScreenView<S> implements View<S> {
  readonly #draw: Draw<S>;
  readonly #screen = new Screen();

  constructor(draw: Draw<S>) {
    this.#draw = draw;
  }

  open(sample: S): void {
    this.#screen.open(this.#draw(sample, false));
  }

  show(sample: S): void {
    this.#screen.show(this.#draw(sample, false));
  }

  close(sample: S): void {
    this.#screen.close(this.#draw(sample, true));
  }
}

/** Whether standard output is a terminal on which a table can be redrawn. */
export function onTerminal(): boolean {
  return process.stdout.isTTY && process.env.TERM !== 'dumb';
}

/** Cuts a line to `cells` cells; a line that is cut loses its colours. */
export function clip(line: string, cells: number): string {
  const plain = stripVTControlCharacters(line);
  return plain.length > cells ? plain.slice(0, cells) : line;
}

// A pseudo-terminal whose size was never set reports 0 × 0.
function size(stream: WriteStream): { columns: number; rows: number } {
  return { columns: stream.columns || 80, rows: stream.rows || 24 };
}

function width(line: string): number {
  return stripVTControlCharacters(line).length;
}
