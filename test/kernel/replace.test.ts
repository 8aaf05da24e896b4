import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BpfLink, type BpfProgram, loadObjectSync, type NetTarget } from '../../lib/index.ts';
import { udp4 } from '../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { createNetns } from '../helpers/netns.ts';
import { testObject } from '../helpers/objects.ts';
import { sendFrames } from '../helpers/send.ts';
import { countedBy } from '../helpers/tc.ts';

const UPDATES = 200;
const FLOOD = 20_000;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterAll(() => assertNothingLeft(before));

const tc = (program: BpfProgram, at: NetTarget, via: 'tcx' | 'clsact') =>
  program.attachTc({ ...at, direction: 'ingress', via });

test.each<[string, string, (program: BpfProgram, at: NetTarget) => BpfLink]>([
  ['an XDP link', 'pass', (program, at) => program.attachXdp(at)],
  ['a TCX link', 'tc_count', (program, at) => tc(program, at, 'tcx')],
  ['a clsact filter', 'tc_count', (program, at) => tc(program, at, 'clsact')],
])(`${UPDATES} updates of %s under a flood lose no packet`, async (_, name, attach) => {
  using netns = createNetns();
  const { a, b } = netns.addVeth();
  using first = loadObjectSync(testObject(name));
  using second = loadObjectSync(testObject(name));
  const [one, two] = [first.program(name), second.program(name)];
  using link = attach(one, { iface: b.name, netns: netns.path });
  let updates = 0;
  let sent = 0;
  // However fast either of them is here: there is a flood until all the updates are done.
  while (updates < UPDATES) {
    let flooding = true;
    const flood = sendFrames([{ frame: udp4(), count: FLOOD }], { netns, iface: a.name, receiver: b.name });
    const ended = flood.finally(() => {
      flooding = false;
    });
    while (flooding) {
      link.update(updates++ % 2 === 0 ? two : one);
      await turn();
    }
    sent += (await ended).sent;
  }
  const counts = [countedBy(one.id), countedBy(two.id)] as const;
  console.log(`${name}: ${updates} updates, ${sent} frames: ${counts.join(' + ')}`);
  expect(counts[0] + counts[1]).toBe(sent);
  expect(Math.min(...counts)).toBeGreaterThan(0);
  expect(link.state()).toBe('attached');
});
