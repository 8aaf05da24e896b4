import { inspectFacts, type ObjectInfo, objectInfo } from './inspect.ts';
import { invalidObject, type SourceBytes } from './source.ts';
import { checkLoadable } from './validate.ts';

/**
 * Inspects an object file that is about to be loaded. Not on the thread pool: the caller could change its
 * bytes between the check and the load, and native examine() passes libbpf's lines to onLog(), which hears
 * them from the load.
 *
 * @throws EbpfValidationError if libbpf must not be given the file
 * @internal
 */
export function checkedInfo(read: SourceBytes): ObjectInfo {
  const facts = inspectFacts(read, false);
  const info = objectInfo(facts, read.bytes.byteLength);
  const findings = checkLoadable(read.place, facts, info);
  if (findings.some((finding) => finding.level === 'error')) throw invalidObject(findings);
  return info;
}
