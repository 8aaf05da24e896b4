import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { EbpfNotSupportedError } from '../../lib/core/errors.ts';
import { effectiveCapabilities } from '../../lib/kernel/capabilities.ts';
import { whatIsKept } from '../../lib/kernel/drop-privileges.ts';
import { kernelBefore } from '../../lib/kernel/release.ts';
import { tryCreateLoader } from '../../lib/loader/try-create.ts';
import { runModule } from '../helpers/child.ts';

test.each([
  ['5.10.0-30-amd64', '5.11', true],
  ['5.11.0', '5.11', false],
  ['6.1.0', '5.11', false],
  ['6.9-rc1', '6.9', false],
  ['6.10', '6.9', false],
  ['4.18.0-553.el8', '5.11', true],
])('kernelBefore: is %s before %s? %s', (kernel, version, answer) => {
  expect(kernelBefore(version, kernel)).toBe(answer);
});

it('names capabilities by the bits of the process', () => {
  const mask = BigInt(`0x${/^CapEff:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]}`);
  expect(effectiveCapabilities().includes('CAP_SYS_ADMIN')).toBe(((mask >> 21n) & 1n) === 1n);
  expect(effectiveCapabilities().includes('CAP_BPF')).toBe(((mask >> 39n) & 1n) === 1n);
});

describe('whatIsKept', () => {
  const status = (fields: Record<string, string> = {}) =>
    Object.entries({
      Name: 'node',
      Uid: '7\t7\t7\t7',
      Gid: '8\t8\t8\t8',
      Groups: ' ',
      CapInh: '0000000000000000',
      CapPrm: '0000000000000000',
      CapEff: '0000000000000000',
      ...fields,
    })
      .map(([name, value]) => `${name}:\t${value}\n`)
      .join('');

  it('is nothing where a thread is that user and group alone', () => {
    expect(whatIsKept(status(), 7, 8)).toBeUndefined();
  });

  test.each([
    ['Uid', '7\t7\t0\t7'],
    ['Uid', '0\t0\t0\t0'],
    ['Uid', '77\t77\t77\t77'],
    ['Gid', '8\t8\t8\t0'],
    ['Groups', '0 '],
    ['CapPrm', '0000000000000080'],
    ['CapEff', '000001ffffffffff'],
  ])('%s %s is kept', (name, value) => {
    expect(whatIsKept(status({ [name]: value }), 7, 8)).toBe(`${name} ${value.trim()}`);
  });

  it('takes what it cannot read for kept', () => {
    expect(whatIsKept('Name:\tnode\n', 7, 8)).toBe('Uid nothing');
  });
});

describe('tryCreateLoader', () => {
  async function reason(body: string): Promise<unknown> {
    const child = runModule(`${body}
      const { reason: { name, code, message, feature, hint }, loader } = await ebpf.tryCreateLoader();
      console.log(JSON.stringify({ name, code, message, feature, hint, loader }))`);
    const { stdout, stderr, status } = await child.ended();
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
    return JSON.parse(stdout);
  }

  it('gives the reason on another platform', async () => {
    expect(await reason(`Object.defineProperty(process, 'platform', { value: 'darwin' });`)).toMatchObject({
      name: 'EbpfNotSupportedError',
      feature: 'linux',
      message: 'eBPF needs Linux; this is darwin',
      hint: expect.stringContaining('Linux'),
    });
  });

  it('gives the reason without the addon', async () => {
    expect(await reason(`process.env.NODE_EBPF_BINARY = '/not/there.node';`)).toMatchObject({
      name: 'EbpfNotSupportedError',
      feature: 'addon',
      hint: expect.stringContaining('NODE_EBPF_BINARY'),
    });
  });

  it('throws what is a mistake of the caller', async () => {
    // No EbpfError, no reason.
    await expect(tryCreateLoader(null as never)).rejects.not.toBeInstanceOf(EbpfNotSupportedError);
  });
});
