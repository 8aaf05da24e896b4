// deploy/ without a machine to deploy it on: whether it is well formed, and speaks of what there is. Which capabilities it takes
// is in test/kernel/docs/deploy.test.ts.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { EbpfMetrics } from '../../lib/metrics/ebpf-metrics.ts';
import { FAMILIES } from '../../lib/metrics/families.ts';
import { CLI } from '../helpers/child.ts';
import { endCommands } from '../helpers/command.ts';
import { DEPLOY, daemonSet, manifest, promtool, ROOT, unit } from '../helpers/deployed.ts';
import { Prometheus } from '../helpers/prometheus.ts';
import { namesOf } from '../helpers/promql.ts';
import { Serving } from '../helpers/serving.ts';
import { UnitFile } from '../helpers/unit-file.ts';
import { until } from '../helpers/until.ts';
import { World } from '../helpers/world.ts';

interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}
interface RuleFile {
  groups: { name: string; rules: Rule[] }[];
}
interface ScrapeConfig {
  job_name: string;
  authorization: { credentials_file: string };
  static_configs?: { targets: string[] }[];
  kubernetes_sd_configs?: { role: string; namespaces: { names: string[] }; selectors: { label: string }[] }[];
  relabel_configs?: { source_labels: string[]; regex?: string }[];
}
interface PrometheusConfig {
  global: Record<string, string>;
  rule_files: string[];
  scrape_configs: ScrapeConfig[];
}
interface RuleTests {
  tests: {
    name: string;
    input_series: { series: string }[];
    alert_rule_test: { eval_time: string; alertname: string; exp_alerts?: object[] }[];
  }[];
}
interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { h: number; w: number; x: number; y: number };
  datasource?: { uid: string };
  targets?: { refId: string; expr: string; datasource: { uid: string } }[];
  fieldConfig?: { defaults: object; overrides: object[] };
  options?: object;
}
interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  panels: Panel[];
  templating: { list: { name: string; type: string; query: string | { query: string } }[] };
  annotations: { list: { expr?: string }[] };
}

const PROMETHEUS = `${DEPLOY}prometheus/`;
const RULES = ['alerts', 'recording'].map((name) => `rules/${name}.yml`);
const text = (path: string) => readFileSync(`${DEPLOY}${path}`, 'utf8');
const yaml = <T>(path: string) => parse(text(path)) as T;
const rules = RULES.flatMap((file) => yaml<RuleFile>(`prometheus/${file}`).groups).flatMap(
  (group) => group.rules,
);
const alerts = rules.flatMap(({ alert, ...rule }) => (alert === undefined ? [] : [{ ...rule, alert }]));
const recorded = rules.flatMap(({ record, ...rule }) => (record === undefined ? [] : [{ ...rule, record }]));
const ruleTests = yaml<RuleTests>('prometheus/tests/alerts.yml').tests;
const dashboard = JSON.parse(text('grafana/node-ebpf.json')) as Dashboard;
const targets = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => ({ title, expr })),
);
const annotations = dashboard.annotations.list.flatMap(({ expr }) => expr ?? []);

/** What Grafana puts in for its variables. */
const VALUES: Readonly<Record<string, string>> = {
  job: 'node-ebpf',
  instance: '.*',
  interface: '.*',
  __rate_interval: '1m',
  __range: '1h',
};
const filledIn = (expression: string) =>
  expression.replaceAll(/\$(\w+)/g, (word, name: string) => VALUES[name] ?? word);

const folders: string[] = [];
function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'node-ebpf-deploy-'));
  folders.push(made);
  return made;
}
afterAll(() => {
  for (const made of folders) rmSync(made, { recursive: true, force: true });
});

/** A copy of deploy/prometheus beside a token, in which one may change things. */
function prometheusFolder(): string {
  const copy = folder();
  cpSync(PROMETHEUS, copy, { recursive: true });
  writeFileSync(join(copy, 'node-ebpf.token'), 'a-token-that-nobody-guesses\n');
  return copy;
}

/** promtool(1), which has to have nothing to say against it. */
function passes(...args: string[]): string {
  const { status, output } = promtool(args);
  expect(status, output).toBe(0);
  return output;
}

