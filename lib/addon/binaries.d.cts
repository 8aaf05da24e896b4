import type { NativeBinding } from './binding.ts' with { 'resolution-mode': 'import' };

declare const binaries: Readonly<Record<string, () => NativeBinding>>;
export = binaries;
