// Debian's Prometheus, as scripts/setup --test unpacks it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

const PROGRAM = fileURLToPath(new URL('../../.cache/prometheus/usr/bin/prometheus', import.meta.url));
const PATIENCE_MS = 60_000;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  /** Seconds since 1970, and the value then. */
  readonly samples: readonly (readonly [time: number, value: number])[];
}

type Metric = Record<string, string>;

export class Prometheus {
  /** Of its own server, with no slash at the end. */
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  /** @param folder where it keeps what it scrapes */
  static async start(config: string, folder: string): Promise<Prometheus> {
    const child = spawn(
      PROGRAM,
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${folder}/data`,
        '--log.format=json',
        '--web.listen-address=127.0.0.1:0',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    running.add(child);
    child.once('close', () => running.delete(child));
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    const said = () => log;
    const [, address = ''] = await until(
      () => /"address":"([\d.:]+)"[^\n]*"Listening on"/.exec(log),
      said,
      PATIENCE_MS,
    );
    const url = `http://${address}`;
    await until(async () => (await fetch(`${url}/-/ready`)).ok, said, PATIENCE_MS);
    return new Prometheus(url, child);
  }

  /** What its HTTP API answers; an error that it tells of is thrown. */
  async ask<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    const answer = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { status, error, data } = (await answer.json()) as { status: string; error?: string; data: T };
    if (status !== 'success') throw new Error(`${path} ${JSON.stringify(parameters)}: ${error}`);
    return data;
  }

  /** @param time in seconds since 1970; now, if not given */
  async query(expression: string, time?: number): Promise<Sample[]> {
    const at = time === undefined ? {} : { time: `${time}` };
    const { result } = await this.ask<{ result: { metric: Metric; value: [number, string] }[] }>('query', {
      query: expression,
      ...at,
    });
    return result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value) }));
  }

  /** The samples themselves, of an expression such as `up[5m]`. */
  async samples(expression: string): Promise<Series[]> {
    const { result } = await this.ask<{ result: { metric: Metric; values: [number, string][] }[] }>('query', {
      query: expression,
    });
    return result.map(({ metric, values }) => ({
      labels: metric,
      samples: values.map(([time, value]) => [time, Number(value)] as const),
    }));
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'close');
  }
}
