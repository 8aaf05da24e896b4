/** The size of a terminal in cells, and its stream, which tells whether it has colours. */
export interface Area {
  columns: number;
  rows: number;
  stream: NodeJS.WritableStream;
}

/** Makes the lines of one screen. */
export type Drawing = (area: Area) => readonly string[];

/** One way to show samples: open, then show once per interval, then close with the last one. */
export interface View<S> {
  open(sample: S): void;
  show(sample: S): void;
  close(sample: S): void;
}

/** Draws a sample on a terminal. The final one stays there when the command ends. */
export type Draw<S> = (sample: S, final: boolean) => Drawing;
