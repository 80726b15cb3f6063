"""The figures of an instance as Prometheus' page, on loopback. docs/host.md explains every family."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from artifact.serving import METRICS
from inference_code.host.figures import Figures


class Page:
    """What ``figures`` hold whenever it is asked for."""

    def __init__(self, figures: Figures, *, service: str, digest: str) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Families(figures, service, digest))

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Families(Collector):
    def __init__(self, figures: Figures, service: str, digest: str) -> None:
        self._figures = figures
        self._labels = (service, digest)

    def collect(self) -> Iterator[Metric]:
        figures, latest = self._figures, self._figures.latest
        yield CounterMetricFamily(
            "traceship_neuron_reports_total", "Reports of neuron-monitor.", value=figures.reports
        )
        yield CounterMetricFamily(
            "traceship_neuron_unreadable_reports_total",
            "Lines of neuron-monitor that are no report.",
            value=figures.unreadable,
        )
        use = GaugeMetricFamily(
            "traceship_neuron_core_use_ratio", "Use of a core in the last report.", labels=["core"]
        )
        for core, percent in sorted(latest.cores.items()):
            use.add_metric([str(core)], percent / 100)
        yield use
        memory = GaugeMetricFamily(
            "traceship_neuron_memory_bytes", "Memory that processes with graphs use.", labels=["place"]
        )
        memory.add_metric(["device"], latest.device_bytes)
        memory.add_metric(["host"], latest.host_bytes)
        yield memory
        latency = GaugeMetricFamily(
            "traceship_neuron_execution_seconds",
            "Latency of executions in the last report.",
            labels=["quantile"],
        )
        for name, seconds in sorted(latest.latency.items()):
            latency.add_metric([str(int(name[1:]) / 100)], seconds)
        yield latency
        executions = CounterMetricFamily(
            "traceship_neuron_executions_total", "Executions on the chips.", labels=["outcome"]
        )
        for outcome, count in sorted(figures.executions.items()):
            executions.add_metric([outcome], count)
        yield executions
        errors = CounterMetricFamily(
            "traceship_neuron_execution_errors_total", "Errors of executions.", labels=["kind"]
        )
        for kind, count in sorted(figures.errors.items()):
            errors.add_metric([kind], count)
        yield errors
        ecc = CounterMetricFamily(
            "traceship_neuron_ecc_events_total", "Memory errors of the chips.", labels=["device", "kind"]
        )
        for (device, kind), count in sorted(figures.ecc.items()):
            ecc.add_metric([str(device), kind], count)
        yield ecc
        yield GaugeMetricFamily(
            "traceship_neuron_devices", "Chips whose device node is there.", value=figures.devices
        )
        yield GaugeMetricFamily(
            "traceship_host_faulty", "The instance is unfit to serve.", value=int(figures.faulty)
        )
        yield CounterMetricFamily(
            "traceship_replacements_refused_total",
            "Replacements that were asked for in vain.",
            value=figures.refused,
        )
        info = GaugeMetricFamily("traceship_host_info", "Always 1.", labels=["service", "digest"])
        info.add_metric(list(self._labels), 1)
        yield info


class PageServer:
    """Answers ``GET /metrics`` on loopback with ``page``, from a thread of its own.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, page: Page, *, port: int) -> None:
        handler = type("Handler", (_Handler,), {"page": page})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    page: Page
    timeout = 5

    def do_GET(self) -> None:
        if self.path != METRICS:
            self.send_error(404)
            return
        body = self.page.text()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log is for what happens to the instance."""
