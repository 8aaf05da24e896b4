import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { EbpfError } from '../core/errors.ts';
import type { EbpfMetrics } from '../metrics/ebpf-metrics.ts';
import { type Handler, healthHandler, metricsHandler } from '../metrics/handlers.ts';
import { Access } from './access.ts';
import { type Asset, pageAssets } from './assets.ts';
import type { Hello } from './update.ts';
import { Viewers } from './viewers.ts';

export interface ServerOptions {
  readonly host: string;
  /** 0 takes one that is free. */
  readonly port: number;
  /** Who has it may ask; undefined where only this machine can reach `host`. */
  readonly token?: string | undefined;
  readonly metrics: EbpfMetrics;
  readonly hello: () => Hello;
}

/** A connection on which nothing moves for so long is closed. */
const IDLE_MS = 30_000;
const MOST_CONNECTIONS = 1024;

// The page is one origin, with no inline script and no inline style.
const SECURITY = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

/** Serves the page, its stream, /metrics and /health. */
export class Server {
  readonly viewers = new Viewers();
  readonly #server: http.Server;
  readonly #access: Access;
  readonly #assets = pageAssets();
  readonly #hello: () => Hello;
  readonly #metrics: Handler;
  readonly #health: Handler;
  readonly #status: Handler;

  private constructor({ token, metrics, hello }: ServerOptions) {
    this.#access = new Access(token);
    this.#hello = hello;
    this.#metrics = metricsHandler(metrics);
    this.#health = healthHandler(metrics);
    this.#status = healthHandler(withoutDetails(metrics));
    this.#server = http.createServer((request, response) => this.#answer(request, response));
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.timeout = IDLE_MS;
  }

  /**
   * Listens.
   *
   * @throws EbpfError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …
   */
  static async listen(options: ServerOptions): Promise<Server> {
    const server = new Server(options);
    const { host, port } = options;
    server.#server.listen(port, host);
    try {
      await once(server.#server, 'listening');
    } catch (error) {
      const { code = 'EIO', message } = error as NodeJS.ErrnoException;
      const hint =
        code === 'EADDRINUSE' ? 'another program has this port: take another by --listen' : undefined;
      throw new EbpfError(`listen on ${host}:${port}: ${message}`, { code, hint, cause: error });
    }
    return server;
  }

  /** `http://127.0.0.1:9435/` */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${isIPv6(address) ? `[${address}]` : address}:${port}/`;
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    this.viewers.close();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(SECURITY)) response.setHeader(name, value);
    const [path = ''] = (request.url ?? '').split('?', 1);
    if (!this.#access.isOurs(request)) say(response, 421, 'this server is asked for by its own address');
    else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      say(response, 405, 'GET and HEAD alone');
    } else this.#give(path, request, response);
  }

  #give(path: string, request: IncomingMessage, response: ServerResponse): void {
    const asset = this.#assets.get(path);
    const isAllowed = this.#access.isAllowed(request);
    if (asset) give(asset, request, response);
    else if (path === '/health') (isAllowed ? this.#health : this.#status)(request, response);
    else if (path !== '/metrics' && path !== '/stream') {
      say(response, 404, 'there is /, /metrics and /health');
    } else if (!isAllowed) {
      response.setHeader('www-authenticate', 'Bearer');
      say(response, 401, 'a token is needed: Authorization: Bearer TOKEN');
    } else if (path === '/metrics') this.#metrics(request, response);
    else this.viewers.add(request, response, this.#hello);
  }
}

function give({ type, body }: Asset, { method }: IncomingMessage, response: ServerResponse): void {
  const headers = { 'content-type': type, 'content-length': body.length, 'cache-control': 'no-cache' };
  response.writeHead(200, headers).end(method === 'HEAD' ? undefined : body);
}

function say(response: ServerResponse, status: number, words: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${words}\n`);
}

// For probes of an orchestrator, which have no token: whether it is well, and nothing that says what is where.
function withoutDetails(metrics: EbpfMetrics): Parameters<typeof healthHandler>[0] {
  return {
    health() {
      const { status, component, timestamp, durationMs } = metrics.health();
      return { status, component, timestamp, durationMs, message: status, details: {}, components: [] };
    },
  };
}