/** The labels of each metric that there is: of serve's, of Prometheus' own, and of the recorded ones by their level. */
async function known(): Promise<Map<string, { labels: string[]; type: string }>> {
  using metrics = new EbpfMetrics();
  const scrape = await metrics.scrape();
  const scraped = ['job', 'instance'];
  const all = new Map<string, { labels: string[]; type: string }>([
    ['up', { labels: scraped, type: 'gauge' }],
    ['ALERTS', { labels: [...scraped, 'alertname', 'alertstate'], type: 'gauge' }],
  ]);
  for (const { name, type, labels } of Object.values(FAMILIES)) {
    expect(scrape, name).toContain(`# TYPE ${name} ${type}\n`);
    const parts = type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    for (const part of parts) {
      const own = labels.filter((label) => label !== 'le' || part === '_bucket');
      all.set(`${name}${part}`, { labels: [...scraped, ...own], type: part === '' ? type : 'counter' });
    }
  }
  for (const { record } of recorded) {
    const [level = '', metric, operations, ...more] = record.split(':');
    expect([metric, operations, more.length], record).toEqual([
      expect.stringMatching(/^ebpf_/),
      expect.stringMatching(/^\w+$/),
      0,
    ]);
    all.set(record, { labels: ['job', ...level.split('_')], type: 'recorded' });
  }
  return all;
}

describe('the rules', () => {
  it('are well formed, and pass their own tests', () => {
    for (const file of RULES) passes('check', 'rules', `${PROMETHEUS}${file}`);
    passes('test', 'rules', `${PROMETHEUS}tests/alerts.yml`);
  });

  it.each(alerts.map(({ alert }) => alert))('the tests of %s find out when it is wrong', (alert) => {
    const asks = ({ alertname }: { alertname: string }) => alertname === alert;
    const tests = ruleTests.filter(({ alert_rule_test }) => alert_rule_test.some(asks));
    const asked = tests.flatMap(({ alert_rule_test }) => alert_rule_test.filter(asks));
    expect(asked.filter(({ exp_alerts = [] }) => exp_alerts.length > 0)).not.toEqual([]);
    expect(asked.filter(({ exp_alerts = [] }) => exp_alerts.length === 0)).not.toEqual([]);
    const copy = prometheusFolder();
    const testFile = join(copy, 'tests/alerts.yml');
    writeFileSync(testFile, stringify({ ...yaml<RuleTests>('prometheus/tests/alerts.yml'), tests }));
    const broken = (change: (expr: string) => string) => {
      const file = yaml<RuleFile>('prometheus/rules/alerts.yml');
      for (const rule of file.groups.flatMap((group) => group.rules)) {
        if (rule.alert === alert) rule.expr = change(rule.expr);
      }
      writeFileSync(join(copy, 'rules/alerts.yml'), stringify(file));
      return promtool(['test', 'rules', testFile]);
    };
    const failed = { status: 1, output: expect.stringContaining(`alertname: ${alert},`) };
    expect(
      broken(() => 'vector(0) > 1'),
      'it never fires',
    ).toEqual(failed);
    expect(
      broken((expr) => `(${expr}) or vector(1)`),
      'it always fires',
    ).toEqual(failed);
  });

  it('each alert says how bad it is, and what it is about', () => {
    for (const { alert, labels, annotations: words } of alerts) {
      expect(['critical', 'warning', 'info'], alert).toContain(labels?.severity);
      expect(Object.keys(words ?? {}), alert).toEqual(['summary', 'description']);
    }
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length);
    expect(new Set(recorded.map(({ record }) => record)).size).toBe(recorded.length);
  });

  it('each recorded metric is used by an alert or recorded for the dashboards of others', async () => {
    const inRules = rules.flatMap(({ expr }) => namesOf(expr).metrics.map(({ name }) => name));
    const alone = recorded.filter(({ record }) => !inRules.includes(record)).map(({ record }) => record);
    // Those are rates that a dashboard over many instances asks for.
    expect(alone.every((name) => /:(rate5m|p50_rate5m)$/.test(name))).toBe(true);
  });
});

