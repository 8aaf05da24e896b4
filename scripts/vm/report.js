// Reports the results of the guests' tests; report.d.ts has the types. A selected file without results, a
// guest that died, and an error outside of all tests each count as a failed test, so that missing results are
// never taken for success.

export const MARK = 'vm-report ';

/**
 * Makes the report of one guest. `lines` are from test/vm/guest-reporter.ts, `status` is vitest's exit
 * status, and `failure` is the reason if the guest itself failed.
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
    whole.push(failed(file, started ? 'it did not finish' : 'it did not run'));
  }
  if (failure === undefined && !end) whole.push(failed('vitest', `it did not finish: status ${status}`));
  const told = [...files.flatMap(({ tests }) => tests), ...whole].some(({ state }) => state === 'failed');
  if (failure === undefined && status !== 0 && !told) {
    whole.push(failed('vitest', `it exited with status ${status}, but no test failed`));
  }
  return {
    kernel,
    release,
    seconds,
    files: whole.length > 0 ? [...files, { file: '', seconds: 0, tests: whole }] : files,
  };
}

/**
 * Merges a run of some files into the known results of a kernel: other files keep their results if the kernel
 * is the same.
 */
export function merge(known, report) {
  if (known?.release !== report.release) return report;
  const told = new Set(['', ...report.files.map(({ file }) => file)]);
  const kept = known.files.filter(({ file }) => !told.has(file));
  return { ...report, files: [...kept, ...report.files].sort((a, b) => (a.file < b.file ? -1 : 1)) };
}

/** Counts the passed, failed and skipped tests of several reports. */
export function sum(reports) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const { state } of reports.flatMap(({ files }) => files.flatMap(({ tests }) => tests))) {
    // An unknown state is not a success.
    count[state in count ? state : 'failed']++;
  }
  return count;
}

export const summary = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

/** Returns a line for a file, and lines for its failed and skipped tests. */
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

/** Reads the marked lines of a stream; passes the others to `other`. */
export function lineReader(onReport, other) {
  // A character may be split over two chunks.
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
