// An application that starts with or without eBPF. /health says whether eBPF is on, and why not; /metrics has the available metrics.
import http from 'node:http';
import { tryCreateLoader } from 'node-ebpf';
import { EbpfMetrics, healthHandler, metricsHandler } from 'node-ebpf/metrics';
import { XdpCounter } from 'node-ebpf/programs';

const { loader, reason } = await tryCreateLoader();
const metrics = new EbpfMetrics({ loader, reason });
const iface = process.argv[2] ?? 'lo';
const counter = loader && (await XdpCounter.attach({ iface }));
if (counter) metrics.add(counter);

const [sendMetrics, sendHealth] = [metricsHandler(metrics), healthHandler(metrics)];
const server = http.createServer((request, response) => {
  if (request.url === '/metrics') sendMetrics(request, response);
  else if (request.url === '/health') sendHealth(request, response);
  else response.end('hello\n');
});
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    counter?.close();
    server.closeAllConnections();
    server.close();
  });
}
