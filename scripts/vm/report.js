// What the guests' tests came to. report.d.ts has the types. A file that was to run and of which nothing came, a guest that died, and an error outside of
// every test are each a failed test: nothing that is missing looks like nothing to report.

export const MARK = 'vm-report ';

/**
 * The report of one guest: `lines` are those of test/vm/guest-reporter.ts, `status` that of vitest, `failure` why the guest
 * itself failed.
 */
export function kernelReport({ kernel, release, selected, lines, status, failure, seconds }) {
  const files = lines.filter((line) => line.file !== undefined);
  const end = lines.find((line) => line.ended);
  const failed = (name, error) => ({ name, state: 'failed', seconds: 0, error });
  const whole = [];
  if (failure !== undefined) whole.push(failed('the guest', failure));
  for (const error of end?.errors ?? []) whole.push(failed('outside of every test', error));
  for (const file of selected) {
    if (files.some((one) => one.file === file && one.tests.length > 0)) continue;
    const started = lines.some((line) => line.started === file);
    whole.push(failed(file, started ? 'it did not come to its end' : 'it did not run'));
  }
  if (failure === undefined && !end)
    whole.push(failed('vitest', `it did not come to its end: status ${status}`));
  const told = [...files.flatMap(({ tests }) => tests), ...whole].some(({ state }) => state === 'failed');
  if (failure === undefined && status !== 0 && !told) {
    whole.push(failed('vitest', `it ended with status ${status}, and no test failed`));
  }
  return {
    kernel,
    release,
    seconds,
    files: whole.length > 0 ? [...files, { file: '', seconds: 0, tests: whole }] : files,
  };
}

/** What is known of a kernel after a run of some files: theirs is new, and that of others stays, if it was the same kernel. */
export function merge(known, report) {
  if (known?.release !== report.release) return report;
  const told = new Set(['', ...report.files.map(({ file }) => file)]);
  const kept = known.files.filter(({ file }) => !told.has(file));
  return { ...report, files: [...kept, ...report.files].sort((a, b) => (a.file < b.file ? -1 : 1)) };
}

/** Passed, failed and skipped tests of several reports. */
export function sum(reports) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const { state } of reports.flatMap(({ files }) => files.flatMap(({ tests }) => tests))) {
    // A state that we do not know is not a success.
    count[state in count ? state : 'failed']++;
  }
  return count;
}

export const summary = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

/** One line for a file, and what failed in it. */
export function fileLines({ file, seconds, tests }) {
  const count = sum([{ files: [{ tests }] }]);
  const skips = tests.filter(({ state }) => state === 'skipped').map(({ name }) => `      skipped: ${name}`);
  const failures = tests
    .filter(({ state }) => state === 'failed')
    .map(({ name, error }) => `      FAILED: ${name}\n${indent(error ?? 'without an error')}`);
  return [
    `    ${file || 'the guest'}: ${summary(count)}, ${Math.round(seconds)} s`,
    ...failures,
    ...skips,
  ].join('\n');
}

const indent = (text) => text.replace(/^/gm, '        ');

/** Reads marked lines out of a stream; what else is in it goes to `other`. */
export function lineReader(onReport, other) {
  // A character may be cut in two.
  const decoder = new TextDecoder();
  let text = '';
  const one = (line) => {
    if (line.startsWith(MARK)) onReport(JSON.parse(line.slice(MARK.length)));
    else if (line !== '') other(line);
  };
  return {
    push(bytes) {
      text += typeof bytes === 'string' ? bytes : decoder.decode(bytes, { stream: true });
      const parts = text.split('\n');
      text = parts.pop() ?? '';
      for (const line of parts) one(line);
    },
    end() {
      one(text);
      text = '';
    },
  };
}
