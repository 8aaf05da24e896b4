import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';

/** A file of the page. */
export interface Asset {
  readonly type: string;
  readonly body: Buffer;
}

const FOLDER = new URL('./page/', import.meta.url);
/** Modules that the page shares with the command line, by the path that they are imported by. */
const SHARED = ['format/units.js'];
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The files of the page by the path of their URL. All are read now: no request names a file. */
export function pageAssets(): ReadonlyMap<string, Asset> {
  const assets = new Map<string, Asset>();
  for (const name of readdirSync(FOLDER)) {
    const type = TYPES[extname(name)];
    if (type === undefined) continue; // source maps
    assets.set(name === 'index.html' ? '/' : `/${name}`, { type, body: readFileSync(new URL(name, FOLDER)) });
  }
  for (const name of SHARED) {
    const body = readFileSync(new URL(`../${name}`, FOLDER));
    assets.set(`/${name}`, { type: TYPES['.js'] ?? '', body });
  }
  return assets;
}
