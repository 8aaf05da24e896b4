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

/** `ingress`: packets that the interface receives; `egress`: packets that it sends. */
export type TcDirection = 'ingress' | 'egress';

/** One of the TCX programs on the hook, by the id of the program or of its link. */
export type TcAnchor =
  | {
      /** A BpfProgram.id. */
      programId: number;
    }
  | {
      /** A BpfLink.id. */
      linkId: number;
    };

/** The position among the TCX programs of the hook. Default `last`. */
export type TcOrder =
  | 'first'
  | 'last'
  | {
      /** Run before this program. */
      before: TcAnchor;
    }
  | {
      /** Run after this program. */
      after: TcAnchor;
    };

/** Options of attachTc(). */
export interface TcOptions {
  /** The direction. A link has one direction. */
  direction: TcDirection;
  /**
   * `tcx` (kernel 6.6): a link, which detaches when the process ends, even by SIGKILL. `clsact`: a filter of
   * that qdisc, removed only when the process exits normally. `auto` (default): clsact if a priority or
   * handle is given or the kernel has no TCX, otherwise TCX. On one hook, TCX programs run before the
   * filters.
   */
  via?: 'auto' | 'tcx' | 'clsact';
  /** clsact: 1 to 65535, the lowest runs first. Default: a free priority, after those below 32768. */
  priority?: number;
  /** clsact: distinguishes filters of the same priority. Default: a free handle. */
  handle?: number;
  /** TCX: the position among the programs of the hook. */
  order?: TcOrder;
  /** Bring the interface up first. Default false: an interface that is down is an error. */
  bringUp?: boolean;
  /**
   * clsact: remove the qdisc with the filter, if this process made it and neither of its hooks has another
   * filter. Default false: a filter that another process adds at that moment would be removed too.
   */
  removeQdisc?: boolean;
  /** clsact: keep the filter when the process ends. Pin the program to find it again. */
  persist?: boolean;
}

/** A TC program on an interface's ingress or egress. */
export class TcLink extends BpfLink {
  /** The interface's index, in the network namespace in which the program was attached. */
  readonly ifindex: number;
  /** The direction that was requested. */
  readonly direction: TcDirection;
  /** How it is attached: the choice that `auto` made. */
  readonly via: 'tcx' | 'clsact';
  /** The priority of a clsact filter. */
  declare readonly priority?: number;
  /** The handle of a clsact filter. */
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

// By interface, the links on a clsact qdisc that this environment made.
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
    throw new TypeError(
      'priority and handle are for clsact: the position of TCX programs is given by `order`',
    );
  }
  if (order !== undefined && via === 'clsact') {
    throw new TypeError('order is for TCX: the position of clsact filters is given by `priority`');
  }
  // Checked here so that kernels without TCX refuse a bad order too.
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
    hint: 'use via: "clsact", with priority in place of order',
  });
}

function hasTcx(ifindex: number, direction: TcDirection, netns: string | number | undefined): boolean {
  try {
    native().tcxPrograms(ifindex, direction, netns);
    return true;
  } catch (error) {
    // EINVAL: the kernel has no TCX. Any other error, such as EPERM, will come from the attempt itself.
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
    // While a link of ours is attached to a qdisc that we made, it is still the same qdisc.
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

// The kernel assigns 49152, then the priority before the lowest one from 32768 on (net/sched/cls_api.c,
// tcf_auto_prio). If 32768 is taken, that gives ENOSPC; or EINVAL up to Linux 6.1, which finds the filter at
// 32768 instead.
const NO_PRIORITY = ['ENOSPC', 'EINVAL'];

function freePriority(filters: readonly NativeTcFilter[]): number | undefined {
  const taken = new Set(filters.map(({ priority }) => priority));
  for (let priority = 0xc000; priority > 0; priority--) if (!taken.has(priority)) return priority;
  return undefined;
}

// The kernel accepts a filter for the egress of an ingress qdisc, but puts it on ingress
// (net/sched/sch_ingress.c, ingress_tcf_block).
function requireEgress({ what, entry }: TcRequest, qdisc: string): void {
  if (qdisc !== 'ingress') return;
  throw new EbpfAttachError(
    `${what}: the interface has an ingress qdisc instead of clsact, and an ingress qdisc has no egress`,
    {
      code: 'EEXIST',
      target: entry.name,
      hint: 'use via: "tcx" (kernel 6.6), or replace that qdisc by clsact',
    },
  );
}

// Removes the qdisc that was made for a failed attachment, unless it is in use already.
function removeClsact(ifindex: number, netns: string | number | undefined): void {
  tryQuery(() => native().removeClsact(ifindex, netns));
}

// The attachment counts only if the kernel reports it.
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
    const message = `${what}: ${words}: the program is attached there already`;
    return new EbpfAttachError(message, { ...failed, target, holder: holderOf(program.id, linkId) });
  }
  if (options.order !== undefined) {
    const list = there.map((on) => `program ${on.programId} (link ${on.linkId})`).join(', ') || 'nothing';
    return new EbpfAttachError(`${what}: ${words}`, {
      ...failed,
      target,
      hint: `attached, in order: ${list}`,
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
  // The kernel gives EINVAL if the filters of the priority are of another kind or protocol. For the caller it
  // is taken.
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
    hint: 'pass another priority or handle, or neither to get free ones',
  });
}

function excludes(filter: NativeTcFilter, { priority, handle }: TcOptions): boolean {
  if (filter.priority !== priority || filter.handle === 0) return false;
  return filter.handle === handle || filter.kind !== 'bpf' || filter.protocol !== ETH_P_ALL;
}
