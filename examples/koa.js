// Metrics and health in a Koa application.
import Koa from 'koa';
import { tryCreateLoader } from 'node-ebpf';
import { EbpfMetrics, healthHandler, metricsHandler } from 'node-ebpf/metrics';

const metrics = new EbpfMetrics(await tryCreateLoader());
const handlers = { '/metrics': metricsHandler(metrics), '/health': healthHandler(metrics) };
const app = new Koa();
app.use((ctx, next) => {
  const handler = handlers[ctx.path];
  if (!handler) return next();
  ctx.respond = false; // the handler writes the response instead of Koa
  handler(ctx.req, ctx.res);
});
const server = app.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
