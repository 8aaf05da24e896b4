import type { EbpfLoader } from '../loader/loader.ts';
import type { GuardRule, RateLimit, XdpGuard } from '../programs/xdp-guard.ts';

/** What an action is told. */
export interface ActionContext {
  /** The rule's name. */
  rule: string;
  /** The one that the rule judges: `net.rx`. */
  signal: string;
  /** The value that led to it: of a rate, per second. NaN from ControlLoop.lift(). */
  value: number;
}

/** Something that a rule does when it is raised, and takes back when it is cleared. */
export interface Action {
  /** For the log: `block 203.0.113.0/24`. */
  readonly name: string;
  /** Does it. What it throws is the outcome `failed`, and the rule is raised all the same. */
  apply(context: ActionContext): void | Promise<void>;
  /** Takes it back. Without one what was applied stays. */
  lift?(context: ActionContext): void | Promise<void>;
  /** Whether it is in force, asked of what knows: the kernel, not the action. */
  verify?(): boolean | Promise<boolean>;
}

/** Calls functions of the application. */
export function callback(
  name: string,
  apply: Action['apply'],
  more: Pick<Action, 'lift' | 'verify'> = {},
): Action {
  return { name, apply, ...more };
}

/**
 * Has a guard drop everything from sources, or what of it is above a rate.
 *
 * @example
 * guardAgainst(guard, ['203.0.113.0/24'], { packetsPerSecond: 1000 });
 */
export function guardAgainst(guard: XdpGuard, prefixes: readonly string[], limit?: RateLimit): Action {
  const set = () => prefixes.map((prefix) => (limit ? guard.limit(prefix, limit) : guard.block(prefix)));
  let made: string[] = [];
  return {
    name: `${limit ? `limit to ${limit.packetsPerSecond}/s` : 'block'} ${prefixes.join(', ')}`,
    apply() {
      made = set();
    },
    lift() {
      for (const prefix of made.splice(0)) guard.lift(prefix);
    },
    verify() {
      const there = new Set(guard.rules().map(({ prefix }: GuardRule) => prefix));
      return guard.link.state() === 'attached' && made.every((prefix) => there.has(prefix));
    },
  };
}

/** Attaches a program of a loader, and detaches it again. */
export function attachProgram(loader: EbpfLoader, handle: string, iface: string): Action {
  return {
    name: `attach ${handle} to ${iface}`,
    async apply() {
      await loader.attachToInterface(handle, iface);
    },
    async lift() {
      await loader.detachFromInterface(handle, iface);
    },
    verify: () => isAttached(loader, handle, iface),
  };
}

/** Detaches a program of a loader, and attaches it again. */
export function detachProgram(loader: EbpfLoader, handle: string, iface: string): Action {
  return {
    name: `detach ${handle} from ${iface}`,
    async apply() {
      await loader.detachFromInterface(handle, iface);
    },
    async lift() {
      await loader.attachToInterface(handle, iface);
    },
    verify: () => !isAttached(loader, handle, iface),
  };
}

function isAttached(loader: EbpfLoader, handle: string, iface: string): boolean {
  const attachments = loader.getProgram(handle)?.attachments ?? [];
  return attachments.some(
    (one) => one.iface === iface && !one.link.closed && one.link.state() === 'attached',
  );
}
