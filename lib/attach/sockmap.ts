import type { NativeLink } from '../addon/binding.ts';
import { EbpfAttachError, errnoName, isNativeFailure } from '../core/errors.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import type { BpfMap } from '../map/map.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Programs on a map of sockets, which run on the data that its sockets send or receive.

/** Options of attachSockmap(). */
export interface SockmapOptions {
  /**
   * The kernel's name of the attach type: `sk_skb_stream_verdict`, `sk_skb_stream_parser`, `sk_skb_verdict`.
   * Default: the one that the SEC() names. Required for an `sk_skb` program that was opened by pin or id.
   */
  attachType?: string;
}

// The attach type of each SEC() (libbpf.c, section_defs).
const SECTIONS: Readonly<Record<string, string>> = {
  sk_msg: 'sk_msg_verdict',
  'sk_skb/stream_parser': 'sk_skb_stream_parser',
  'sk_skb/stream_verdict': 'sk_skb_stream_verdict',
  'sk_skb/verdict': 'sk_skb_verdict',
};

/** @internal */
export function attachSockmap(program: ProgramRef, map: BpfMap, options: SockmapOptions): Attached {
  const target = `map ${map.name}`;
  const what = `attach ${program.name} to ${target}`;
  requireType(what, program, ['sk_skb', 'sk_msg'], target);
  if (map.type !== 'sockmap' && map.type !== 'sockhash') {
    throw new EbpfAttachError(`${what}: it is a ${map.type} map, not sockmap or sockhash`, {
      code: 'ERR_EBPF_MAP_TYPE',
      target,
    });
  }
  const only = program.type === 'sk_msg' ? 'sk_msg_verdict' : undefined;
  const attachType = options.attachType ?? only ?? SECTIONS[program.section];
  if (attachType === undefined) {
    throw new EbpfAttachError(`${what}: the attach type is unknown`, {
      code: 'ERR_EBPF_NO_TARGET',
      target,
      hint: 'pass attachType: sk_skb_stream_verdict, sk_skb_stream_parser or sk_skb_verdict',
    });
  }
  try {
    return linked(program, map, attachType, target);
  } catch (error) {
    throw attachFailure(what, program.name, { kind: 'sockmap', target }, error, {
      needed: ['CAP_BPF'],
      hints: HINTS,
    });
  }
}

// Kernels before 6.10 have no links for sockmaps.
function linked(program: ProgramRef, map: BpfMap, attachType: string, target: string): Attached {
  let native: NativeLink;
  try {
    native = program.native.attachSockmap(map.native, attachType);
  } catch (error) {
    if (!isNativeFailure(error) || errnoName(error.errno ?? 0) !== 'EINVAL') throw error;
    native = program.native.attachSockmapLinkless(map.native, attachType);
    return { native, target, owner: 'map' };
  }
  return { native, target };
}

const HINTS: Readonly<Record<string, string>> = {
  EBUSY: 'the map has such a program already: detach it first',
  EEXIST: 'the map has such a program already: detach it first',
  EINVAL: 'the program was loaded for another attachType',
};
