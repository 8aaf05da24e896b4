// Metrics and health in an Express application.
import express from 'express';
import { tryCreateLoader } from 'node-ebpf';
import { EbpfMetrics, healthHandler, metricsHandler } from 'node-ebpf/metrics';

const metrics = new EbpfMetrics(await tryCreateLoader());
const app = express();
app.get('/metrics', metricsHandler(metrics));
app.get('/health', healthHandler(metrics));
const server = app.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
