import type { BpfProgram } from '../program/program.ts';
import { FAMILIES } from './families.ts';
import type { Sheet } from './sheet.ts';

/** What the kernel says of loaded programs themselves. @internal */
export function addPrograms(sheet: Sheet, programs: Iterable<BpfProgram>): void {
  for (const program of programs) {
    const type = { program_type: program.type };
    sheet.add(FAMILIES.programsLoaded, type, 1);
    sheet.add(FAMILIES.programsLoadedTotal, type, 1);
    const { runCount, runTimeNs } = program.stats();
    sheet.add(FAMILIES.programRuns, { program: program.name, ...type }, runCount);
    sheet.add(FAMILIES.programSeconds, { program: program.name, ...type }, runTimeNs / 1e9);
  }
}
