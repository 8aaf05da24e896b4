// The JSON that the page receives. Nothing is imported here: the page, which runs in a browser, imports these
// types.

/** Packets and bytes: per second for a rate, since the start for a total. */
export type Pair = readonly [packets: number, bytes: number];

/** The part of an observation that is kept, for charts. */
export interface Update {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Rates of received packets, by interface and protocol. */
  readonly packets: Readonly<Record<string, Readonly<Record<string, Pair>>>>;
  /** Calls since the previous update, by system call: `[slot, calls]`; slot i is 2^i to 2^(i + 1) ns. */
  readonly latency: Readonly<Record<string, readonly (readonly [slot: number, calls: number])[]>>;
  /** Events per second, on all interfaces. */
  readonly network: { readonly drops: number; readonly retransmits: number; readonly opened: number };
}

export interface FlowRow {
  readonly interface: string;
  readonly direction: string;
  readonly protocol: string;
  readonly source: string;
  readonly destination: string;
  readonly rate: Pair;
  readonly total: Pair;
}

export interface ComponentRow {
  readonly component: string;
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly message: string;
}

export interface DecisionRow {
  readonly time: string;
  readonly rule: string;
  readonly verdict: 'raise' | 'clear';
  readonly reason: string;
}

/** The part of an observation that is not kept. */
export interface Now {
  /** Packets received since the start, by interface and protocol. */
  readonly totals: Readonly<Record<string, Readonly<Record<string, Pair>>>>;
  readonly modes: Readonly<Record<string, string>>;
  /** Rates of each interface of the namespace. */
  readonly interfaces: Readonly<Record<string, { readonly receive: Pair; readonly transmit: Pair }>>;
  /** The fastest flows, the fastest first. */
  readonly flows: readonly FlowRow[];
  /** `[reason, per second, since the start]` */
  readonly drops: readonly (readonly [string, number, number])[];
  /** `[from → to, per second, since the start]` */
  readonly transitions: readonly (readonly [string, number, number])[];
  readonly health: ComponentRow & { readonly components: readonly ComponentRow[] };
  /** The last decisions, the newest first. */
  readonly decisions: readonly DecisionRow[];
}

/** The first event of a stream: this server, and the updates that it kept. */
export interface Hello {
  readonly host: string;
  readonly version: string;
  /** The number of updates that are kept. */
  readonly window: number;
  readonly updates: readonly Update[];
  readonly now?: Now;
}
