// In a guest: each file's tests as one line of JSON on standard output as soon as it ends, so that a guest that dies has told
// what went well. scripts/vm/report.js reads them.
import type { Reporter, SerializedError, TestModule, TestSuite } from 'vitest/node';

/** What begins a line of ours: tests may write to standard output too. */
const MARK = 'vm-report ';

const say = (line: object): void => {
  process.stdout.write(`${MARK}${JSON.stringify(line)}\n`);
};
const textOf = (errors: readonly { message: string; stack?: string | undefined }[]): string =>
  errors
    .map(({ message, stack }) => (stack?.includes(message) ? stack : `${message}\n${stack ?? ''}`))
    .join('\n');

export default class GuestReporter implements Reporter {
  onTestModuleStart(module: TestModule): void {
    say({ started: module.relativeModuleId });
  }

  onTestModuleEnd(module: TestModule): void {
    const tests = [...module.children.allTests()].map((test) => {
      const { state, errors } = test.result();
      const { feature } = test.meta();
      return {
        name: test.fullName,
        state: state === 'pending' ? 'skipped' : state,
        seconds: (test.diagnostic()?.duration ?? 0) / 1000,
        ...(feature === undefined ? {} : { feature }),
        ...(errors && errors.length > 0 ? { error: textOf(errors) } : {}),
      };
    });
    // A file that did not load and a failed beforeAll leave tests that never ran: each is a failure of its own.
    const broken = [module, ...module.children.allSuites()]
      .filter((part) => part.errors().length > 0)
      .map((part) => ({
        name: part.type === 'module' ? 'the file itself' : `before or after ${(part as TestSuite).fullName}`,
        state: 'failed',
        seconds: 0,
        error: textOf(part.errors()),
      }));
    const { duration, setupDuration, prepareDuration, collectDuration } = module.diagnostic();
    const seconds = (duration + setupDuration + prepareDuration + collectDuration) / 1000;
    say({ file: module.relativeModuleId, seconds, tests: [...tests, ...broken] });
  }

  onTestRunEnd(_modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    say({ ended: true, errors: errors.map((error) => textOf([error])) });
  }
}
