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
  /** 0 takes a free port. */
  readonly port: number;
  /** The token that requests need; undefined if they need none. */
  readonly token?: string | undefined;
  readonly metrics: EbpfMetrics;
  readonly hello: () => Hello;
}

/** A connection that is idle for this long is closed. */
const IDLE_MS = 30_000;
const MOST_CONNECTIONS = 1024;

// The page has one origin, and no inline scripts or styles.
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
   * Starts to listen.
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
        code === 'EADDRINUSE'
          ? 'another program uses this port: choose another one with --listen'
          : undefined;
      throw new EbpfError(`listen on ${host}:${port}: ${message}`, { code, hint, cause: error });
    }
    return server;
  }

  /** `http://127.0.0.1:9435/` */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${isIPv6(address) ? `[${address}]` : address}:${port}/`;
  }

  /** Closes every connection, and stops listening. */
  async close(): Promise<void> {
    this.viewers.close();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(SECURITY)) response.setHeader(name, value);
    const [path = ''] = (request.url ?? '').split('?', 1);
    if (!this.#access.isOurs(request)) say(response, 421, 'Host is not the address of this server');
    else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      say(response, 405, 'only GET and HEAD are allowed');
    } else this.#give(path, request, response);
  }

  #give(path: string, request: IncomingMessage, response: ServerResponse): void {
    const asset = this.#assets.get(path);
    const isAllowed = this.#access.isAllowed(request);
    if (asset) give(asset, request, response);
    else if (path === '/health') (isAllowed ? this.#health : this.#status)(request, response);
    else if (path !== '/metrics' && path !== '/stream') {
      say(response, 404, 'not found: try /, /metrics or /health');
    } else if (!isAllowed) {
      response.setHeader('www-authenticate', 'Bearer');
      say(response, 401, 'a token is required: Authorization: Bearer TOKEN');
    } else if (path === '/metrics') this.#metrics(request, response);
    else this.viewers.add(request, response, this.#hello);
  }
}

function give({ type, body }: Asset, { method }: IncomingMessage, response: ServerResponse): void {
  const headers = { 'content-type': type, 'content-length': body.length, 'cache-control': 'no-cache' };
  response.writeHead(200, headers).end(method === 'HEAD' ? undefined : body);
}

function say(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
}

// For probes of an orchestrator, which have no token: the status, without the names of what is attached.
function withoutDetails(metrics: EbpfMetrics): Parameters<typeof healthHandler>[0] {
  return {
    health() {
      const { status, component, timestamp, durationMs } = metrics.health();
      return { status, component, timestamp, durationMs, message: status, details: {}, components: [] };
    },
  };
}
