// Metrics and health in a Fastify application.
import Fastify from 'fastify';
import { tryCreateLoader } from 'node-ebpf';
import { EbpfMetrics, healthHandler, metricsHandler } from 'node-ebpf/metrics';

const metrics = new EbpfMetrics(await tryCreateLoader());
const fastify = Fastify();
/** Lets the handler write the response instead of Fastify. */
const by = (handler) => (request, reply) => {
  reply.hijack();
  handler(request.raw, reply.raw);
};
fastify.get('/metrics', by(metricsHandler(metrics)));
fastify.get('/health', by(healthHandler(metrics)));
console.log(await fastify.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' }));
