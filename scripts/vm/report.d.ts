export interface GuestTest {
  name: string;
  state: string;
  seconds: number;
  feature?: string;
  error?: string;
}
export interface GuestFile {
  file: string;
  seconds: number;
  tests: GuestTest[];
}
export interface KernelReport {
  kernel: string;
  release: string;
  seconds: number;
  files: GuestFile[];
}
export interface Count {
  passed: number;
  failed: number;
  skipped: number;
}
export type Line = Partial<GuestFile> & { started?: string; ended?: boolean; errors?: string[] };

export const MARK: string;
export function kernelReport(run: {
  kernel: string;
  release: string;
  selected: readonly string[];
  lines: readonly Line[];
  status?: number | undefined;
  failure?: string | undefined;
  seconds: number;
}): KernelReport;
export function merge(known: KernelReport | undefined, report: KernelReport): KernelReport;
export function sum(reports: readonly { files: readonly { tests: readonly GuestTest[] }[] }[]): Count;
export function summary(count: Count): string;
export function fileLines(file: GuestFile): string;
export function lineReader(
  onReport: (line: Line) => void,
  other: (line: string) => void,
): { push(bytes: Buffer | string): void; end(): void };
