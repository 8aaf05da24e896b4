import type { NativeInterface, NativeLink, NativeTcFilter } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import {
  describeFailure,
  EbpfAttachError,
  type EbpfError,
  EbpfNotSupportedError,
  errnoName,
  isNativeFailure,
  withKernelWords,
} from '../core/errors.ts';
import { holderOf, tryQuery } from '../handle/holder.ts';
import { permissionError } from '../kernel/capabilities.ts';
import { findInterface, type NetTarget, requireUp } from '../kernel/interfaces.ts';
import { netnsIdentity } from '../kernel/netns.ts';
import { BpfLink, type LinkInit, requirePersistable } from '../link/link.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { requireType } from './failure.ts';

/** `ingress`: what the interface receives; `egress`: what it sends. */
export type TcDirection = 'ingress' | 'egress';

/** One of the TCX programs on the hook, by the kernel's number for the program or for its link. */
export type TcAnchor =
  | {
      /** As BpfProgram.id has it. */
      programId: number;
    }
  | {
      /** As BpfLink.id has it. */
      linkId: number;
    };

/** Where among the TCX programs of the hook. Without it, last. */
export type TcOrder =
  | 'first'
  | 'last'
  | {
      /** Runs before this one. */
      before: TcAnchor;
    }
  | {
      /** Runs after this one. */
      after: TcAnchor;
    };

/** How a TC program is attached. */
export interface TcOptions {
  /** One link is for one of them. */
  direction: TcDirection;
  /**
   * `tcx` (kernel 6.6): a link, undone when the process ends, however it ends. `clsact`: a filter of that qdisc, undone
   * when the process exits orderly. `auto` (default): clsact where a priority or handle is named, else TCX where the
   * kernel has it. On one hook, TCX programs run before the filters.
   */
  via?: 'auto' | 'tcx' | 'clsact';
  /** clsact: 1 to 65535, the lowest runs first. Default: a free one, after those below 32768. */
  priority?: number;
  /** clsact: tells filters of one priority apart. Default: a free one. */
  handle?: number;
  /** TCX alone. */
  order?: TcOrder;
  /** Set the interface up first. Default false: an interface that is down is an error. */
  bringUp?: boolean;
  /**
   * clsact: with the filter, remove the qdisc too, if we made it and neither of its hooks holds a filter. Default
   * false: a filter that somebody adds at that moment would go with it.
   */
  removeQdisc?: boolean;
  /** clsact: leave the filter there when the process ends. Pin the program, to find it again. */
  persist?: boolean;
}

/** A TC program on an interface's ingress or egress. */
export class TcLink extends BpfLink {
  /** In the namespace that it was attached in. */
  readonly ifindex: number;
  /** As it was asked for. */
  readonly direction: TcDirection;
  /** What `auto` came to. */
  readonly via: 'tcx' | 'clsact';
  /** Of a clsact filter. */
  declare readonly priority?: number;
  /** Of a clsact filter. */
  declare readonly handle?: number;

  /** @internal */
  constructor(init: LinkInit, ifindex: number, direction: TcDirection) {
    super(init);
    this.ifindex = ifindex;
    this.direction = direction;
    this.via = init.owner === 'netlink' ? 'clsact' : 'tcx';
    const { priority, handle } = init.native.info();
    if (priority !== undefined) this.priority = priority;
    if (handle !== undefined) this.handle = handle;
  }
}

const ETH_P_ALL = 3;

// Whose qdisc it is: the links here were attached to one that this env made, by interface.
const onOwnQdisc = new Map<string, Set<TcLink>>();

/** BpfProgram.attachTc(). @internal */
export function attachTc(
  program: ProgramRef,
  options: NetTarget & TcOptions,
  onClose: (link: BpfLink) => void,
): TcLink {
  checkOptions(options);
  const entry = findInterface(options);
  const { direction } = options;
  const what = `attach ${program.name} to ${entry.name} ${direction}`;
  requireType(what, program, ['sched_cls'], entry.name);
  const via = chooseVia(what, entry, options);
  requirePersistable(options.persist === true, via === 'tcx' ? 'fd' : 'netlink');
  requireUp(what, entry, options);
  const request = { program, entry, options, what: `${what} (${via})` };
  return via === 'tcx' ? attachTcx(request, onClose) : attachClsact(request, onClose);
}

interface TcRequest {
  program: ProgramRef;
  entry: NativeInterface;
  options: NetTarget & TcOptions;
  what: string;
}

function checkOptions({ direction, via = 'auto', priority, handle, order }: TcOptions): void {
  if (direction !== 'ingress' && direction !== 'egress') {
    throw new TypeError(`Expected ingress or egress for direction but received ${String(direction)}`);
  }
  if (!['auto', 'tcx', 'clsact'].includes(via)) {
    throw new TypeError(`Expected auto, tcx or clsact for via but received ${String(via)}`);
  }
  checkNumber('priority', priority, 0xffff);
  checkNumber('handle', handle, 0xffff_ffff);
  const numbered = priority !== undefined || handle !== undefined;
  if (numbered && (via === 'tcx' || order !== undefined)) {
    throw new TypeError('priority and handle are for clsact: TCX programs run in the order of `order`');
  }
  if (order !== undefined && via === 'clsact') {
    throw new TypeError('order is for TCX: clsact filters run in the order of `priority`');
  }
  // Here, so that a bad one is refused alike on kernels without TCX.
  position(order);
}

