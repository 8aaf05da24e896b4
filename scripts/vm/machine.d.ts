export function runInGuest(options: {
  kernel: string;
  cache: string;
  command: string[];
  environment: Record<string, string>;
  folder: string;
  seconds: number;
  signal?: AbortSignal;
  out: (bytes: Buffer) => void;
  err: (bytes: Buffer) => void;
  architecture?: 'x64' | 'arm64';
  root?: string;
}): Promise<number>;
