import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HealthReport } from '../loader/health.ts';
import type { EbpfMetrics } from './ebpf-metrics.ts';

/** What node:http calls, and every framework can. */
export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** How fresh the answers are. */
export interface MetricsHandlerOptions {
  /** For how many milliseconds an answer serves those who ask after it: many scrapers at once cost one look. Default 100. */
  maxAgeMs?: number;
}

/**
 * Answers GET and HEAD with the metrics in Prometheus' format.
 *
 * @example
 * http.createServer(metricsHandler(metrics)).listen(9435); // node:http
 * app.get('/metrics', metricsHandler(metrics)); // Express
 * fastify.get('/metrics', (request, reply) => { reply.hijack(); handler(request.raw, reply.raw); }); // Fastify
 * router.get('/metrics', ({ req, res }) => { handler(req, res); }); // Koa, with ctx.respond = false
 */
export function metricsHandler(
  metrics: EbpfMetrics,
  { maxAgeMs = 100 }: MetricsHandlerOptions = {},
): Handler {
  if (!(maxAgeMs >= 0))
    throw new RangeError(`Expected a number of milliseconds for maxAgeMs but received ${maxAgeMs}`);
  let last: { at: number; text: Promise<string> } | undefined;
  const scrape = () => {
    const now = performance.now();
    if (!last || now - last.at > maxAgeMs) last = { at: now, text: metrics.scrape() };
    return last.text;
  };
  return (request, response) => {
    if (!isRead(request, response)) return;
    scrape().then(
      (text) => answer(request, response, 200, metrics.contentType, text),
      (error: unknown) =>
        answer(request, response, 500, 'text/plain; charset=utf-8', `${(error as Error).message}\n`),
    );
  };
}

/**
 * Answers GET and HEAD with the health as JSON: 200 where all is well or degraded, 503 where it is unhealthy. Its
 * `ebpf_loader` is true where all is well, and false otherwise; `message` says why.
 *
 * @param from anything with health(): EbpfMetrics, EbpfLoader
 */
export function healthHandler(from: { health(): HealthReport }): Handler {
  return (request, response) => {
    if (!isRead(request, response)) return;
    const report = from.health();
    const status = report.status === 'unhealthy' ? 503 : 200;
    const body = { ebpf_loader: report.status === 'healthy', ...report };
    answer(request, response, status, 'application/json', `${JSON.stringify(body)}\n`);
  };
}

function isRead({ method }: IncomingMessage, response: ServerResponse): boolean {
  if (method === 'GET' || method === 'HEAD') return true;
  response.writeHead(405, { allow: 'GET, HEAD' }).end();
  return false;
}

// A client that is gone by now is nobody's error.
function answer(
  { method }: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  text: string,
): void {
  if (response.destroyed) return;
  const headers = {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  };
  response.writeHead(status, headers).end(method === 'HEAD' ? undefined : text);
}
