// The interface of the addon, which native.ts opens. core/errors.ts describes the errors that native code
// throws.

export interface NativeBinding {
  readonly libbpfVersion: string;
  loadObject(bytes: Uint8Array, name: string, options: NativeLoadOptions): Promise<NativeObject>;
  loadObjectSync(bytes: Uint8Array, name: string, options: NativeLoadOptions): NativeObject;
  /** `log`: also report libbpf's messages to the onLog() listener. */
  inspect(bytes: Uint8Array, log: boolean): NativeInspection;
  examine(bytes: Uint8Array, kernelBtf: string | undefined): Promise<NativeInspection>;
  dryRun(
    bytes: Uint8Array,
    name: string,
    index: number,
  ): Promise<{ failure?: Error; log: string[]; remaining: number }>;
  possibleCpus(): number;
  maps(): NativeMapInfo[];
  mapById(id: number): NativeMap;
  /** The kernel's names of the types, indexed by number. */
  mapTypes(): string[];
  createMap(spec: NativeMapCreation, inner?: NativeMapCreation): NativeMap;
  /**
   * Reads the NativeReader with this number. One function serves all readers, so that V8 can call it from
   * compiled code.
   */
  readCounters(number: number): void;
  /** Looks up the key of the NativeMapAccess with this number, likewise. Undefined if the key exists. */
  lookupBound(number: number): false | undefined;
  detachBuffer(buffer: ArrayBuffer): void;
  programInfo(id: number): NativeProgramInfo;
  programs(): NativeProgramInfo[];
  programById(id: number): NativeProgram;
  programExists(id: number): boolean;
  links(): NativeLinkInfo[];
  linkById(id: number): NativeLink;
  openPin(path: string, name?: string, section?: string): NativePin;
  interfaces(netns?: string | number): NativeInterface[];
  setInterfaceUp(ifindex: number, netns?: string | number): void;
  xdpQuery(ifindex: number, netns?: string | number): NativeXdpState;
  tcxPrograms(
    ifindex: number,
    direction: string,
    netns?: string | number,
  ): { programId: number; linkId: number }[];
  tcFilters(ifindex: number, direction: string, netns?: string | number): NativeTcFilter[];
  tcQdisc(ifindex: number, netns?: string | number): string;
  createClsact(ifindex: number, netns?: string | number): boolean;
  removeClsact(ifindex: number, netns?: string | number): void;
  probe(helpers: readonly number[], kprobePmu: number | undefined): Promise<NativeProbe>;
  /** An enum in the running kernel's BTF; empty if there is none of that name. */
  kernelEnum(name: string): Promise<{ names: string[]; values: number[] }>;
  refusals(): { command: number; map: number };
  lockdown(): string | number;
  describeErrno(errno: number): string;
  dropPrivileges(uid: number, gid: number): void;
  enableStats(): NativeStats;
  /** The offsets in the file of the functions with this name. */
  userSymbol(path: string, name: string): number[];
  userSymbols(path: string): string[];
  /** `provider:name` */
  userProbes(path: string): string[];
  onLog(listener: ((level: string, line: string) => void) | undefined): void;
}

/** The result of each attempt: 0, or a positive errno. */
export interface NativeProbe {
  programTypes: Record<string, number>;
  mapTypes: Record<string, number>;
  helpers: number[];
  jit: number;
  jitedBytes: number;
  tcx: number;
  xdpLink: number;
  batch: number;
  fentry: number;
  kprobe?: number;
  token: number;
  runStats: number;
}

export interface NativeStats {
  close(): void;
}

/** Load options that lib/ has checked against the object: names exist and values fit. */
export interface NativeLoadOptions {
  verifierLog: boolean;
  btf?: string;
  kconfig?: string;
  pinRoot?: string;
  token?: string;
  maps?: { name: string; maxEntries?: number; valueSize?: number; reuse?: NativeMap }[];
  programs?: { name: string; load?: boolean; ifindex?: number; attachTarget?: string }[];
  globals?: { section: string; offset: number; bytes: Uint8Array }[];
}

export type NativePin =
  | { kind: 'map'; handle: NativeMap }
  | { kind: 'program'; handle: NativeProgram }
  | { kind: 'link'; handle: NativeLink };

export interface NativeProgramInfo {
  id: number;
  name: string;
  type: string;
  tag: string;
}

export interface NativeObject {
  programs(): NativeProgram[];
  maps(): NativeMap[];
  log(): string[];
  close(): void;
}

