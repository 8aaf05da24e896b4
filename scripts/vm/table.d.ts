import type { GuestTest, KernelReport } from './report.js';

export const BEGIN: string;
export const END: string;
export function cell(tests: readonly GuestTest[]): string;
export function table(reports: readonly KernelReport[]): string;
export function writeTable(file: string, reports: readonly KernelReport[]): void;
