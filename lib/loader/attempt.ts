import type { TcOptions } from '../attach/tc.ts';
import { findInterface, type NetTarget } from '../kernel/interfaces.ts';
import { netnsIdentity } from '../kernel/netns.ts';
import { type NegotiatedXdpOptions, negotiateXdp } from '../program/xdp-negotiation.ts';
import { type Attachment, type Hook, type Recorded, recordedAt } from './attachment.ts';
import type { Entry } from './loaded.ts';

type Made = Pick<Attachment, 'link' | 'tried' | 'requestedMode' | 'mode'> & { hook?: string };

/** To attach a program of the loader's somewhere. @internal */
export interface Attempt {
  at: Pick<Recorded, 'hook' | 'iface' | 'ifindex' | 'netns' | 'netnsId'>;
  /** What the loader has there of the program already. */
  existing: Recorded | undefined;
  /** The interface is down, and is to be set up. */
  down: boolean;
  make: () => Made;
}

/** @internal */
export function xdpAttempt(entry: Entry, options: NetTarget & NegotiatedXdpOptions): Attempt {
  return onInterface(entry, 'xdp', options, () => {
    const { link, tried } = negotiateXdp(entry.program, { bringUp: true, ...options }, 'drv');
    return { link, tried, requestedMode: options.mode ?? 'drv', mode: link.mode };
  });
}

/** @internal */
export function tcAttempt(entry: Entry, options: NetTarget & TcOptions): Attempt {
  return onInterface(entry, `tc-${options.direction}`, options, () => ({
    link: entry.program.attachTc({ bringUp: true, ...options }),
    tried: [],
  }));
}

/** Where its SEC() says. @internal */
export function sectionAttempt({ program, attachments }: Entry): Attempt {
  return {
    at: { hook: 'section' },
    existing: attachments.find(({ iface }) => iface === undefined),
    down: false,
    make: () => {
      const link = program.attach();
      return { link, hook: link.kind, tried: [] };
    },
  };
}

function onInterface(
  { attachments }: Entry,
  hook: Hook,
  options: NetTarget & { bringUp?: boolean },
  make: () => Made,
): Attempt {
  const { netns, bringUp } = options;
  const { name: iface, ifindex, up } = findInterface(options);
  const existing = recordedAt(attachments, { ...options, iface: ifindex }).find((one) => one.hook === hook);
  const at = {
    hook,
    iface,
    ifindex,
    netnsId: netnsIdentity(netns),
    ...(netns === undefined ? {} : { netns: String(netns) }),
  };
  return { at, existing, down: !up && bringUp !== false, make };
}
