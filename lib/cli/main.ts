#!/usr/bin/env node
import { run } from './run.ts';
import { watchStdout } from './terminal/output.ts';

watchStdout();
await run(process.argv.slice(2));