export interface NativeProgram {
  describe(): {
    name: string;
    section: string;
    type: string;
    id: number;
    tag: string;
    fd: number;
    /**
     * Number of instructions that libbpf passed to the kernel. Absent if the program was not loaded by this
     * object.
     */
    instructions?: number;
  };
  stats(): { runCount: number; runTimeNs: number; recursionMisses: number; verifiedInstructions: number };
  run(
    data: Uint8Array | undefined,
    dataOut: Uint8Array | undefined,
    ctx: Uint8Array | undefined,
    repeat: number,
    cpu: number | undefined,
  ): { retval: number; durationNs: number; dataOutSize: number };
  attachXdp(ifindex: number, mode: string, netns: string | number | undefined): NativeLink;
  attachXdpNetlink(
    ifindex: number,
    mode: string,
    netns: string | number | undefined,
    replaceProgramId: number | undefined,
  ): NativeLink;
  adoptXdp(ifindex: number, mode: string, netns: string | number | undefined): NativeLink;
  attachTcx(
    ifindex: number,
    direction: string,
    netns: string | number | undefined,
    relation: 'before' | 'after' | undefined,
    programId: number | undefined,
    linkId: number | undefined,
  ): NativeLink;
  attachClsact(
    ifindex: number,
    direction: string,
    netns: string | number | undefined,
    priority: number | undefined,
    handle: number | undefined,
    removeQdisc: boolean,
  ): NativeLink;
  adoptClsact(
    ifindex: number,
    direction: string,
    netns: string | number | undefined,
    priority: number,
    handle: number,
  ): NativeLink;
  attachCgroup(path: string, attachType: string | undefined): NativeLink;
  attachSocket(fd: number): NativeLink;
  attachKprobe(
    pmu: number,
    returnBit: number | undefined,
    fn: string,
    offset: bigint,
    cookie: bigint | undefined,
  ): NativeLink;
  attachKprobeMulti(functions: readonly string[], ret: boolean, cookies: readonly bigint[]): NativeLink;
  attachUprobe(
    pmu: number,
    returnBit: number | undefined,
    path: string,
    offset: bigint,
    pid: number | undefined,
    cookie: bigint | undefined,
  ): NativeLink;
  attachUsdt(path: string, provider: string, name: string, pid: number | undefined): NativeLink;
  attachPerfEvent(
    type: number,
    config: number,
    frequency: number,
    threads: readonly number[],
    cpus: readonly number[],
    inherit: boolean,
  ): NativeLink;
  attachIterator(map: NativeMap | undefined): NativeLink;
  attachNetns(netns: string | number, attachType: string): NativeLink;
  attachNetfilter(
    pf: number,
    hooknum: number,
    priority: number,
    defrag: boolean,
    netns: string | number | undefined,
  ): NativeLink;
  attachSockmap(map: NativeMap, attachType: string): NativeLink;
  attachSockmapLinkless(map: NativeMap, attachType: string): NativeLink;
  attach(): NativeLink;
  attachTracepoint(tracepoint: number, cookie: bigint | undefined): NativeLink;
  attachRawTracepoint(name: string | undefined): NativeLink;
  pin(path: string): void;
  close(): void;
}

export interface NativeLink {
  info(): NativeLinkInfo;
  update(program: NativeProgram, expected: NativeProgram | undefined): void;
  pin(path: string): void;
  persist(): void;
  detach(): void;
  openIterator(): NativeIterator;
  close(): void;
}

export interface NativeIterator {
  /** The next bytes; undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
  close(): void;
}

/**
 * `programId` is 0 if nothing is attached. Attachments that are not a bpf_link have no `id` and no `target`.
 */
export interface NativeLinkInfo {
  type: string;
  id?: number;
  programId: number;
  target?: string;
  ifindex?: number;
  /** For a link to a cgroup; 0 if the cgroup is gone. */
  cgroupId?: number;
  /** For a link to a network namespace; 0 if the namespace is gone. */
  netnsInode?: number;
  /** For a link to a sockmap and for struct_ops; 0 if it is detached. */
  mapId?: number;
  /** For a clsact filter. */
  priority?: number;
  handle?: number;
}

export interface NativeMap {
  describe(): {
    name: string;
    type: string;
    id: number;
    fd: number;
    keySize: number;
    valueSize: number;
    maxEntries: number;
    flags: number;
    /** Number of values in a slot: 1, or the number of possible CPUs. */
    cpus: number;
    slotSize: number;
  };
  info(): NativeMapInfo;
  pin(path: string): void;
  freeze(): void;
  countKeys(): number;
  members(): NativeMember[];
  memory(): ArrayBuffer;
  bind(key: Uint8Array, value: Uint8Array, lock: boolean): NativeMapAccess;
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flags: number): NativeBatchResult;
  deleteBatch(keys: Uint8Array, count: number): NativeBatchResult;
  hasBatch(): boolean;
  scan(keys: Uint8Array, values: Uint8Array, capacity: number, take: boolean): NativeScan;
  reader(options: NativeReaderOptions): NativeReader;
  /** For a struct_ops map. */
  attach(): NativeLink;
  close(): void;
}

/** Operations on the key and value memory that was passed to bind(). */
export interface NativeMapAccess {
  /** The argument for lookupBound(). */
  readonly number: number;
  update(flags: number): boolean;
  remove(): boolean;
  take(): boolean;
  next(first: boolean): boolean;
}

