// Changes to the document. Whatever comes from the server is inserted as text, never as HTML.

/** Finds the element with this id. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${id}`);
  return element;
}

type Attributes = Readonly<Record<string, string>>;

/** Makes an element. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** Sets text only if it changes, so that screen readers and selections are not disturbed. */
export function say(where: Element, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

export interface Cell {
  readonly text: string;
  readonly class?: string;
}

/** Fills the body of a table, reusing its cells. Without rows, one cell says `none`. */
export function fillTable(
  table: HTMLTableElement,
  rows: readonly (readonly (string | Cell)[])[],
  none: string,
): void {
  const [body] = table.tBodies;
  const columns = table.tHead?.rows[0]?.cells.length ?? 1;
  if (!body) return;
  if (rows.length === 0) {
    if (body.rows.length === 1 && body.textContent === none) return;
    body.replaceChildren(element('tr', {}, element('td', { class: 'none', colspan: `${columns}` }, none)));
    return;
  }
  const shaped = [...body.rows].every(({ cells }) => cells.length === columns);
  if (!shaped) body.replaceChildren();
  while (body.rows.length > rows.length) body.deleteRow(-1);
  for (const [at, row] of rows.entries()) {
    const line = body.rows[at] ?? body.insertRow();
    for (const [i, cell] of row.entries()) {
      const { text, class: name = '' } = typeof cell === 'string' ? { text: cell } : cell;
      const where = line.cells[i] ?? line.insertCell();
      say(where, text);
      if (where.className !== name) where.className = name;
    }
  }
}

/** Makes buttons exclusive: a click presses one, releases the others and calls `chosen`. */
export function choice(
  buttons: Iterable<HTMLButtonElement>,
  chosen: (button: HTMLButtonElement) => void,
): void {
  const all = [...buttons];
  for (const button of all) {
    button.addEventListener('click', () => {
      for (const one of all) one.setAttribute('aria-pressed', String(one === button));
      chosen(button);
    });
  }
}

/** Sets the options of a list, and returns the selected one. The selection stays if it is still an option. */
export function fillSelect(select: HTMLSelectElement, names: readonly string[]): string {
  const there = [...select.options].map(({ value }) => value);
  if (there.join('\n') !== names.join('\n')) {
    const { value } = select;
    select.replaceChildren(...names.map((name) => element('option', {}, name)));
    if (names.includes(value)) select.value = value;
  }
  return select.value;
}
