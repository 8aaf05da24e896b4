import { release } from 'node:os';

/** Whether the kernel's release is older than `version`: `kernelBefore('5.11')`. */
export function kernelBefore(version: string, kernel: string = release()): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map(Number.parseFloat);
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}
