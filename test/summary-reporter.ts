// Says how a run went in one plain line, the very last of its output: .ci/run adds these up.
import type { Reporter, SerializedError, TestModule, TestSuite } from 'vitest/node';

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      // A file that did not load and a failed beforeAll leave tests that never ran: each is a failure of its own.
      if (module.errors().length > 0) count.failed++;
      for (const suite of module.children.allSuites()) count.failed += failedHooks(suite);
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'pending') count.skipped++;
        else count[state]++;
      }
    }
    // Vitest prints more after this call; at exit nothing follows.
    process.once('exit', () => {
      console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    });
  }
}

function failedHooks(suite: TestSuite): number {
  return suite.errors().length > 0 ? 1 : 0;
}
