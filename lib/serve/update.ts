// What the page gets, as JSON: nothing is imported here, as it is the page's too.

/** Packets and bytes: each second where it is a rate, since the start where it is a total. */
export type Pair = readonly [packets: number, bytes: number];

/** What is kept of each second, for charts. */
export interface Update {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Rates by interface and protocol: what it received. */
  readonly packets: Readonly<Record<string, Readonly<Record<string, Pair>>>>;
  /** By system call, the calls since the update before: `[slot, calls]`, where slot i is 2^i to 2^(i + 1) ns. */
  readonly latency: Readonly<Record<string, readonly (readonly [slot: number, calls: number])[]>>;
  /** Per second, of all interfaces. */
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

/** How things are, and not kept. */
export interface Now {
  /** Since the start, by interface and protocol. */
  readonly totals: Readonly<Record<string, Readonly<Record<string, Pair>>>>;
  readonly modes: Readonly<Record<string, string>>;
  /** Of each interface of the namespace, per second. */
  readonly interfaces: Readonly<Record<string, { readonly receive: Pair; readonly transmit: Pair }>>;
  /** The fastest, the fastest first. */
  readonly flows: readonly FlowRow[];
  /** `[reason, per second, since the start]` */
  readonly drops: readonly (readonly [string, number, number])[];
  /** `[from → to, per second, since the start]` */
  readonly transitions: readonly (readonly [string, number, number])[];
  readonly health: ComponentRow & { readonly components: readonly ComponentRow[] };
  /** The last ones, the newest first. */
  readonly decisions: readonly DecisionRow[];
}

/** The first event of a stream: who this is, and what was kept. */
export interface Hello {
  readonly host: string;
  readonly version: string;
  /** How many updates are kept. */
  readonly window: number;
  readonly updates: readonly Update[];
  readonly now?: Now;
}