export interface NativeBatchResult {
  count: number;
  /** The reason why `count` is not larger. */
  failure?: Error;
}

export interface NativeScan {
  via: 'batch' | 'iterate';
  /** Number of rows; 0 at the end, -1 if the capacity is too small for one bucket. */
  next(): number;
  rebind(keys: Uint8Array, values: Uint8Array, capacity: number): void;
  rewind(): void;
}

export interface NativeMember {
  name: string;
  offset: number;
  size: number;
  signed: boolean;
}

export interface NativeReaderOptions {
  via: string;
  /** Triples of offset, size and sign. */
  fields: Uint32Array;
  perCpu: boolean;
  capacity: number;
  keys: Uint8Array;
  values: Float64Array;
  /**
   * Set by each read: whether a value was not exact; the number of rows, or -1 if they exceed the capacity.
   */
  status: Int32Array;
  /**
   * For a snapshot: the program that sums, its output map, and for a hash the bytes before the sums of a row.
   */
  program?: NativeProgram;
  out?: NativeMap;
  keyArea?: number;
}

export interface NativeReader {
  /** The argument for readCounters(). */
  readonly number: number;
  /** Number of rows, or -1 if they exceed the capacity; likewise for readAsync(). */
  readWide(out: BigUint64Array): number;
  readAsync(): Promise<number>;
  sample(options: NativeSamplerOptions): NativeSampler;
  close(): void;
}

export interface NativeSamplerOptions {
  intervalUs: number;
  rows: number;
  times: Float64Array;
  values: Float64Array;
  outTimes: Float64Array;
  outValues: Float64Array;
}

export interface NativeSampler {
  drain(): number;
  missed(): number;
  close(): void;
}

export interface NativeMapCreation {
  typeNumber: number;
  name: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  extra: number;
}

export interface NativeMapInfo {
  name: string;
  type: string;
  id: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  btf: boolean;
  frozen: boolean;
  memoryBytes: number;
}

export interface NativeInterface {
  ifindex: number;
  name: string;
  up: boolean;
  /** The type of the link layer, ARPHRD_*. */
  hardware: number;
}

/** Program ids by mode, 0 if there is none. `features` has the NETDEV_XDP_ACT_* bits. */
export interface NativeXdpState {
  attachMode: number;
  skb: number;
  drv: number;
  hw: number;
  features: number;
}

/**
 * Any filter on the hook. `programId` is 0 if it has no BPF program. `protocol` is an Ethernet type, 3 for
 * all.
 */
export interface NativeTcFilter {
  kind: string;
  priority: number;
  handle: number;
  protocol: number;
  programId: number;
}

export interface NativeRefusal {
  rule: string;
  message: string;
  log: string[];
}

/** The position of an instruction. `instruction` counts from the start of its function. */
export interface NativePlace {
  function: string;
  /** Whether the function is called by programs and is not a program itself. */
  subprogram: boolean;
  section: string;
  instruction: number;
  file?: string;
  line?: number;
}

export interface NativeMapSpec {
  name: string;
  type: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  /** Whether libbpf creates the map: .rodata, .data, .bss, .kconfig. */
  internal: boolean;
  /** The value in the source, before libbpf rounds it. */
  declaredMaxEntries?: number;
  inner?: NativeMapSpec;
}

/** If there are refusals, only the readable parts: none, all except `programs` and `maps`, or all. */
export interface NativeInspection {
  refusals: NativeRefusal[];
  license?: string;
  hasBtf?: boolean;
  coreRelocations?: number;
  /** The lines that libbpf logged while it opened the object. */
  log?: string[];
  programs?: {
    name: string;
    section: string;
    type: string;
    /** Number of instructions that the kernel will get: the program and every function that it calls. */
    instructions: number;
    tooManyFunctions: boolean;
  }[];
  maps?: NativeMapSpec[];
  globals?: NativeGlobal[];
  defects?: { rule: string; value: number; place: NativePlace }[];
  defectsLeftOut?: number;
  /** Calls of GPL-only helpers and of kfuncs. */
  restrictedCalls?: { name: string; kind: 'helper' | 'kfunc'; place: NativePlace }[];
  coreDefects?: {
    rule: string;
    type: string;
    field: string;
    words: string;
    certain: boolean;
    place: NativePlace;
  }[];
  /** Number of relocations that were skipped because resolving them would take too long. */
  coreUnresolved?: number;
  kernelBtfError?: string;
}

/** The inspection of an object that libbpf can open. */
export interface CompleteInspection extends NativeInspection {
  license: string;
  hasBtf: boolean;
  coreRelocations: number;
  programs: NonNullable<NativeInspection['programs']>;
  maps: NativeMapSpec[];
  globals: NativeGlobal[];
}

/** A variable in an object's .data, .rodata or .bss sections: its position and the type of its value. */
export interface NativeGlobal {
  name: string;
  section: string;
  offset: number;
  size: number;
  kind: 'signed' | 'unsigned' | 'boolean' | 'float' | 'bytes';
}
