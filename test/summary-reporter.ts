// Says how a run went in one plain line, the very last of its output: .ci/run adds these up. Where scripts/test does, into a file.
import { appendFileSync } from 'node:fs';
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
      const line = `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`;
      const { NODE_EBPF_TEST_SUMMARY: file } = process.env;
      if (file) appendFileSync(file, `${line}\n`);
      else console.log(line);
    });
  }
}

function failedHooks(suite: TestSuite): number {
  return suite.errors().length > 0 ? 1 : 0;
}
