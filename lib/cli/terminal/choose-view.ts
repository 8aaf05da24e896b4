import type { Draw, View } from './view.ts';

/** The views of a command, of which only the one that is used is made. */
export interface Views<S> {
  json(): View<S>;
  lines(): View<S>;
  screen(): Promise<Draw<S>>;
}

/** JSON for `--json`, a screen on a terminal, lines in a pipe. */
export async function chooseView<S>(json: true | undefined, views: Views<S>): Promise<View<S>> {
  if (json) return views.json();
  const { onTerminal, ScreenView } = await import('./screen.ts');
  return onTerminal() ? new ScreenView(await views.screen()) : views.lines();
}
