import type { NativeLink, NativeMap } from '../addon/binding.ts';
import { describeFailure, EbpfAttachError } from '../core/errors.ts';
import { permissionError } from '../kernel/capabilities.ts';
import { BpfLink } from '../link/link.ts';

// A struct of functions that the kernel calls, such as a TCP congestion control: a map whose value is the
// struct.

/** Registers the struct; `links` closes with its object. @internal */
export function attachStructOps(
  map: { name: string; type: string; native: NativeMap; flags: number },
  links: Set<BpfLink> | undefined,
): BpfLink {
  const target = `map ${map.name}`;
  const what = `attach ${target}`;
  if (map.type !== 'struct_ops') {
    throw new EbpfAttachError(`${what}: it is a ${map.type} map, not struct_ops`, {
      code: 'ERR_EBPF_MAP_TYPE',
      target,
      hint: 'other maps are used by programs, which attach',
    });
  }
  let native: NativeLink;
  try {
    native = map.native.attach();
  } catch (error) {
    throw structOpsFailure(what, target, error);
  }
  try {
    const { type: kind, id } = native.info();
    const link = new BpfLink({
      native,
      kind,
      target,
      owner: id === undefined ? 'map' : 'fd',
      onClose: (closed) => links?.delete(closed),
    });
    links?.add(link);
    return link;
  } catch (error) {
    native.close();
    throw error;
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EEXIST: 'another one of the same name is registered',
  EBUSY: 'it is attached already, or was: load the object again',
  EOPNOTSUPP: 'it came from a pin or an id: attach it in the process that loads it',
};

function structOpsFailure(what: string, target: string, error: unknown) {
  const { words, log, options } = describeFailure(error, target);
  if (options.code === 'EPERM') {
    return permissionError(`${what}: ${words}`, options, ['CAP_BPF', 'CAP_PERFMON', 'CAP_NET_ADMIN']);
  }
  const hint = HINTS[options.code] ?? log.at(-1)?.replace(/^libbpf: /, '');
  return new EbpfAttachError(`${what}: ${words}`, { ...options, target, hint });
}
