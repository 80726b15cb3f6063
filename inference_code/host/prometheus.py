"""The figures of an instance as Prometheus' page, on loopback. docs/host.md explains every family."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from artifact.serving import METRICS
from inference_code.host.figures import Figures

Values = Mapping[tuple[str, ...], float]


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
        yield _gauge(
            "traceship_neuron_core_use_ratio",
            "Use of a core in the last report.",
            ("core",),
            {(str(core),): percent / 100 for core, percent in latest.cores.items()},
        )
        yield _gauge(
            "traceship_neuron_memory_bytes",
            "Memory that processes with graphs use.",
            ("place",),
            {("device",): latest.device_bytes, ("host",): latest.host_bytes},
        )
        yield _gauge(
            "traceship_neuron_execution_seconds",
            "Latency of executions in the last report.",
            ("quantile",),
            {(str(int(name[1:]) / 100),): seconds for name, seconds in latest.latency.items()},
        )
        yield from self._counted()
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
        yield _gauge("traceship_host_info", "Always 1.", ("service", "digest"), {self._labels: 1})

    def _counted(self) -> Iterator[Metric]:
        figures = self._figures
        yield _counter(
            "traceship_neuron_executions_total",
            "Executions on the chips.",
            ("outcome",),
            {(outcome,): count for outcome, count in figures.executions.items()},
        )
        yield _counter(
            "traceship_neuron_execution_errors_total",
            "Errors of executions.",
            ("kind",),
            {(kind,): count for kind, count in figures.errors.items()},
        )
        yield _counter(
            "traceship_neuron_ecc_events_total",
            "Memory errors of the chips.",
            ("device", "kind"),
            {(str(device), kind): count for (device, kind), count in figures.ecc.items()},
        )


def _gauge(name: str, about: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(GaugeMetricFamily(name, about, labels=labels), values)


def _counter(name: str, about: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(CounterMetricFamily(name, about, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for labels, value in sorted(values.items()):
        family.add_metric(list(labels), value)
    return family


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
