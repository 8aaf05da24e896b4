import type { IncomingMessage, ServerResponse } from 'node:http';

/** A viewer with more unread bytes is disconnected, so that a slow reader cannot make memory grow. */
const MOST_UNREAD = 8 << 20;
const MOST_VIEWERS = 100;

/** The clients that read the stream of updates, as server-sent events. */
export class Viewers {
  readonly #responses = new Set<ServerResponse>();

  get size(): number {
    return this.#responses.size;
  }

  /** Starts a stream with its first event. */
  add({ method }: IncomingMessage, response: ServerResponse, hello: () => unknown): void {
    if (this.#responses.size >= MOST_VIEWERS) {
      response.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '10' });
      response.end(`there are already ${MOST_VIEWERS} viewers\n`);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    if (method === 'HEAD') {
      response.end();
      return;
    }
    this.#responses.add(response);
    response.on('close', () => this.#responses.delete(response));
    response.on('error', () => {}); // the client left during a write; 'close' follows
    response.write(event('hello', JSON.stringify(hello())));
  }

  /** Sends an event to all viewers. `data` is only called if there are any. */
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
