import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { endChildren, runModule } from '../helpers/child.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { shippedObject } from '../helpers/objects.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

interface Outcome {
  name: string;
  code: string;
  message: string;
  missing: string[];
  hint: string;
}

// Root without some capabilities: what a container gets.
async function without(capabilities: readonly string[], body: string): Promise<Outcome> {
  const bounding = capabilities.map((name) => `-${name}`).join(',');
  const child = runModule(
    `try { ${body}; console.log('{}'); }
     catch ({ name, code, message, missing, hint }) { console.log(JSON.stringify({ name, code, message, missing, hint })); }`,
    { prefix: ['setpriv', `--bounding-set=${bounding}`] },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Outcome;
}

const load = `const object = await ebpf.loadObject(${JSON.stringify(shippedObject('xdp_counter'))})`;
const attach = (via: string) =>
  `${load}; object.program('xdp_counter').attachXdp({ iface: 'lo', mode: 'skb', via: '${via}' })`;

test.each([
  ['CAP_BPF', ['bpf', 'sys_admin'], load],
  ['CAP_NET_ADMIN', ['net_admin', 'sys_admin'], load],
  ['CAP_PERFMON', ['perfmon', 'sys_admin'], load],
  ['CAP_NET_ADMIN', ['net_admin'], attach('netlink')],
])('without %s (dropping %s) the error names exactly it', async (capability, dropped, body) => {
  expect(await without(dropped, body)).toMatchObject({
    name: 'EbpfPermissionError',
    missing: [capability],
    hint: `run as root, or give the process ${capability}`,
  });
});

test('without any capability both are named', async () => {
  const outcome = await without(['all'], load);
  expect(outcome).toMatchObject({
    name: 'EbpfPermissionError',
    code: 'EPERM',
    missing: ['CAP_BPF', 'CAP_NET_ADMIN'],
  });
});

test('without CAP_SYS_ADMIN the main path works: load, attach, read, detach', async () => {
  expect(
    await without(
      ['sys_admin'],
      `${attach('link')}.close(); object.map('packet_counters').get(0); object.close()`,
    ),
  ).toEqual({});
});

test('without CAP_SYS_ADMIN another namespace cannot be entered', async () => {
  const outcome = await without(
    ['sys_admin'],
    `${load}; object.program('xdp_counter').attachXdp({ iface: 'lo', netns: '/proc/self/ns/net' })`,
  );
  expect(outcome).toMatchObject({ name: 'EbpfPermissionError', missing: ['CAP_SYS_ADMIN'] });
});

test('without CAP_SYS_ADMIN an unload is unconfirmed, and says so', async () => {
  const body = `const loader = new ebpf.EbpfLoader(); const warnings = []; loader.on('warning', (w) => warnings.push(w));
    const handle = await loader.loadProgram(${JSON.stringify(shippedObject('xdp_counter'))});
    if ((await loader.unloadProgram(handle)) !== true) throw new Error('not unloaded');
    if (!/unconfirmed/.test(warnings.join())) throw new Error('no warning: ' + warnings)`;
  expect(await without(['sys_admin'], body)).toEqual({});
});