function checkNumber(name: string, value: number | undefined, most: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) return;
  throw new RangeError(`Expected an integer from 1 to ${most} for ${name} but received ${String(value)}`);
}

function chooseVia(what: string, entry: NativeInterface, options: NetTarget & TcOptions): 'tcx' | 'clsact' {
  const { via = 'auto', direction, netns, order, priority, handle } = options;
  if (via === 'clsact' || priority !== undefined || handle !== undefined) return 'clsact';
  if (hasTcx(entry.ifindex, direction, netns)) return 'tcx';
  if (via === 'auto' && order === undefined) return 'clsact';
  throw new EbpfNotSupportedError(`${what}: this kernel has no TCX`, {
    feature: 'tcx',
    minKernel: '6.6',
    hint: 'use via: "clsact", which orders by priority',
  });
}

function hasTcx(ifindex: number, direction: TcDirection, netns: string | number | undefined): boolean {
  try {
    native().tcxPrograms(ifindex, direction, netns);
    return true;
  } catch (error) {
    // EINVAL: the kernel does not know the hook. Anything else, EPERM for one, the attempt itself will say.
    if (isNativeFailure(error)) return errnoName(error.errno ?? 0) !== 'EINVAL';
    throw error;
  }
}

function attachTcx(request: TcRequest, onClose: (link: BpfLink) => void): TcLink {
  const { program, entry, options } = request;
  const { direction, netns } = options;
  const { relation, programId, linkId } = position(options.order);
  let nativeLink: NativeLink;
  try {
    nativeLink = program.native.attachTcx(entry.ifindex, direction, netns, relation, programId, linkId);
  } catch (error) {
    throw tcxFailure(request, error);
  }
  const init = {
    native: nativeLink,
    program,
    kind: 'tcx',
    target: entry.name,
    owner: 'fd',
    onClose,
  } as const;
  const link = new TcLink(init, entry.ifindex, direction);
  return checked(
    request,
    link,
    programsOn(request).some((on) => on.linkId === link.id && on.programId === program.id),
  );
}

function programsOn({ entry, options }: TcRequest): { programId: number; linkId: number }[] {
  return tryQuery(() => native().tcxPrograms(entry.ifindex, options.direction, options.netns)) ?? [];
}

function position(order: TcOrder = 'last'): {
  relation: 'before' | 'after';
  programId?: number | undefined;
  linkId?: number | undefined;
} {
  if (order === 'first') return { relation: 'before' };
  if (order === 'last') return { relation: 'after' };
  const relation = 'before' in order ? 'before' : 'after';
  const anchor = 'before' in order ? order.before : order.after;
  const id = { programId: undefined, linkId: undefined, ...anchor };
  checkNumber(`order.${relation}`, id.programId ?? id.linkId ?? 0, 0xffff_ffff);
  return { relation, ...id };
}

function attachClsact(request: TcRequest, onClose: (link: BpfLink) => void): TcLink {
  const { program, entry, options } = request;
  const { direction, netns, removeQdisc = false, persist = false } = options;
  const { ifindex } = entry;
  const key = `${netnsIdentity(netns)} ${ifindex}`;
  let made = false;
  let nativeLink: NativeLink;
  let own: boolean;
  try {
    made = native().createClsact(ifindex, netns);
    if (!made && direction === 'egress') requireEgress(request, native().tcQdisc(ifindex, netns));
    // While one of ours is on the qdisc that we made, it is still that one.
    own = made || [...(onOwnQdisc.get(key) ?? [])].some((link) => link.state() === 'attached');
    nativeLink = attachFilter(request, own && removeQdisc);
  } catch (error) {
    if (made) removeClsact(ifindex, netns);
    throw isNativeFailure(error) ? clsactFailure(request, error) : error;
  }
  const closed = (link: BpfLink) => {
    const links = onOwnQdisc.get(key);
    if (links?.delete(link as TcLink) && links.size === 0) onOwnQdisc.delete(key);
    onClose(link);
  };
  const init = { native: nativeLink, program, kind: 'clsact', target: entry.name, owner: 'netlink' } as const;
  const link = new TcLink({ ...init, persist, onClose: closed }, ifindex, direction);
  if (own) onOwnQdisc.set(key, (onOwnQdisc.get(key) ?? new Set<TcLink>()).add(link));
  return checked(request, link, tryQuery(() => nativeLink.info())?.programId === program.id);
}

