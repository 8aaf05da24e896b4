import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

const ENTRY_POINTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

const builds = [
  { build: 'node-gyp', file: `${root}build/Release/node_ebpf.node`, glibc: [] },
  { build: 'prebuilt', file: `${root}prebuilds/linux-${process.arch}-gnu.node`, glibc: ['2.28'] },
];

beforeAll(() => {
  execFileSync(`${root}scripts/prebuild`, { cwd: root, stdio: 'pipe' });
});

describe.each(builds)('the $build binary', ({ file, glibc }) => {
  it('passes scripts/check-binary', () => {
    const { status, stdout, stderr } = spawnSync(`${root}scripts/check-binary`, [file, ...glibc], {
      encoding: 'utf8',
    });
    expect(status, stdout + stderr).toBe(0);
    expect(stdout).toContain('ok    loads');
  });

  it('exports two symbols', () => {
    const symbols = execFileSync('nm', ['-D', '--defined-only', file], { encoding: 'utf8' });
    expect(
      symbols
        .trim()
        .split('\n')
        .map((line) => line.split(' ').at(-1)),
    ).toEqual(ENTRY_POINTS);
  });

  it('has no libelf and no zlib in it or under it', () => {
    const needed = execFileSync('readelf', ['-dW', file], { encoding: 'utf8' });
    expect(needed).not.toMatch(/libelf|libz|libstdc\+\+|libgcc/);
    const undefinedSymbols = execFileSync('nm', ['-D', '--undefined-only', file], { encoding: 'utf8' });
    expect(undefinedSymbols).not.toMatch(/ (gz|inflate|elf_|gelf_|bpf_|btf_)/);
  });
});

describe('scripts/check-binary', () => {
  it('refuses what needs more than the C library', () => {
    const { status, stdout } = spawnSync(`${root}scripts/check-binary`, [process.execPath, '2.0'], {
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stdout).toMatch(/^FAIL {2}needs only the C library/m);
    expect(stdout).toMatch(/^FAIL {2}exports the two entry points/m);
    expect(stdout).toMatch(/^FAIL {2}runs on glibc 2\.0 and newer/m);
  });
});

describe('prebuilds/manifest.json', () => {
  it('describes the binaries that are there', async () => {
    const { createHash } = await import('node:crypto');
    const manifest = JSON.parse(readFileSync(`${root}prebuilds/manifest.json`, 'utf8')) as {
      version: string;
      napi: number;
      files: Record<string, { sha256: string; bytes: number; glibc?: string }>;
    };
    expect(manifest.napi).toBe(8);
    expect(Object.keys(manifest.files)).toContain(`linux-${process.arch}-gnu.node`);
    for (const [name, { sha256, bytes, glibc }] of Object.entries(manifest.files)) {
      expect(existsSync(`${root}prebuilds/${name}`), name).toBe(true);
      const content = readFileSync(`${root}prebuilds/${name}`);
      expect(content.length).toBe(bytes);
      expect(createHash('sha256').update(content).digest('hex')).toBe(sha256);
      expect(glibc).toBe(name.endsWith('-gnu.node') ? '2.28' : undefined);
    }
  });
});

describe('prebuilds/sbom.cdx.json', () => {
  const text = () => readFileSync(`${root}prebuilds/sbom.cdx.json`, 'utf8');
  const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot5);

  it('is what CycloneDX 1.5 takes, and nothing besides', async () => {
    expect(await validator.validate(text())).toBeNull();
    expect(await validator.validate(text().replace('"specVersion"', '"version_of_spec"'))).not.toBeNull();
  });

  it('names what the binaries and dist/ are made of, with a license each', () => {
    const { components } = JSON.parse(text()) as { components: { name: string; licenses: object[] }[] };
    const names = components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['libbpf', 'node-addon-api', 'libstdc++', 'uplot']));
    expect(components.filter(({ licenses }) => !licenses?.length)).toEqual([]);
  });
});