describe('the names in rules and dashboard', () => {
  const sources = [
    ...rules.map(({ alert, record, expr }) => ({ from: alert ?? record ?? '', expr })),
    ...targets.map(({ title, expr }) => ({ from: `panel ${title}`, expr })),
    ...annotations.map((expr) => ({ from: 'annotation', expr })),
  ];

  it.each(sources)('of $from are those of metrics and labels that there are', async ({ from, expr }) => {
    const all = await known();
    const { metrics, grouping } = namesOf(expr);
    expect(metrics).not.toEqual([]);
    const labels = new Set<string>();
    for (const { name, labels: matched, rated } of metrics) {
      const metric = all.get(name);
      expect(metric, `${name} in ${from}`).toBeDefined();
      for (const label of metric?.labels ?? []) labels.add(label);
      expect(
        matched.filter((label) => !metric?.labels.includes(label)),
        name,
      ).toEqual([]);
      // Of what goes up and down there is no rate, and of what only goes up nothing else.
      if (metric?.type === 'counter') expect(rated || /offset 15m/.test(expr), name).toBe(true);
      else expect(rated, name).toBe(false);
    }
    expect(grouping.filter((label) => !labels.has(label))).toEqual([]);
  });

  it('and what an annotation takes from a label is a label of the alert', async () => {
    const all = await known();
    for (const { alert, expr, annotations: words } of alerts) {
      const { metrics } = namesOf(expr);
      const labels = new Set(metrics.flatMap(({ name }) => all.get(name)?.labels ?? []));
      for (const [, label = ''] of JSON.stringify(words).matchAll(/\$labels\.(\w+)/g)) {
        expect([...labels], alert).toContain(label);
      }
    }
  });

  it('names that are not there would be found', async () => {
    const all = await known();
    expect(all.has('ebpf_packets')).toBe(false);
    expect(
      namesOf('sum by (a, b) (rate(x_total{c="{d}", e!~"f"}[5m])) / on (g) h:i:j > 3 offset 5m'),
    ).toEqual({
      metrics: [
        { name: 'x_total', labels: ['c', 'e'], rated: true },
        { name: 'h:i:j', labels: [], rated: false },
      ],
      grouping: ['a', 'b', 'g'],
    });
  });
});

describe('the scrape configurations', () => {
  it.each(['prometheus.yml', 'prometheus-kubernetes.yml'])('%s is well formed, with its rules', (name) => {
    const copy = prometheusFolder();
    const config = yaml<PrometheusConfig>(`prometheus/${name}`);
    for (const scrape of config.scrape_configs) {
      expect(scrape.job_name).toBe('node-ebpf');
      // Debian's promtool is built without Kubernetes.
      if (scrape.kubernetes_sd_configs) {
        delete scrape.kubernetes_sd_configs;
        scrape.static_configs = [{ targets: ['127.0.0.1:9435'] }];
      }
    }
    writeFileSync(join(copy, name), stringify(config));
    expect(passes('check', 'config', join(copy, name))).toContain(`${RULES.length} rule files found`);
    rmSync(join(copy, 'node-ebpf.token'));
    expect(promtool(['check', 'config', join(copy, name)]).status).not.toBe(0);
  });

  it('the one of Kubernetes finds the pods of the DaemonSet', () => {
    const { metadata, spec, container } = daemonSet();
    const [{ kubernetes_sd_configs: [found] = [], relabel_configs = [] } = {} as ScrapeConfig] =
      yaml<PrometheusConfig>('prometheus/prometheus-kubernetes.yml').scrape_configs;
    expect(found?.namespaces.names).toEqual([metadata.namespace]);
    const [label, value] = found?.selectors[0]?.label.split('=') ?? [];
    expect(spec.template.metadata.labels).toMatchObject({ [label ?? '']: value });
    const port = relabel_configs.find(({ source_labels: [from = ''] }) => from.endsWith('_port_name'));
    expect(container.ports.map(({ name }) => name)).toEqual([port?.regex]);
  });
});

