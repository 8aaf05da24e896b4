import { readdirSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { native } from '../addon/native.ts';
import {
  describeFailure,
  EbpfError,
  EbpfNotSupportedError,
  EbpfPermissionError,
  EbpfStateError,
} from '../core/errors.ts';
import { type Capability, effectiveCapabilities, permissionHint } from './capabilities.ts';
import { textOf } from './text.ts';

// Capabilities of a user namespace count here.
const NEEDED: readonly Capability[] = ['CAP_SETGID', 'CAP_SETUID'];

/**
 * Drops root for good: sets the user and the group, removes the supplementary groups and all capabilities on
 * every thread of the process, and checks each thread. Programs stay attached and keep running. Open maps and
 * programs can still be read (from Linux 5.19 on; before that with kernel.unprivileged_bpf_disabled=0). New
 * objects cannot be loaded. Attach via `link`, the default: detaching a netlink attachment at exit needs
 * CAP_NET_ADMIN.
 *
 * @param o ids, or names in /etc/passwd and /etc/group
 * @throws EbpfPermissionError without CAP_SETUID and CAP_SETGID; nothing has changed
 * @throws EbpfStateError `ERR_EBPF_PRIVILEGES_KEPT` if a thread kept a privilege: end the process then
 * @throws EbpfNotSupportedError in a worker
 * @example
 * const counter = await XdpCounter.attach({ iface: 'eth0' });
 * dropPrivileges({ uid: 'nobody', gid: 'nogroup' });
 * setInterval(() => console.log(counter.read()), 1000);
 */
export function dropPrivileges(o: { uid: number | string; gid: number | string }): void {
  const uid = numberOf('uid', o.uid, '/etc/passwd');
  const gid = numberOf('gid', o.gid, '/etc/group');
  if (uid === 0) throw new RangeError('Expected a user other than root for uid');
  const what = `drop privileges to ${o.uid}:${o.gid}`;
  if (!isMainThread) {
    const message = `${what}: not possible in a worker, as it would change the whole process`;
    throw new EbpfNotSupportedError(message, { feature: 'dropPrivileges in a worker' });
  }
  // Checked first: dropping only some privileges would be worse than none.
  const effective = effectiveCapabilities();
  const missing = NEEDED.filter((name) => !effective.includes(name));
  if (missing.length > 0) {
    throw new EbpfPermissionError(`${what}: operation not permitted`, {
      missing,
      hint: permissionHint(missing),
    });
  }
  try {
    native().dropPrivileges(uid, gid);
  } catch (error) {
    const { words, options } = describeFailure(error, 'the process');
    throw new EbpfError(`${what}: ${options.syscall}: ${words}`, options);
  }
  for (const thread of threads()) {
    const kept = whatIsKept(thread.status, uid, gid);
    if (kept === undefined) continue;
    throw new EbpfStateError(`${what}: thread ${thread.id} still has ${kept}`, {
      code: 'ERR_EBPF_PRIVILEGES_KEPT',
      state: 'privileged',
      hint: 'end the process: it has dropped only some of its privileges',
    });
  }
}

// (uid_t)-1 means "leave unchanged" to setresuid(2).
const HIGHEST_ID = 2 ** 32 - 2;

function numberOf(what: 'uid' | 'gid', value: number | string, database: string): number {
  if (typeof value === 'string') return namedIn(what, value, database);
  if (typeof value !== 'number') {
    throw new TypeError(`Expected a number or a name for ${what} but received ${typeof value}`);
  }
  if (!Number.isInteger(value) || value < 0 || value > HIGHEST_ID) {
    throw new RangeError(`Expected an integer from 0 to ${HIGHEST_ID} for ${what} but received ${value}`);
  }
  return value;
}

// Both passwd(5) and group(5) have the name in the first field and the id in the third. A name of only digits
// that is not in the file is an id, as for chown(1).
function namedIn(what: 'uid' | 'gid', name: string, database: string): number {
  const lines = textOf(database)?.split('\n') ?? []; // a container may not have the file
  for (const line of lines) {
    const [entry, , number] = line.split(':');
    if (entry === name && name !== '' && /^\d+$/.test(number ?? ''))
      return numberOf(what, Number(number), database);
  }
  if (/^\d+$/.test(name)) return numberOf(what, Number(name), database);
  throw new EbpfError(`no ${what === 'uid' ? 'user' : 'group'} "${name}" in ${database}`, {
    code: what === 'uid' ? 'ERR_EBPF_NO_USER' : 'ERR_EBPF_NO_GROUP',
    hint: `names in LDAP or NIS are not looked up: pass the ${what} as a number`,
  });
}

// A thread that ends meanwhile has no status.
function threads(): { id: string; status: string }[] {
  return readdirSync('/proc/self/task').flatMap((id) => {
    const status = textOf(`/proc/self/task/${id}/status`);
    return status ? [{ id, status }] : [];
  });
}

/**
 * The first line of a thread's status (proc_pid_status(5)) that shows a privilege beyond this user and group.
 *
 * @internal
 */
export function whatIsKept(status: string, uid: number, gid: number): string | undefined {
  const field = (name: string) =>
    new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(status)?.[1] ?? 'nothing';
  const wanted: [name: string, pattern: RegExp][] = [
    ['Uid', new RegExp(`^${uid}(\\s+${uid}){3}$`)],
    ['Gid', new RegExp(`^${gid}(\\s+${gid}){3}$`)],
    ['Groups', /^$/],
    ['CapPrm', /^0+$/],
    ['CapEff', /^0+$/],
  ];
  const [name] = wanted.find(([name, pattern]) => !pattern.test(field(name))) ?? [];
  return name === undefined ? undefined : `${name} ${field(name)}`;
}
