import { expect, test } from 'vitest';
import { attachPoint } from '../../lib/object-file/section.ts';

test.each([
  ['raw_tp/sys_enter', 'raw_tp', 'sys_enter'],
  ['raw_tracepoint.w/x', 'raw_tracepoint.w', 'x'],
  ['?tp/sched/sched_switch', 'tp', 'sched/sched_switch'],
  ['tracepoint/syscalls/sys_enter_read', 'tracepoint', 'syscalls/sys_enter_read'],
  ['tp_btf/sched_switch', 'tp_btf', 'sched_switch'],
  ['kprobe/do_unlinkat+0x10', 'kprobe', 'do_unlinkat+0x10'],
  ['kprobe.multi/tcp_*', 'kprobe.multi', 'tcp_*'],
  ['uprobe.multi.s//bin/true:main', 'uprobe.multi', '/bin/true:main'],
  ['fentry.s/f', 'fentry', 'f'],
  ['lsm/file_open', 'lsm', 'file_open'],
])('%s', (section, kind, target) => {
  expect(attachPoint(section)).toEqual({ kind, target });
});

test.each([
  'xdp',
  'xdp.frags',
  'tc',
  'tc/ingress',
  'tcx/egress',
  'cgroup_skb/ingress',
  'cgroup/connect4',
  'socket',
  'kprobe',
  'tp',
  'raw_tp',
  'raw_tp/',
  'lsm_cgroup/x',
  'perf_event',
  '',
])('%s says no place', (section) => {
  expect(attachPoint(section)).toBeUndefined();
});
