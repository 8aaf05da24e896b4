import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

function built(path: string): string {
  const file = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  if (!existsSync(file)) throw new Error(`${path} is not built: run scripts/start first`);
  return file;
}

/** The path of a shipped BPF object, by the name of its source in bpf/. */
export function shippedObject(name: string): string {
  return built(`dist/bpf/${name}.bpf.o`);
}

/** The path of a BPF object that only tests use, by the name of its source in test/bpf/. */
export function testObject(name: string): string {
  return built(`build/test-bpf/${name}.bpf.o`);
}
