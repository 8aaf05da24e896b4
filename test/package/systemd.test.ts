// deploy/systemd/ where systemd runs it, installed as deploy/README.md says: its lines run as they stand.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HealthReport } from '../../lib/loader/health.ts';
import { DEPLOY, ROOT } from '../helpers/deployed.ts';
import { blocks, exampleNetns } from '../helpers/documents.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../helpers/kernel.ts';
import type { Netns } from '../helpers/netns.ts';
import { Systemd } from '../helpers/systemd.ts';
import { pack } from '../helpers/tarball.ts';
import { until } from '../helpers/until.ts';

const UNIT = 'node-ebpf.service';
const METRICS = 'http://127.0.0.1:9435/metrics';
/** To install it, and to give it a token. */
const [INSTALLING = '', GIVING_A_TOKEN = ''] = blocks('deploy/README.md', 'sh')
  .map(({ code }) => code)
  .filter((code) => code.includes('systemctl'));

let before: Snapshot;
let netns: Netns;
let systemd: Systemd;

beforeAll(async () => {
  before = snapshotIds();
  execFileSync(`${ROOT}scripts/prebuild`, { cwd: ROOT, stdio: 'pipe' });
  netns = exampleNetns();
  systemd = await Systemd.boot(netns);
  cpSync(DEPLOY, systemd.path('/root/deploy'), { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-systemd-'));
  const { filename } = pack(folder);
  cpSync(join(folder, filename), systemd.path('/root/node-ebpf.tgz'));
  rmSync(folder, { recursive: true });
  // Where the unit looks for it.
  systemd.run(`[ -e /usr/bin/node ] || ln -sf '${process.execPath}' /usr/local/bin/node`);
});
afterAll(async () => {
  await systemd?.close();
  netns?.close();
  await assertNothingLeft(before);
});

const status = (...options: string[]) =>
  systemd.run(`curl --silent --output /dev/null --write-out '%{http_code}' ${options.join(' ')} ${METRICS}`);
const isAttached = () => xdpOf(netns, 'eth0').programId !== undefined;

it('installed as deploy/README.md says, it runs as a user of its own, and all is attached', () => {
  const [install = '', ...rest] = INSTALLING.trim().split('\n');
  expect(install).toMatch(/^npm install --global node-ebpf +#/);
  systemd.run(install.replace(' node-ebpf ', ' --prefer-offline --no-audit --no-fund /root/node-ebpf.tgz '), {
    online: true,
    environment: { npm_config_prefix: '/usr/local' },
  });
  const health = JSON.parse(systemd.run(rest.join('\n'), { folder: '/root/deploy' })) as HealthReport;
  expect(health).toMatchObject({ status: 'healthy', message: 'attached: 4 of 4 programs' });
  expect(health.components.map(({ component }) => component)).toContain('program:xdp_counter:eth0');
  expect(isAttached()).toBe(true);
  const text = readFileSync(systemd.path(`/proc/${systemd.property(UNIT, 'MainPID')}/status`), 'utf8');
  const [, user] = /^Uid:\t(\d+)/m.exec(text) ?? [];
  expect(Number(user)).toBeGreaterThanOrEqual(61184); // systemd.exec(5), DynamicUser=
  expect(text).toMatch(/^Seccomp:\t2$/m);
  expect(systemd.property(UNIT, 'UnitFileState')).toBe('enabled');
});

it('killed, it starts again, and attaches everything anew', async () => {
  const { programId } = xdpOf(netns, 'eth0');
  systemd.run(`systemctl kill --signal KILL ${UNIT}`);
  const anew = await until(
    () => {
      const now = xdpOf(netns, 'eth0').programId;
      return now !== programId && now;
    },
    () => systemd.journal(UNIT),
    60_000,
  );
  expect(anew).not.toBe(programId);
  expect(systemd.property(UNIT, 'NRestarts')).toBe('1');
});

it('with a token as deploy/README.md says, it listens elsewhere, for who has the token', async () => {
  systemd.run(GIVING_A_TOKEN, { folder: '/root/deploy' });
  await until(
    () => systemd.journal(UNIT).includes('serving http://0.0.0.0:9435/'),
    () => systemd.journal(UNIT),
    60_000,
  );
  expect(status()).toBe('401');
  expect(status(`--header "Authorization: Bearer $(cat /etc/node-ebpf/token)"`)).toBe('200');
  expect(isAttached()).toBe(true);
});

it('stopped, it leaves nothing attached', () => {
  systemd.run(`systemctl stop ${UNIT}`);
  expect(systemd.property(UNIT, 'Result')).toBe('success');
  expect(isAttached()).toBe(false);
});

it('wrong options are not tried again', async () => {
  writeFileSync(systemd.path('/etc/default/node-ebpf'), 'ARGS="eth0 --no-such-option"\n');
  systemd.run(`systemctl start ${UNIT}`);
  await until(
    () => systemd.property(UNIT, 'ActiveState') === 'failed',
    () => systemd.journal(UNIT),
    60_000,
  );
  expect(systemd.property(UNIT, 'ExecMainStatus')).toBe('2');
  expect(systemd.property(UNIT, 'NRestarts')).toBe('0');
  expect(systemd.journal(UNIT)).toContain("unknown option '--no-such-option'");
});
