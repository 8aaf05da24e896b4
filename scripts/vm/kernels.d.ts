export function kernelFolder(name: string, cache: string, architecture?: 'x64' | 'arm64'): string;
