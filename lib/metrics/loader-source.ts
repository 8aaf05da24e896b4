import type { EbpfLoader } from '../loader/loader.ts';
import { addAttached } from './bundled-source.ts';
import { FAMILIES } from './families.ts';
import { addPrograms } from './program-samples.ts';
import type { Sheet } from './sheet.ts';
import type { Source } from './source.ts';

/** What a loader has, by what the kernel says of it. @internal */
export class LoaderSource implements Source {
  readonly name = 'ebpf_loader';
  readonly #loader: EbpfLoader;

  constructor(loader: EbpfLoader) {
    this.#loader = loader;
  }

  look(sheet: Sheet): void {
    const loaded = this.#loader.listLoadedPrograms();
    addPrograms(
      sheet,
      loaded.map(({ program }) => program),
    );
    for (const { type, attachments } of loaded) {
      for (const { iface = '', link } of attachments) addAttached(sheet, iface, type, link);
    }
    for (const { interface: iface, code, count } of this.#loader.getStats().attachErrors) {
      sheet.add(FAMILIES.attachmentErrors, { interface: iface, error_type: code }, count);
    }
  }
}