describe('the dashboard', () => {
  const CHOSEN = /^\$\{datasource\}$/;
  const variables = dashboard.templating.list.map(({ name }) => name);

  it('has panels of its own numbers, which do not lie upon each other', () => {
    expect(dashboard).toMatchObject({ uid: 'node-ebpf', title: 'node-ebpf' });
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(38); // Grafana 10
    const cells = new Set<string>();
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(cells.has(`${x},${y}`), title).toBe(false);
          cells.add(`${x},${y}`);
        }
      }
    }
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('takes its data from the source that is chosen, and each panel knows how to draw it', () => {
    expect(dashboard.templating.list[0]).toMatchObject({ type: 'datasource', query: 'prometheus' });
    for (const { title, type, datasource, targets: own = [], fieldConfig, options } of dashboard.panels) {
      if (type === 'row') continue;
      expect(datasource?.uid, title).toMatch(CHOSEN);
      expect(own.length, title).toBeGreaterThan(0);
      expect(new Set(own.map(({ refId }) => refId)).size, title).toBe(own.length);
      for (const target of own) expect(target.datasource.uid, title).toMatch(CHOSEN);
      expect(fieldConfig?.defaults, title).toBeDefined();
      expect(options, title).toBeDefined();
    }
  });

  it('uses the variables that it has, and has those that it uses', () => {
    const whole = JSON.stringify(dashboard);
    const used = new Set([...whole.matchAll(/\$\{?(\w+)\}?/g)].map(([, name = '']) => name));
    const builtIn = ['__rate_interval', '__range', '__all'];
    expect([...used].filter((name) => !builtIn.includes(name)).sort()).toEqual(variables.toSorted());
  });

  it('asks what Prometheus understands', () => {
    const file = join(folder(), 'dashboard.yml');
    const all = [...targets.map(({ expr }) => expr), ...annotations].map((expr, i) => ({
      record: `panel:ebpf:${i}`,
      expr: filledIn(expr),
    }));
    writeFileSync(file, stringify({ groups: [{ name: 'dashboard', rules: all }] }));
    expect(passes('check', 'rules', file)).toContain(`${all.length} rules found`);
  });
});

