// manifest.js '{"libbpf": VERSION, "clang": VERSION, "zig": VERSION, "glibc": VERSION}': writes
// manifest.json, which describes the binaries of prebuilds/, and sbom.cdx.json (CycloneDX 1.5), which lists
// the components in them and in dist/. Neither contains a time, so the same binaries give the same files.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const tools = JSON.parse(process.argv[2]);
const packageOf = (folder) => JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
const own = packageOf('.');
const addonApi = packageOf('node_modules/node-addon-api');
const uplot = packageOf('node_modules/uplot');

const files = Object.fromEntries(
  readdirSync('prebuilds')
    .filter((name) => name.endsWith('.node'))
    .sort()
    .map((name) => {
      const bytes = readFileSync(`prebuilds/${name}`);
      const libc = name.endsWith('-gnu.node') ? { glibc: tools.glibc } : {};
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      return [name, { sha256, bytes: bytes.length, ...libc }];
    }),
);

const madeWith = {
  libbpf: tools.libbpf,
  clang: tools.clang,
  zig: tools.zig,
  'node-addon-api': addonApi.version,
};
write('manifest.json', { version: own.version, napi: 8, madeWith, files });

/** A component, with the files that it is linked or copied into. */
const into = (what) => [{ name: 'node-ebpf:in', value: what }];
const license = (expression) => [{ expression }];
const npm = ({ name, version }) => ({ 'bom-ref': `pkg:npm/${name}@${version}`, name, version });
const GCC = 'GPL-3.0-or-later WITH GCC-exception-3.1';
const LLVM = 'Apache-2.0 WITH LLVM-exception';
const library = (name, version, expression, what) => ({
  ...{ type: 'library', 'bom-ref': `${name}@${version}`, name, version },
  ...{ licenses: license(expression), properties: into(what) },
});

write('sbom.cdx.json', {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: {
    component: {
      ...{ type: 'library', ...npm(own), purl: `pkg:npm/${own.name}@${own.version}` },
      licenses: license(own.license),
    },
  },
  components: [
    library('libbpf', tools.libbpf, 'BSD-2-Clause', 'prebuilds/*.node'),
    {
      ...library('node-addon-api', addonApi.version, 'MIT', 'prebuilds/*.node'),
      purl: `pkg:npm/node-addon-api@${addonApi.version}`,
    },
    library('libstdc++', '10.2.1', GCC, 'prebuilds/*-gnu.node'),
    library('libgcc', '10.2.1', GCC, 'prebuilds/*-gnu.node'),
    ...['libc++', 'libc++abi', 'libunwind', 'compiler-rt'].map((name) =>
      library(name, '16.0', LLVM, 'prebuilds/*-musl.node'),
    ),
    { ...library('uplot', uplot.version, 'MIT', 'dist/page/'), purl: `pkg:npm/uplot@${uplot.version}` },
    ...Object.keys(own.dependencies ?? {}).map((name) => {
      const one = packageOf(`node_modules/${name}`);
      return {
        ...library(name, one.version, one.license, 'node_modules/'),
        purl: `pkg:npm/${name}@${one.version}`,
      };
    }),
  ],
});

function write(name, value) {
  writeFileSync(`prebuilds/${name}`, `${JSON.stringify(value, undefined, 2)}\n`);
}
