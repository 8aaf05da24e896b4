import type { Hello, Now, Update } from '../serve/update.ts';

/** Receives the events of the server's stream. */
export interface Listener {
  hello(hello: Hello): void;
  update(update: Update, now: Now): void;
  /** Called with the state of the connection. */
  state(text: string, live: boolean): void;
  /** Called if the server requires a token, or refused the one it got; resolves when there is a new one. */
  refused(): Promise<void>;
}

const KEY = 'node-ebpf-token';
const LONGEST_WAIT_MS = 15_000;

/** Keeps the token of the page's address (`#token=…`), if it has one, and removes it from the address. */
export function takeToken(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return;
  keepToken(token);
  history.replaceState(null, '', location.pathname);
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

/** Reads the stream, and reconnects when it ends (the server restarted, or the laptop slept). */
export async function follow(listener: Listener): Promise<never> {
  for (let wait = 500; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      const token = sessionStorage.getItem(KEY);
      // EventSource cannot send a token.
      const answer = await fetch('stream', {
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
        cache: 'no-store',
      });
      if (answer.status === 401) {
        listener.state('token required', false);
        await listener.refused();
        wait = 250;
        continue;
      }
      if (!answer.ok || !answer.body) throw new Error(`the server answered ${answer.status}`);
      for await (const { name, data } of events(answer.body)) {
        wait = 250;
        if (name === 'hello') listener.hello(data as Hello);
        else listener.update(...(data as [Update, Now]));
        listener.state('live', true);
      }
    } catch {
      // Shown below, and tried again.
    }
    listener.state('not connected', false);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{ name: string; data: unknown }> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // Parts of an incomplete event: a window of updates arrives in many.
  let parts: string[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    if (!text.includes('\n\n')) {
      parts.push(text);
      continue;
    }
    const whole = (parts.join('') + text).split('\n\n');
    parts = [whole.pop() ?? ''];
    for (const event of whole) {
      const [, name = '', data = 'null'] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
      if (name !== '') yield { name, data: JSON.parse(data) };
    }
  }
}