describe('the unit, the DaemonSet and the image', () => {
  const help = execFileSync(process.execPath, [CLI, 'serve', '--help'], { encoding: 'utf8' });
  const options = (args: readonly string[]) =>
    args.filter((word) => word.startsWith('--')).map((word) => word.split('=', 1)[0] ?? '');
  const dropIn = new UnitFile(`${DEPLOY}systemd/listen.conf`);
  const port = /127\.0\.0\.1:(\d+)/.exec(help)?.[1];

  it('start what there is, with options that it has', () => {
    const defaults = /^ARGS="(.*)"$/m.exec(text('systemd/node-ebpf.default'))?.[1] ?? '';
    const commands = {
      unit: unit().command({ ARGS: defaults }),
      'listen.conf': dropIn.command({ ARGS: defaults, CREDENTIALS_DIRECTORY: '/run/credentials' }),
      DaemonSet: ['node-ebpf', ...daemonSet().container.args],
    };
    for (const [name, [command, subcommand, ...args]] of Object.entries(commands)) {
      expect([command, subcommand], name).toEqual(['node-ebpf', 'serve']);
      expect(options(args).length, name).toBeGreaterThan(0);
      for (const option of options(args)) expect(help, name).toMatch(new RegExp(`^ +${option} `, 'm'));
    }
    expect(unit().words('Service', 'EnvironmentFile')).toEqual(['-/etc/default/node-ebpf']);
  });

  it('give the same capabilities, and nothing that makes more of them', () => {
    const service = unit();
    const given = service.words('Service', 'AmbientCapabilities').toSorted();
    expect(service.words('Service', 'CapabilityBoundingSet').toSorted()).toEqual(given);
    const { runAsUser, allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } =
      daemonSet().container.securityContext;
    expect(capabilities.drop).toEqual(['ALL']);
    expect(capabilities.add.map((name) => `CAP_${name}`).toSorted()).toEqual(given);
    expect({ runAsUser, allowPrivilegeEscalation, readOnlyRootFilesystem }).toEqual({
      runAsUser: 0,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
    });
    const yes = ['DynamicUser', 'NoNewPrivileges', 'ProtectKernelTunables', 'RestrictNamespaces'];
    for (const key of yes) expect(service.one('Service', key), key).toBe('yes');
    // With either it could not run at all.
    for (const key of ['PrivateUsers', 'PrivateNetwork', 'MemoryDenyWriteExecute']) {
      expect(service.all('Service', key), key).toEqual([]);
    }
    const run = [...text('README.md').matchAll(/--cap-add ([a-z_]+)/g)];
    expect(run.map(([, name = '']) => `CAP_${name.toUpperCase()}`).toSorted()).toEqual(given);
  });

  it('listen where Prometheus and the probes look', () => {
    const { spec, container } = daemonSet();
    expect(container.ports).toMatchObject([{ containerPort: Number(port), hostPort: Number(port) }]);
    expect(container.args).toContain(`--listen=$(NODE_IP):${port}`);
    expect(container.env.map(({ name }) => name)).toEqual(['NODE_IP']);
    expect(spec.template.spec.hostNetwork).toBe(true);
    for (const probe of [container.startupProbe, container.readinessProbe, container.livenessProbe]) {
      expect(probe.httpGet).toEqual({ path: '/health', port: container.ports[0]?.name });
    }
    expect(yaml<PrometheusConfig>('prometheus/prometheus.yml').scrape_configs[0]?.static_configs).toEqual([
      { targets: [`127.0.0.1:${port}`] },
    ]);
    expect(dropIn.command()).toContain(`0.0.0.0:${port}`);
    expect(text('container/Containerfile')).toContain(`\nEXPOSE ${port}\n`);
  });

  it('the profile that the README makes of Podman’s lets bpf(2) through for CAP_BPF, and nothing else', () => {
    const [, command = ''] =
      /^(jq .*? )\/usr\/share\/containers\/seccomp\.json >seccomp\.json$/ms.exec(text('README.md')) ?? [];
    // Of containers-common 0.50, as far as it has to do with it.
    const names = ['bpf', 'perf_event_open', 'setns'];
    const allowed = { names, action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } };
    const refused = { names, action: 'SCMP_ACT_ERRNO', excludes: { caps: ['CAP_SYS_ADMIN'] }, errnoRet: 1 };
    const profile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [allowed, refused] };
    const made = execFileSync('sh', ['-c', command], { input: JSON.stringify(profile), encoding: 'utf8' });
    expect(JSON.parse(made)).toEqual({
      ...profile,
      syscalls: [
        allowed,
        { ...refused, names: ['perf_event_open', 'setns'] },
        { names: ['bpf'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_BPF'] } },
      ],
    });
  });

  it('have the token where they say that it is, for nobody but themselves', () => {
    const { spec, container } = daemonSet();
    const file = container.args.find((word) => word.startsWith('--token-file='))?.split('=')[1] ?? '';
    const mount = container.volumeMounts.find(({ mountPath }) => file.startsWith(`${mountPath}/`));
    const volume = spec.template.spec.volumes.find(({ name }) => name === mount?.name);
    expect(volume?.secret?.defaultMode.toString(8)).toBe('400');
    expect(text('kubernetes/daemonset.yaml')).toContain(
      `create secret generic ${volume?.secret?.secretName} --from-literal=${file.split('/').at(-1)}=`,
    );
    const [credential] = dropIn.one('Service', 'LoadCredential').split(':');
    expect(dropIn.command({ CREDENTIALS_DIRECTORY: '/c' }).at(-1)).toBe(`/c/${credential}`);
  });

  it('the manifest is one whole', () => {
    const { metadata, spec, container } = daemonSet();
    expect(manifest().map(({ kind }) => kind)).toEqual(['Namespace', 'DaemonSet']);
    expect(manifest()[0]?.metadata.name).toBe(metadata.namespace);
    expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels);
    const volumes = spec.template.spec.volumes.map(({ name }) => name);
    expect(container.volumeMounts.map(({ name }) => name).toSorted()).toEqual(volumes.toSorted());
    const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { version: string };
    expect(container.image).toBe(`node-ebpf:${version}`);
  });

  it('the image is made of what the tree has, and of nothing that git does not', () => {
    const lines = text('container/Containerfile').replaceAll(/\\\n/g, ' ').split('\n');
    const instructions = lines.flatMap((line) => {
      const [, name, rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [{ name, words: rest.trim().split(/\s+/), rest }];
    });
    const of = (name: string) => instructions.filter((instruction) => instruction.name === name);
    const packageJson = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
      bin: Record<string, string>;
      engines: { node: string };
    };
    for (const { words } of of('COPY').filter(({ words: [first = ''] }) => !first.startsWith('--'))) {
      for (const source of words.slice(0, -1)) expect(existsSync(`${ROOT}${source}`), source).toBe(true);
    }
    for (const { rest } of of('RUN')) {
      for (const [script = ''] of rest.matchAll(/scripts\/[\w-]+/g))
        expect(existsSync(`${ROOT}${script}`)).toBe(true);
    }
    const stages = of('FROM').flatMap(({ words }) => (words[1] === 'AS' ? [words[2]] : []));
    for (const [, stage] of text('container/Containerfile').matchAll(/--from=(\w+)/g))
      expect(stages).toContain(stage);
    expect(of('ENTRYPOINT').map(({ rest }) => JSON.parse(rest))).toEqual([Object.keys(packageJson.bin)]);
    const [, major] = /NODE=(\d+)/.exec(of('ARG')[0]?.rest ?? '') ?? [];
    expect(Number(major)).toBeGreaterThanOrEqual(Number(/\d+/.exec(packageJson.engines.node)?.[0]));
    const ignored = (file: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map((line) => line.replace(/\/$/, ''));
    const left = ignored(`${DEPLOY}container/Containerfile.dockerignore`);
    expect(
      ignored(`${ROOT}.gitignore`).filter((name) => !left.includes(name) && !name.includes('/')),
    ).toEqual([]);
  });
});

