import type { IncomingMessage, ServerResponse } from 'node:http';

/** What a viewer may leave unread, beyond which it is no viewer: memory is not to grow with who reads slowly. */
const MOST_UNREAD = 8 << 20;
const MOST_VIEWERS = 100;

/** Those who read the stream of updates: server-sent events. */
export class Viewers {
  readonly #responses = new Set<ServerResponse>();

  get size(): number {
    return this.#responses.size;
  }

  /** Begins a stream with its first event. */
  add({ method }: IncomingMessage, response: ServerResponse, hello: () => unknown): void {
    if (this.#responses.size >= MOST_VIEWERS) {
      response.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '10' });
      response.end(`there are ${MOST_VIEWERS} viewers already\n`);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    if (method === 'HEAD') {
      response.end();
      return;
    }
    this.#responses.add(response);
    response.on('close', () => this.#responses.delete(response));
    response.on('error', () => {}); // it went away while it was written to; 'close' follows
    response.write(event('hello', JSON.stringify(hello())));
  }

  /** Sends an event to all. `data` is called where there is anybody. */
  send(name: string, data: () => unknown): void {
    if (this.#responses.size === 0) return;
    const text = event(name, JSON.stringify(data()));
    for (const response of this.#responses) {
      if (response.writableLength > MOST_UNREAD) response.destroy();
      else response.write(text);
    }
  }

  close(): void {
    for (const response of this.#responses) response.end();
  }
}

// JSON has no line breaks.
function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`;
}
