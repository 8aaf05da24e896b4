import { EbpfError } from '../core/errors.ts';
import type { BpfMap } from '../map/map.ts';
import type { Recorded } from './attachment.ts';
import { type Entry, placeOf } from './loaded.ts';

/**
 * `degraded`: something is wrong, or could not be asked. `unhealthy`: nothing is attached that should be, the loader is
 * closed, or eBPF is off.
 */
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy';

/** A status as a number, for metrics and control rules. @internal */
export const HEALTH_VALUE = { healthy: 1, degraded: 0.5, unhealthy: 0 } as const;

/** The health of one attachment, map or program, or of the whole. */
export interface ComponentHealth {
  /** As the kernel's answer has it; an answer that could not be had is `degraded`. */
  status: HealthStatus;
  /** `ebpf_loader`, `attachment:<handle>:<place>:<hook>`, `map:<handle>:<name>`. */
  component: string;
  /** One sentence for people. */
  message: string;
  /** When the kernel was asked, in ISO 8601. */
  timestamp: string;
  /** How long asking took. */
  durationMs: number;
  /**
   * What the status comes from, such as `programId` and `state`, or `entries` and `maxEntries`; `code` of an error that
   * kept it from being asked.
   */
  details: Record<string, unknown>;
}

/** The health of the whole, with that of each part. Its `message` tells of the first part that is not healthy. */
export interface HealthReport extends ComponentHealth {
  /** The loader's attachments, its maps, and then the bundled programs that an EbpfMetrics has. */
  components: ComponentHealth[];
}

/** EbpfLoader.health(); `counted` has the entries of maps that somebody has just read, by id. @internal */
export function healthOf(
  entries: readonly Entry[],
  closed: boolean,
  counted: ReadonlyMap<number, number> = new Map(),
): HealthReport {
  const attachments: ComponentHealth[] = [];
  const maps: ComponentHealth[] = [];
  const report = component('ebpf_loader', () => {
    const seen = new Set<number>();
    for (const entry of entries) {
      attachments.push(
        ...entry.attachments.map((attachment) => attachmentHealth(entry, attachment)),
        ...(entry.lost ?? []).map(({ hook, words }) =>
          component(`attachment:${entry.handle}:${hook}`, () => ({
            status: 'degraded',
            message: words,
            details: { programId: entry.program.id, hook },
          })),
        ),
      );
      for (const map of Object.values(entry.object.maps)) {
        if (seen.has(map.id)) continue; // programs of one file share it
        seen.add(map.id);
        maps.push(mapHealth(entry, map, counted));
      }
    }
    const bad = [...attachments, ...maps].filter(({ status }) => status !== 'healthy');
    const details = { programs: entries.length, attachments: attachments.length, maps: maps.length };
    if (closed) return { status: 'unhealthy', message: 'the loader is closed', details };
    // Nothing is attached that should be.
    if (attachments.length > 0 && attachments.every(({ status }) => status !== 'healthy')) {
      return { status: 'unhealthy', message: `nothing is attached: ${attachments[0]?.message}`, details };
    }
    const [first] = bad;
    if (!first) return { status: 'healthy', message: summary(attachments.length, entries.length), details };
    const more = bad.length > 1 ? `, and ${bad.length - 1} more` : '';
    return { status: 'degraded', message: `${first.message}${more}`, details };
  });
  return { ...report, components: [...attachments, ...maps] };
}

function summary(attachments: number, programs: number): string {
  if (programs === 0) return 'nothing is loaded';
  return attachments === 0 ? 'nothing is to be attached' : `attached: ${attachments} of ${attachments}`;
}

function attachmentHealth(entry: Entry, { link, hook, ...attachment }: Recorded): ComponentHealth {
  const place = placeOf(entry, { link, hook, ...attachment });
  const words = `${entry.handle} on ${place} (${hook})`;
  return component(`attachment:${entry.handle}:${place}:${hook}`, () => {
    const details: Record<string, unknown> = { programId: entry.program.id, hook, linkId: link.id };
    if (link.closed) return { status: 'degraded', message: `${words} was closed`, details };
    const state = link.state();
    details.state = state;
    if (state === 'attached') return { status: 'healthy', message: `${words} is attached`, details };
    const holder = state === 'replaced' ? link.holder() : undefined;
    const by = holder ? ` by program ${holder.programId}${holder.name ? ` "${holder.name}"` : ''}` : '';
    const what = state === 'replaced' ? `was replaced${by}` : 'was removed from outside';
    return { status: 'degraded', message: `${words} ${what}`, details: { ...details, holder } };
  });
}

// Those that refuse an insertion when they are full. An LRU map is meant to be full, an array always is.
const FILLING: ReadonlySet<string> = new Set([
  'hash',
  'percpu_hash',
  'lpm_trie',
  'hash_of_maps',
  'devmap_hash',
  'sockhash',
]);
const FULL = 0.9;

function mapHealth(entry: Entry, map: BpfMap, counted: ReadonlyMap<number, number>): ComponentHealth {
  return component(`map:${entry.handle}:${map.name}`, () => {
    const { id, type, maxEntries } = map;
    if (!FILLING.has(type)) {
      map.info(); // a map that was closed says so
      return { status: 'healthy', message: `map ${map.name} is there`, details: { id, type, maxEntries } };
    }
    const entries = counted.get(id) ?? map.countKeys();
    const details = { id, type, entries, maxEntries };
    const message = `map ${map.name} holds ${entries} of ${maxEntries} entries`;
    return { status: entries > FULL * maxEntries ? 'degraded' : 'healthy', message, details };
  });
}

/** A component by asking for it: what cannot be asked is not known to be well. @internal */
export function component(
  name: string,
  ask: () => Pick<ComponentHealth, 'status' | 'message' | 'details'>,
): ComponentHealth {
  const timestamp = new Date().toISOString();
  const start = performance.now();
  let answer: ReturnType<typeof ask>;
  try {
    answer = ask();
  } catch (error) {
    // What cannot be asked is not known to be well.
    if (!(error instanceof EbpfError)) throw error;
    answer = { status: 'degraded', message: error.message, details: { code: error.code } };
  }
  return { ...answer, component: name, timestamp, durationMs: performance.now() - start };
}
