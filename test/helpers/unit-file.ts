// A systemd unit, read as systemd.syntax(7) has it.
import { readFileSync } from 'node:fs';

export class UnitFile {
  readonly #sections = new Map<string, Map<string, string[]>>();

  constructor(path: string) {
    let section: Map<string, string[]> | undefined;
    const lines = readFileSync(path, 'utf8').replaceAll(/\\\n/g, ' ').split('\n');
    for (const line of lines.map((text) => text.trim())) {
      if (line === '' || /^[#;]/.test(line)) continue;
      const [, name] = /^\[(.+)\]$/.exec(line) ?? [];
      const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
      if (name !== undefined) {
        section = this.#sections.get(name) ?? new Map();
        this.#sections.set(name, section);
      } else if (section && key !== undefined && value !== undefined) {
        // An empty assignment takes back those before it.
        section.set(key, value === '' ? [] : [...(section.get(key) ?? []), value]);
      } else throw new Error(`${path}: neither a section nor an assignment: ${line}`);
    }
  }

  /** Every assignment, in order. */
  all(section: string, key: string): readonly string[] {
    return this.#sections.get(section)?.get(key) ?? [];
  }

  /** The one assignment. */
  one(section: string, key: string): string {
    const [value, ...more] = this.all(section, key);
    if (value === undefined || more.length > 0)
      throw new Error(`${key}= is assigned ${more.length + 1} times`);
    return value;
  }

  /** The words of all assignments. */
  words(section: string, key: string): string[] {
    return this.all(section, key).flatMap((value) => value.split(/\s+/));
  }

  /** Environment= by name; of those with spaces the quotes are systemd's. */
  get environment(): Record<string, string> {
    const assignments = this.all('Service', 'Environment').flatMap(
      (value) => value.match(/"[^"]*"|\S+/g) ?? [],
    );
    return Object.fromEntries(
      assignments.map((text) => {
        const [, name = '', value = ''] = /^"?(\w+)=(.*?)"?$/.exec(text) ?? [];
        return [name, value];
      }),
    );
  }

  /** The command, with `$NAME` split into words and `${NAME}` put in as it is. */
  command(environment: Readonly<Record<string, string>> = {}): string[] {
    const values: Readonly<Record<string, string>> = { ...this.environment, ...environment };
    return this.one('Service', 'ExecStart')
      .split(/\s+/)
      .flatMap((word) => {
        const [, name] = /^\$(\w+)$/.exec(word) ?? [];
        if (name !== undefined) return (values[name] ?? '').split(/\s+/).filter((part) => part !== '');
        return [word.replaceAll(/\$\{(\w+)\}/g, (_, inner: string) => values[inner] ?? '')];
      });
  }
}
