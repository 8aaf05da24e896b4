// Fetches Debian's kernels, one from each suite, from the mirror that apt is configured for. Nothing is
// installed.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** The suite's default kernel, in the flavour for virtual machines. */
export const KERNELS = [
  { name: '5.10', suite: 'bullseye' },
  { name: '6.1', suite: 'bookworm' },
  { name: '6.12', suite: 'trixie' },
  // The next kernel: 7.x.
  { name: 'sid', suite: 'sid' },
];

/** Debian's names of the architectures. */
const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' };
/** The packages of a kernel: 7.x has its modules and its image in separate packages. */
const PARTS = /^linux-(image|binary|modules|base)-\d/;
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Returns the folder of a kernel with its image and modules. It is fetched the first time and kept in
 * `cache`.
 */
export function kernelFolder(name, cache, architecture = 'x64') {
  const kernel = KERNELS.find((one) => one.name === name);
  if (!kernel) throw new Error(`no kernel ${name}: ${KERNELS.map((one) => one.name).join(', ')}`);
  const folder = join(cache, architecture === 'x64' ? `kernel-${name}` : `kernel-${name}-${architecture}`);
  if (!existsSync(folder)) fetchKernel(kernel, ARCHITECTURES[architecture], cache, folder);
  return folder;
}

/** Returns the paths of the image and of the modules. */
export function partsOf(folder) {
  // Since Debian 13 in usr/; the image of 7.x is beside its modules.
  const base = ['usr/lib/modules', 'lib/modules']
    .map((path) => join(folder, path))
    .find((path) => existsSync(path));
  const [release] = base ? readdirSync(base) : [];
  if (!base || !release) throw new Error(`no kernel in ${folder}`);
  const modules = join(base, release);
  const image = [join(folder, 'boot', `vmlinuz-${release}`), join(modules, 'vmlinuz')].find((path) =>
    existsSync(path),
  );
  if (!image) throw new Error(`no vmlinuz in ${folder}`);
  const config = [join(folder, 'boot', `config-${release}`), join(modules, 'config')].find((path) =>
    existsSync(path),
  );
  if (!config) throw new Error(`no config in ${folder}`);
  return { image, modules, config, release };
}

function fetchKernel({ name, suite }, architecture, cache, folder) {
  const meta = `linux-image-cloud-${architecture}`;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'fetch-'));
  // apt downloads as the user _apt if it can, and warns if it cannot.
  chmodSync(work, 0o755);
  try {
    const tried = [];
    for (const mirror of mirrors()) {
      const apt = aptOf(work, { mirror, suite, architecture });
      try {
        apt('apt-get', 'update', '-q', '--error-on=any');
      } catch (error) {
        tried.push(`${mirror}: ${String(error.stderr).trim()}`);
        continue;
      }
      const packages = apt('apt-cache', 'depends', '--recurse', '--important', meta)
        .split('\n')
        .filter((line) => PARTS.test(line));
      if (packages.length === 0) {
        tried.push(`${mirror}: ${meta} depends on no kernel`);
        continue;
      }
      apt('apt-get', 'download', '-q', ...new Set(packages));
      const tree = join(work, 'tree');
      mkdirSync(tree);
      for (const file of readdirSync(work).filter((file) => file.endsWith('.deb'))) {
        execFileSync('dpkg-deb', ['--extract', join(work, file), tree], { stdio: 'pipe' });
      }
      partsOf(tree);
      // Another run may have been first.
      if (!existsSync(folder)) renameSync(tree, folder);
      return;
    }
    throw new Error(
      `kernel ${name} (Debian's ${suite}) could not be fetched from apt's mirrors:\n${tried.join('\n') || 'apt has none'}`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** No host is named here: the mirrors are those that apt is configured for. */
function mirrors() {
  const targets = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'];
  return new Set(execFileSync('apt-get', targets, { encoding: 'utf8' }).split('\n').filter(Boolean));
}

/** Runs apt with separate lists: the machine's packages and lists do not change. */
function aptOf(work, { mirror, suite, architecture }) {
  const sources = join(work, 'sources.list');
  const signed = existsSync(KEYRING) ? ` signed-by=${KEYRING}` : '';
  writeFileSync(sources, `deb [arch=${architecture}${signed}] ${mirror} ${suite} main\n`);
  writeFileSync(join(work, 'status'), '');
  for (const folder of ['state/lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(work, folder), { recursive: true });
  }
  const options = {
    'Dir::State': join(work, 'state'),
    'Dir::State::status': join(work, 'status'),
    'Dir::Cache': join(work, 'cache'),
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '-',
    'APT::Architecture': architecture,
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
  };
  const settings = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  return (command, ...args) =>
    execFileSync(command, [...settings, ...args], {
      cwd: work,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
}
