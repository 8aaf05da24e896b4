// The rows of docs/lifecycle.md as tests of the same names.
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Feature, testWith } from './features.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from './kernel.ts';
import { World } from './world.ts';

export type Check = (world: World) => void | Promise<void>;

export interface Row {
  /** `call | when`, in the words of the page. */
  readonly row: string;
  /** What all of its checks take of the kernel. */
  readonly feature?: Feature;
  /** One check, or several by what makes them differ. */
  readonly check: Check | Readonly<Record<string, Check>>;
}

/** A check for each of these. */
export function each<T extends string>(
  names: readonly T[],
  check: (world: World, name: T) => void | Promise<void>,
): Record<string, Check> {
  return Object.fromEntries(names.map((name) => [name, (world) => check(world, name)]));
}

/** The rows of the tables `call | when | result` under a heading of docs/lifecycle.md; an empty call is the one above. */
function documented(heading: string): string[] {
  const page = readFileSync(new URL('../../docs/lifecycle.md', import.meta.url), 'utf8');
  const section = page.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  let call = '';
  return section
    .split('\n\n')
    .filter((block) => block.startsWith('| call | when | result |'))
    .flatMap((table) => table.trim().split('\n').slice(2))
    .map((line) => {
      const [, first = '', when = ''] = line.split('|').map((cell) => cell.trim().replaceAll('`', ''));
      if (first !== '') call = first;
      return `${call} | ${when}`;
    });
}

/** Declares the tests of one section, each in a world of its own. */
export function rows(heading: string, table: readonly Row[]): void {
  let before: Snapshot;
  let world: World | undefined;
  beforeAll(() => {
    before = snapshotIds();
  });
  // Not in the test: one that runs out of time never comes to its own end.
  afterEach(async () => {
    await world?.close();
    world = undefined;
  });
  afterAll(() => assertNothingLeft(before));

  // A check that names TCX takes it; `a kernel without TCX` does not.
  const declare = (name: string, check: Check, takes?: Feature) => {
    const feature = takes ?? (/(?<!without )\btcx\b/i.test(name) ? 'tcx' : undefined);
    (feature ? testWith(feature) : test)(name, () => {
      world = new World();
      return check(world);
    });
  };

  test(`docs/lifecycle.md, ${heading}: a test for each row, and a row for each test`, () => {
    expect(table.map(({ row }) => row)).toEqual(documented(heading));
  });
  for (const { row, check, feature } of table) {
    if (typeof check === 'function') {
      declare(row, check, feature);
      continue;
    }
    describe(row, () => {
      for (const [name, one] of Object.entries(check)) declare(name, one, feature);
    });
  }
}
