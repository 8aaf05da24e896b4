// What a PromQL expression names: enough of its grammar for expressions that promtool(1) has found to be well formed.

export interface Names {
  /** Metrics, recorded ones included, each with the labels that its matchers name. */
  metrics: {
    name: string;
    labels: string[];
    /** It is given to rate(), irate() or increase(). */
    rated: boolean;
  }[];
  /** Labels of by(), on() and the like. */
  grouping: string[];
}

const WORDS = new Set('and or unless bool offset by without on ignoring group_left group_right'.split(' '));

export function namesOf(expression: string): Names {
  const grouping: string[] = [];
  const metrics: Names['metrics'] = [];
  const plain = expression
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
    .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g, (_, labels: string) => {
      grouping.push(...labels.split(',').flatMap((label) => label.trim() || []));
      return ' ';
    });
  const selector =
    /(?:\b(rate|increase|irate)\s*\(\s*)?(?<![\w:.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\s*\{([^}]*)\})?(\[[^\]]*\])?/g;
  for (const [, rated, name = '', matchers = '', range] of plain.matchAll(selector)) {
    if (WORDS.has(name)) continue;
    if ((rated !== undefined) !== (range !== undefined)) throw new Error(`${name} in ${expression}`);
    const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
    metrics.push({ name, labels, rated: rated !== undefined });
  }
  return { metrics, grouping };
}
