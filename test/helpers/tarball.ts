import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Tarball {
  filename: string;
  size: number;
  files: { path: string; mode: number }[];
}

/** What npm would publish of this tree as it is, into a folder. */
export function pack(folder: string): Tarball {
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // npm 11 prints a list, later ones an object by package.
  const [tarball] = Object.values(JSON.parse(packed) as Record<string, Tarball>);
  if (!tarball) throw new Error(`npm pack printed no package: ${packed}`);
  return tarball;
}

/** An application of one package, which is the tarball's. */
export const APP = '{ "name": "app", "private": true, "type": "module" }\n';

export function install(app: string, tarball: string, environment: NodeJS.ProcessEnv = process.env): void {
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  execFileSync('npm', ['install', ...options, tarball], { cwd: app, env: environment, stdio: 'pipe' });
}
