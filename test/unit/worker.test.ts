// `npm run test:workers` runs every unit and kernel test in a worker thread. What Node and the library leave to the main
// thread alone is said here; test/kernel/kernel/drop-privileges.test.ts has the main thread's side of it, in processes of its own.
import { isMainThread } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { dropPrivileges } from '../../lib/kernel/drop-privileges.ts';
import { caught } from '../helpers/caught.ts';

test('tests that were to run in a worker do', () => {
  expect(isMainThread).toBe(process.env.NODE_EBPF_TEST_THREADS !== '1');
});

test('a worker changes nothing of the whole process, and is told so', () => {
  const whole = () => [process.getuid?.(), process.getgid?.(), process.getgroups?.(), process.cwd()];
  const before = whole();
  if (isMainThread) {
    process.chdir('/');
    expect(process.cwd()).toBe('/');
    process.chdir(String(before.at(-1)));
  } else {
    const calls = [
      () => process.chdir('/'),
      () => process.setuid?.(65534),
      () => process.setgid?.(65534),
      () => process.setgroups?.([]),
    ];
    for (const call of calls) {
      expect(caught(call)).toMatchObject({ code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
    }
    expect(caught(() => dropPrivileges({ uid: 65534, gid: 65534 }))).toMatchObject({
      name: 'EbpfNotSupportedError',
      feature: 'dropPrivileges in a worker',
    });
  }
  expect(whole()).toEqual(before);
});