function attachFilter({ program, entry, options }: TcRequest, removeQdisc: boolean): NativeLink {
  const { direction, netns, handle } = options;
  const attach = (priority: number | undefined) =>
    program.native.attachClsact(entry.ifindex, direction, netns, priority, handle, removeQdisc);
  try {
    return attach(options.priority);
  } catch (error) {
    const full = isNativeFailure(error) && NO_PRIORITY.includes(errnoName(error.errno ?? 0));
    if (!full || options.priority !== undefined) throw error;
    return attach(freePriority(native().tcFilters(entry.ifindex, direction, netns)));
  }
}

// The kernel gives out 49152 and then what is before the lowest from 32768 on (net/sched/cls_api.c, tcf_auto_prio): with
// somebody at 32768, ENOSPC; up to Linux 6.1, which finds the one at 32768 instead, EINVAL.
const NO_PRIORITY = ['ENOSPC', 'EINVAL'];

function freePriority(filters: readonly NativeTcFilter[]): number | undefined {
  const taken = new Set(filters.map(({ priority }) => priority));
  for (let priority = 0xc000; priority > 0; priority--) if (!taken.has(priority)) return priority;
  return undefined;
}

// A filter for the egress of an ingress qdisc is taken by the kernel, and put on ingress (net/sched/sch_ingress.c,
// ingress_tcf_block).
function requireEgress({ what, entry }: TcRequest, qdisc: string): void {
  if (qdisc !== 'ingress') return;
  throw new EbpfAttachError(`${what}: an ingress qdisc is in clsact's place, and has no egress`, {
    code: 'EEXIST',
    target: entry.name,
    hint: 'use via: "tcx" (kernel 6.6), or have whoever made that qdisc take clsact',
  });
}

// What was made for an attachment that failed. It stays where somebody uses it already.
function removeClsact(ifindex: number, netns: string | number | undefined): void {
  tryQuery(() => native().removeClsact(ifindex, netns));
}

// Only the kernel's word counts.
function checked(request: TcRequest, link: TcLink, isThere: boolean): TcLink {
  if (isThere) return link;
  link.close();
  throw new EbpfAttachError(
    `${request.what}: the kernel does not report program ${request.program.id} there`,
    {
      code: 'ERR_EBPF_NOT_ATTACHED',
      target: request.entry.name,
    },
  );
}

function tcxFailure(request: TcRequest, error: unknown): EbpfError {
  const { program, entry, options, what } = request;
  const { words, options: failed } = describeFailure(error, `program ${program.name}`);
  const target = entry.name;
  if (failed.code === 'EPERM') return permissionError(`${what}: ${words}`, failed, ['CAP_NET_ADMIN']);
  if (failed.code === 'ENODEV') return new EbpfAttachError(`${what}: ${words}`, { ...failed, target });
  const there = programsOn(request);
  if (failed.code === 'EEXIST') {
    const linkId = there.find((on) => on.programId === program.id)?.linkId;
    const message = `${what}: ${words}: the program is there already`;
    return new EbpfAttachError(message, { ...failed, target, holder: holderOf(program.id, linkId) });
  }
  if (options.order !== undefined) {
    const list = there.map((on) => `program ${on.programId} (link ${on.linkId})`).join(', ') || 'nothing';
    return new EbpfAttachError(`${what}: ${words}`, {
      ...failed,
      target,
      hint: `in order, there is ${list}`,
    });
  }
  return new EbpfAttachError(`${what}: ${words}`, { ...failed, target });
}

function clsactFailure({ program, entry, options, what }: TcRequest, error: unknown): EbpfError {
  const { words, log, options: failed } = describeFailure(error, `program ${program.name}`);
  const target = entry.name;
  const message = `${what}: ${withKernelWords(words, log)}`;
  if (failed.code === 'EPERM') return permissionError(message, failed, ['CAP_NET_ADMIN']);
  if (failed.code !== 'EEXIST' && failed.code !== 'EINVAL')
    return new EbpfAttachError(message, { ...failed, target });
  const filters = tryQuery(() => native().tcFilters(entry.ifindex, options.direction, options.netns));
  const taken = filters?.find((filter) => excludes(filter, options));
  if (!taken) return new EbpfAttachError(message, { ...failed, target });
  // A priority whose filters are of another kind or protocol is EINVAL to the kernel; to the caller it is taken.
  const holder = taken.programId === 0 ? undefined : holderOf(taken.programId);
  const name = holder?.name === undefined ? '' : ` "${holder.name}"`;
  const by = holder ? `program ${holder.programId}${name}` : `a ${taken.kind} filter`;
  const where = `priority ${taken.priority}, handle ${taken.handle}`;
  const errno = failed.code === 'EEXIST' ? failed.errno : undefined;
  return new EbpfAttachError(`${message}: held by ${by} at ${where}`, {
    code: 'EEXIST',
    errno,
    syscall: failed.syscall,
    target,
    holder,
    hint: 'take another priority or handle, or name none: then free ones are taken',
  });
}

function excludes(filter: NativeTcFilter, { priority, handle }: TcOptions): boolean {
  if (filter.priority !== priority || filter.handle === 0) return false;
  return filter.handle === handle || filter.kind !== 'bpf' || filter.protocol !== ETH_P_ALL;
}
