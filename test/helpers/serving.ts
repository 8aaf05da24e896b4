// `node-ebpf serve` as a process of its own, as an operator runs it.
import type { Hello, Now, Update } from '../../lib/serve/update.ts';
import { CLI } from './child.ts';
import { Command } from './command.ts';
import { until } from './until.ts';

export class Serving extends Command {
  /** @param prefix a command that runs it: `ip netns exec …`, setpriv(1) */
  constructor(args: readonly string[], prefix: readonly string[] = []) {
    super([...prefix, process.execPath, CLI, 'serve', ...args]);
  }

  /** Where it serves, once it has attached what it could. */
  async url(): Promise<string> {
    const [, url = ''] = await until(
      () => /^serving (\S+)\n/m.exec(this.stdout) ?? (this.child.exitCode !== null ? ['', ''] : undefined),
      () => `it serves nothing: ${this.stdout}${this.stderr}`,
    );
    if (url === '') throw new Error(`it ended: ${this.stdout}${this.stderr}`);
    return url;
  }

  async get(path: string, init?: RequestInit): Promise<Response> {
    return fetch(new URL(path, await this.url()), init);
  }

  /** By SIGTERM. */
  async end(): Promise<number | string> {
    this.child.kill('SIGTERM');
    return (await this.ended).status;
  }
}

export interface StreamEvent {
  readonly name: 'hello' | 'update';
  readonly hello?: Hello;
  readonly update?: Update;
  readonly now?: Now;
}

/** The events of a stream, until the caller has enough. */
export async function* streamOf(answer: Response): AsyncGenerator<StreamEvent> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [, name = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (name === 'hello') yield { name, hello: JSON.parse(data) as Hello };
      else {
        const [update, now] = JSON.parse(data) as [Update, Now];
        yield { name: 'update', update, now };
      }
    }
  }
}
