// What the documents point at is there: links, pictures, and every path of this tree that a sentence names.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const documents = ['.', 'deploy', 'docs', 'docs/decisions'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);
const FOLDERS = 'bench|bpf|deploy|docs|examples|lib|native|scripts|test';

/** `lib/cli/map-*.ts` is there where a file fits. */
function isThere(path: string): boolean {
  if (!path.includes('*')) return existsSync(join(root, path));
  const parts = basename(path)
    .split('*')
    .map((part) => part.replaceAll('.', '\\.'));
  const folder = join(root, dirname(path));
  return (
    existsSync(folder) && readdirSync(folder).some((name) => new RegExp(`^${parts.join('.*')}$`).test(name))
  );
}

describe.each(documents)('%s', (document) => {
  const text = readFileSync(join(root, document), 'utf8');

  it('links to what is there', () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"/g)]
      .map(([, link, source]) => link ?? source ?? '')
      .filter((link) => !/^(?:https?:|mailto:|#)/.test(link))
      .map((link) => join(dirname(document), link.replace(/#.*/, '')));
    expect(links.filter((path) => !isThere(path))).toEqual([]);
  });

  it('names paths that are there', () => {
    const named = [...text.matchAll(new RegExp(`(?<![\\w./<-])(?:${FOLDERS})/[\\w./*-]+`, 'g'))]
      .map(([path]) => path.replace(/[./]+$/, ''))
      .filter((path) => path !== 'docs/api'); // made by npm run docs
    expect(named.filter((path) => !isThere(path))).toEqual([]);
  });
});
