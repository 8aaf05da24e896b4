import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

// Vitest ends its processes by a signal, on which Node writes no coverage: it is written here.
afterAll(() => {
  if (process.env.NODE_V8_COVERAGE) takeCoverage();
});
