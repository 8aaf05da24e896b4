import type { FamilyInfo } from './family.ts';
import { POLL_DURATION } from './poll-duration.ts';

const counter = (name: string, help: string, ...labels: string[]): FamilyInfo => ({
  name,
  help,
  type: 'counter',
  labels,
});
const gauge = (name: string, help: string, ...labels: string[]): FamilyInfo => ({
  name,
  help,
  type: 'gauge',
  labels,
  transient: true,
});

/** Every family but those of declared maps. docs/metrics.md has the same table. */
export const FAMILIES = {
  pollDuration: POLL_DURATION,
  programsLoaded: gauge('ebpf_programs_loaded', 'Programs that are loaded', 'program_type'),
  programsLoadedTotal: gauge(
    'ebpf_programs_loaded_total',
    'Programs that are loaded; the name that was promised, a gauge as ebpf_programs_loaded',
    'program_type',
  ),
  programsAttached: gauge('ebpf_programs_attached', 'Attachments', 'interface', 'program_type'),
  programsAttachedTotal: gauge(
    'ebpf_programs_attached_total',
    'Attachments; the name that was promised, a gauge as ebpf_programs_attached',
    'interface',
    'program_type',
  ),
  attachmentErrors: counter(
    'ebpf_attachment_errors_total',
    'Attempts to attach that failed, by the code of the error',
    'interface',
    'error_type',
  ),
  programRuns: counter(
    'ebpf_program_run_total',
    'Runs of programs, while the kernel counts them (enableStats())',
    'program',
    'program_type',
  ),
  programSeconds: counter(
    'ebpf_program_run_seconds_total',
    'Time that programs ran, while the kernel measures it (enableStats())',
    'program',
    'program_type',
  ),
  mapEntries: gauge('ebpf_map_entries', 'Entries that a map holds', 'program', 'map'),
  mapMaxEntries: gauge('ebpf_map_max_entries', 'Entries that a map has room for', 'program', 'map'),
  health: gauge('ebpf_health', 'Health of a component: 1 healthy, 0.5 degraded, 0 unhealthy', 'component'),
  seriesLeftOut: counter(
    'ebpf_series_left_out_total',
    'Series that a look left out because a family had no room for more, summed over the looks',
    'metric',
  ),
  readErrors: counter(
    'ebpf_read_errors_total',
    'Looks at a program or map that failed, by the code of the error',
    'source',
    'error_type',
  ),
  packets: counter('ebpf_packets_total', 'Frames that an interface received', 'interface', 'protocol'),
  packetBytes: counter(
    'ebpf_packet_bytes_total',
    'Bytes of the frames that an interface received, from the Ethernet header on',
    'interface',
    'protocol',
  ),
  guardPackets: counter(
    'ebpf_guard_packets_total',
    'Frames that a guarded interface received, by what became of them',
    'interface',
    'verdict',
  ),
  guardBytes: counter(
    'ebpf_guard_bytes_total',
    'Bytes of the frames that a guarded interface received, by what became of them',
    'interface',
    'verdict',
  ),
  syscallLatency: {
    name: 'ebpf_syscall_latency_seconds',
    help: 'Time that system calls took',
    type: 'histogram',
    labels: ['syscall', 'le'],
  },
  syscallsLost: counter(
    'ebpf_syscalls_lost_total',
    'System calls that began and are in no histogram',
    'reason',
  ),
  netPackets: counter(
    'ebpf_net_packets_total',
    'Packets that an interface received and sent',
    'interface',
    'direction',
  ),
  netBytes: counter(
    'ebpf_net_bytes_total',
    'Bytes that an interface received and sent',
    'interface',
    'direction',
  ),
  netDrops: counter('ebpf_net_drops_total', 'Packets that the kernel dropped, by its reason', 'reason'),
  netRetransmits: counter('ebpf_net_tcp_retransmits_total', 'TCP segments that were sent once more'),
  netTransitions: counter(
    'ebpf_net_tcp_transitions_total',
    'TCP sockets that went from one state to another',
    'from',
    'to',
  ),
  netLost: counter('ebpf_net_lost_total', 'Events of the network that are in no count'),
  flowPackets: {
    ...counter(
      'ebpf_flow_packets_total',
      'Packets of the flows of the most bytes',
      'interface',
      'direction',
      'protocol',
      'source',
      'source_port',
      'destination',
      'destination_port',
    ),
    transient: true,
  },
  flowBytes: {
    ...counter(
      'ebpf_flow_bytes_total',
      'Bytes of the flows of the most bytes',
      'interface',
      'direction',
      'protocol',
      'source',
      'source_port',
      'destination',
      'destination_port',
    ),
    transient: true,
  },
  flowClassPackets: counter(
    'ebpf_flow_class_packets_total',
    'Packets by class',
    'interface',
    'class',
    'direction',
  ),
  flowClassBytes: counter('ebpf_flow_class_bytes_total', 'Bytes by class', 'interface', 'class', 'direction'),
  flowsCreated: counter('ebpf_flows_created_total', 'Flows that began', 'interface'),
  flowsEvicted: counter('ebpf_flows_evicted_total', 'Flows that made room for others', 'interface'),
} as const satisfies Record<string, FamilyInfo>;