describe('a Prometheus that runs with it', () => {
  let world: World | undefined;
  let prometheus: Prometheus | undefined;
  afterEach(async () => {
    await prometheus?.close();
    endCommands();
    await world?.close();
  });

  it('scrapes serve, records what the rules say, answers every panel, and raises no alert', async () => {
    world = new World();
    const { netns } = world;
    netns.upLoopback();
    const copy = prometheusFolder();
    const token = join(copy, 'node-ebpf.token');
    const serving = new Serving([
      world.iface,
      '--netns',
      netns.path,
      '--listen',
      '127.0.0.1:0',
      '--token-file',
      token,
    ]);
    const config = yaml<PrometheusConfig>('prometheus/prometheus.yml');
    config.global = { scrape_interval: '1s', evaluation_interval: '1s' };
    const [scrape] = config.scrape_configs;
    const instance = new URL(await serving.url()).host;
    if (scrape) scrape.static_configs = [{ targets: [instance] }];
    const file = join(copy, 'prometheus.yml');
    writeFileSync(file, stringify(config));
    const server = await Prometheus.start(file, copy);
    prometheus = server;

    // Something of everything: a connection on lo, packets that arrive, and nobody for whom they are.
    const traffic = async () => {
      netns.exec(process.execPath, ['-e', CONNECTION]);
      await world?.send(50);
    };
    const empty = async (expressions: readonly string[]) => {
      const answers = await Promise.all(
        expressions.map(async (expr) => [expr, await server.query(expr)] as const),
      );
      return answers.filter(([, result]) => result.length === 0).map(([expr]) => expr);
    };
    const panels = targets.map(({ expr }) => filledIn(expr));
    const records = recorded.map(({ record }) => record);
    let missing: string[] = [];
    await until(
      async () => {
        await traffic();
        missing = [...(await empty(panels)), ...(await empty(records))];
        return missing.length === 0;
      },
      () => `no answer to ${missing.join('\n')}`,
      60_000,
    );

    const all = await known();
    for (const record of records) {
      const [first] = await server.query(record);
      const labels = Object.keys(first?.labels ?? {}).filter((name) => name !== '__name__');
      expect(labels.toSorted(), record).toEqual(all.get(record)?.labels.toSorted());
      expect(first?.labels).toMatchObject({ job: 'node-ebpf', instance });
    }
    const { groups } = await server.ask<{
      groups: { rules: { name: string; health: string; state?: string; lastError?: string }[] }[];
    }>('rules');
    const evaluated = groups.flatMap((group) => group.rules);
    expect(evaluated.filter(({ health }) => health !== 'ok')).toEqual([]);
    expect(evaluated).toHaveLength(rules.length);
    expect(
      evaluated.filter(({ state = 'inactive' }) => state !== 'inactive').map(({ name }) => name),
    ).toEqual([]);

    // It is gone: that is the first thing that is noticed.
    expect(await serving.end()).toBe(0);
    await until(async () => {
      const { alerts: raised } = await server.ask<{ alerts: { labels: Record<string, string> }[] }>('alerts');
      return raised.some(
        ({ labels }) => labels.alertname === 'EbpfTargetDown' && labels.instance === instance,
      );
    });
  });
});

/** A server, a client, and both ends closed. */
const CONNECTION = `
  const net = require('node:net');
  const server = net.createServer((socket) => socket.end('x')).listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').resume().on('close', () => server.close());
  });
`;
