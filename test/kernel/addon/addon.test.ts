import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, test } from 'vitest';
import { endChildren, runModule } from '../../helpers/child.ts';

// Which binary is opened, in mount namespaces where the folders of both hold what a test puts there.

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-addon-'));
afterEach(endChildren);
afterAll(() => rmSync(folder, { recursive: true }));

/** What the first call says where `script` has filled build/Release and prebuilds, which are empty. */
async function opened(script: string, body = ''): Promise<object> {
  const mounts = `mkdir -p prebuilds; cp build/Release/node_ebpf.node ${folder};
    for folder in build/Release prebuilds; do mount -t tmpfs tmpfs $folder; done;`;
  const child = runModule(
    `delete process.env.NODE_EBPF_BINARY;
     ${body}
     let said;
     try { said = { kernel: ebpf.possibleCpus() }; } catch ({ name, message, feature, hint }) { said = { name, message, feature, hint }; }
     console.log(JSON.stringify(said));`,
    { prefix: ['unshare', '--mount', 'sh', '-ec', `cd ${root}; ${mounts} ${script}; exec "$@"`, 'sh'] },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout);
}

const copy = (file: string) => `cp ${folder}/node_ebpf.node ${file}`;
const gnu = `prebuilds/linux-${process.arch}-gnu.node`;
const musl = `prebuilds/linux-${process.arch}-musl.node`;

test.each([
  ['the one that was built here', copy('build/Release/node_ebpf.node')],
  ['the one of the package', copy(gnu)],
  [
    'the one of the package, where the one that was built here is broken',
    `echo x >build/Release/node_ebpf.node; ${copy(gnu)}`,
  ],
])('%s', async (_, script) => {
  expect(await opened(script)).toEqual({ kernel: expect.any(Number) });
});

test('on musl, the one for musl alone', async () => {
  const node = join(folder, 'node-of-musl');
  writeFileSync(node, '\x7fELF … /lib/ld-musl-x86_64.so.1\0');
  const body = `process.execPath = ${JSON.stringify(node)};`;
  expect(await opened(copy(musl), body)).toEqual({ kernel: expect.any(Number) });
  expect(await opened(copy(gnu), body)).toMatchObject({
    message: expect.stringMatching(/does not load on linux-\w+-musl .*: the package holds no binary for it$/),
  });
});

test('none: the error says what each said', async () => {
  expect(await opened('true')).toMatchObject({
    name: 'EbpfNotSupportedError',
    feature: 'addon',
    message: expect.stringContaining('the package holds no binary for it'),
    hint: expect.stringContaining('npm run build'),
  });
  expect(await opened(`echo x >build/Release/node_ebpf.node; echo y >${gnu}`)).toMatchObject({
    message: expect.stringMatching(/node_ebpf\.node: .*; .*-gnu\.node: /),
  });
  const other = `Object.defineProperty(process, 'arch', { value: 'riscv64' });`;
  expect(await opened(copy(gnu), other)).toMatchObject({
    message: expect.stringMatching(/linux-riscv64-gnu .*: the package holds no binary for it$/),
  });
});
