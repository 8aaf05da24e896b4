import { closeSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EbpfNotSupportedError } from '../core/errors.ts';
import binaries from './binaries.cjs';
import type { NativeBinding } from './binding.ts';

// The one place that opens the addon. Paths are those from the chunks in dist/ (scripts/bundle.js).

const BUILT_HERE = '../build/Release/node_ebpf.node';

let binding: NativeBinding | undefined;

/** The addon, opened at the first use: importing the package works on any platform. */
export function native(): NativeBinding {
  binding ??= open();
  return binding;
}

function open(): NativeBinding {
  if (process.platform !== 'linux') {
    throw new EbpfNotSupportedError(`eBPF needs Linux; this is ${process.platform}`, {
      feature: 'linux',
      hint: 'run it on Linux 5.10 or newer, or in a virtual machine that does',
    });
  }
  const require = createRequire(import.meta.url);
  const named = process.env.NODE_EBPF_BINARY;
  if (named) {
    try {
      return require(named) as NativeBinding;
    } catch (error) {
      const message = `the addon that NODE_EBPF_BINARY names does not load: ${(error as Error).message}`;
      const hint = 'unset NODE_EBPF_BINARY for the binary that comes with the package';
      throw new EbpfNotSupportedError(message, { feature: 'addon', cause: error, hint });
    }
  }

  const platform = `linux-${process.arch}-${usesMusl() ? 'musl' : 'gnu'}`;
  const failures: string[] = [];
  const builtHere = () => require(fileURLToPath(new URL(BUILT_HERE, import.meta.url))) as NativeBinding;
  for (const load of [builtHere, binaries[platform]]) {
    if (load === undefined) continue;
    try {
      return load();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND')
        failures.push((error as Error).message);
    }
  }
  const reason = failures.length > 0 ? failures.join('; ') : 'the package holds no binary for it';
  throw new EbpfNotSupportedError(
    `the addon does not load on ${platform} (Node ${process.version}): ${reason}`,
    {
      feature: 'addon',
      hint: 'in a checkout of node-ebpf, `npm run build` builds it',
    },
  );
}

// By the ELF interpreter in the head of node's own file: process.report would take several milliseconds.
function usesMusl(): boolean {
  const head = Buffer.alloc(4096);
  const fd = openSync(process.execPath, 'r');
  try {
    return head.toString('latin1', 0, readSync(fd, head)).includes('/ld-musl-');
  } finally {
    closeSync(fd);
  }
}
