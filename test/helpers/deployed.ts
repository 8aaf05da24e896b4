// deploy/: where its files are, and what they say.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { UnitFile } from './unit-file.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const DEPLOY = `${ROOT}deploy/`;

export const unit = () => new UnitFile(`${DEPLOY}systemd/node-ebpf.service`);

/** What of a DaemonSet these tests look at. */
export interface DaemonSet {
  kind: string;
  metadata: { name: string; namespace: string };
  spec: {
    selector: { matchLabels: Record<string, string> };
    template: {
      metadata: { labels: Record<string, string> };
      spec: {
        hostNetwork: boolean;
        nodeSelector: Record<string, string>;
        containers: Container[];
        volumes: { name: string; secret?: { secretName: string; defaultMode: number }; hostPath?: object }[];
      };
    };
  };
}
interface Probe {
  httpGet: { path: string; port: string };
}
interface Container {
  image: string;
  args: string[];
  env: { name: string }[];
  ports: { name: string; containerPort: number; hostPort: number }[];
  securityContext: {
    runAsUser: number;
    allowPrivilegeEscalation: boolean;
    readOnlyRootFilesystem: boolean;
    capabilities: { drop: string[]; add: string[] };
  };
  startupProbe: Probe;
  readinessProbe: Probe;
  livenessProbe: Probe;
  volumeMounts: { name: string; mountPath: string }[];
}

/** The objects of the manifest; Kubernetes reads YAML 1.1, where 0400 is octal. */
export function manifest(): { kind: string; metadata: { name: string; labels?: Record<string, string> } }[] {
  const text = readFileSync(`${DEPLOY}kubernetes/daemonset.yaml`, 'utf8');
  return parseAllDocuments(text, { version: '1.1' }).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as ReturnType<typeof manifest>[number];
  });
}

export function daemonSet(): DaemonSet & { container: Container } {
  const found = manifest().find(({ kind }) => kind === 'DaemonSet') as unknown as DaemonSet;
  const [container, ...more] = found.spec.template.spec.containers;
  if (!container || more.length > 0) throw new Error(`${more.length + 1} containers`);
  return { ...found, container };
}

/** promtool(1), which scripts/setup --test unpacks. */
export function promtool(args: readonly string[], input = ''): { status: number | null; output: string } {
  const { status, stdout, stderr, error } = spawnSync(`${ROOT}.cache/prometheus/usr/bin/promtool`, args, {
    encoding: 'utf8',
    input,
  });
  if (error) throw error;
  return { status, output: `${stdout}${stderr}` };
}
