/** What Prometheus calls a metric family: a name, and series that differ in their labels. */
export interface FamilyInfo {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** The names of its labels; of a histogram `le` is the last. */
  readonly labels: readonly string[];
  /** Series come and go, and are not kept when their source goes. */
  readonly transient?: boolean;
}

export type Labels = Readonly<Record<string, string>>;

/** Which number of a histogram. */
export type Part = '_bucket' | '_sum' | '_count';

/** A number of a family. */
export interface Sample {
  readonly labels: Labels;
  value: number;
  readonly part?: Part;
}

interface PrometheusMetric {
  name: string;
  help: string;
  type: FamilyInfo['type'];
  aggregator: 'sum';
  values: { labels: Labels; value: number; metricName?: string }[];
}

/** A family as prom-client's registry wants it: the numbers are the kernel's own, and asked for at each scrape. */
export class Family {
  readonly name: string;
  readonly help: string;
  readonly type: FamilyInfo['type'];
  readonly aggregator = 'sum';
  readonly #samples: () => Iterable<Sample>;

  constructor(info: FamilyInfo, samples: () => Iterable<Sample>) {
    this.name = info.name;
    this.help = info.help;
    this.type = info.type;
    this.#samples = samples;
  }

  async get(): Promise<PrometheusMetric> {
    const { name, help, type, aggregator } = this;
    const values = Array.from(this.#samples(), ({ labels, value, part }) =>
      part === undefined ? { labels, value } : { labels, value, metricName: `${name}${part}` },
    );
    return { name, help, type, aggregator, values };
  }

  /** The registry's resetMetrics(): the kernel's counters are not its to reset. */
  reset(): void {}
}
