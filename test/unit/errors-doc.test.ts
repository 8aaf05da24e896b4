import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import * as ebpf from '../../lib/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const text = readFileSync(`${root}docs/errors.md`, 'utf8');

it('docs/errors.md has every code of lib/ and no other, each once', () => {
  const files = readdirSync(`${root}lib`, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const codes = new Set(
    files.flatMap(
      (name) => readFileSync(`${root}lib/${name}`, 'utf8').match(/(?<=')ERR_EBPF_[A-Z_]+(?=')/g) ?? [],
    ),
  );
  const rows = [...text.matchAll(/^\| `(ERR_EBPF_[A-Z_]+)` \|/gm)].map(([, code]) => code);
  expect(rows).toEqual([...codes].sort());
});

it('docs/errors.md has every class of error', () => {
  const classes = Object.entries(ebpf)
    .filter(([, value]) => typeof value === 'function' && value.prototype instanceof ebpf.EbpfError)
    .map(([name]) => name);
  const rows = [...text.matchAll(/^\| `(Ebpf\w+)` \|/gm)].map(([, name]) => name);
  expect(rows.toSorted()).toEqual(classes.sort());
});
