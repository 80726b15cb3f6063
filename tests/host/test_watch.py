"""The watch: what makes an instance unfit, what only counts, what it says, and that it asks."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from inference_code import log
from inference_code.host import watch as watching
from inference_code.host.cloudwatch import UNITS
from inference_code.host.faults import HostFault
from inference_code.host.figures import Figures
from inference_code.host.judge import LOOKS_IN_A_ROW, Judge
from inference_code.host.options import WatchOptions, watch_options
from inference_code.host.prometheus import Page
from inference_code.host.replacement import ASK_AGAIN_SECONDS, Outcome, Replacement
from inference_code.host.reports import parse_report
from inference_code.host.watch import MonitorEnded, Reader, Watch, missing_devices, run, trouble_of
from inference_code.log_writer import LineWriter
from inference_code.option_values import OptionInvalid
from tests.host.asking import BUCKET, PREFIX, client, some
from tests.host.loopback_aws import Aws
from tests.host.monitor import line
from tests.kit.command import CHECKOUT

INSTANCE = "i-0123456789abcdef0"
ENVIRONMENT = {
    "INSTANCE_ID": INSTANCE,
    "TRACESHIP_CHIPS": "1",
    "TRACESHIP_DEVICES": "/dev",
    "TRACESHIP_PING": "http://127.0.0.1:1/ping",
    "TRACESHIP_START_SECONDS": "900",
    "TRACESHIP_BUCKET": BUCKET,
    "TRACESHIP_BUCKET_OWNER": "111122223333",
    "TRACESHIP_SLOT_PREFIX": PREFIX,
    "TRACESHIP_SLOTS": "1",
    "TRACESHIP_SERVICE": "traceship-fleet",
    "TRACESHIP_DIGEST": "ab" * 32,
    "TRACESHIP_HOST_METRICS_PORT": "0",
}


class Host:
    """A watch whose clock, devices and server are the test's."""

    def __init__(self, aws: Aws, folder: Path, ping: str) -> None:
        (folder / "dev").mkdir()
        (folder / "dev/neuron0").symlink_to("/dev/null")
        self.aws, self.now = aws, 1000.0
        self.device = folder / "dev/neuron0"
        self.file = folder / "lines"
        self._lines = LineWriter(os.open(self.file, os.O_WRONLY | os.O_CREAT), log._notice)
        options = replace(watch_options(ENVIRONMENT), devices=folder / "dev", ping=ping)
        replacement = Replacement(some(aws, 1), client(aws, "autoscaling"), instance=INSTANCE)
        self.watch = Watch(options, replacement, self._lines, clock=lambda: self.now)

    def look(self, *, seconds: float = 5.0) -> None:
        self.now += seconds
        self.watch.look()

    def marked(self) -> int:
        return len(self.aws.called("SetInstanceHealth"))

    def told(self) -> list[dict[str, Any]]:
        self._lines.close(10)
        return [json.loads(row) for row in self.file.read_text().splitlines()]


@pytest.fixture
def server() -> Iterator[dict[str, Any]]:
    """A server's /ping: ``status`` and ``url``."""
    state: dict[str, Any] = {"status": 200}

    class Ping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(state["status"])
            self.end_headers()
            self.wfile.write(b'{"message":\n "it is without a worker"}')

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Ping)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state["url"] = f"http://127.0.0.1:{server.server_address[1]}/ping"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def host(aws: Aws, tmp_path: Path, server: dict[str, Any]) -> Host:
    return Host(aws, tmp_path, server["url"])


def _judge() -> Judge:
    return Judge(chips=1, ready_within=900)


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        ({"mem_ecc_uncorrected": 1}, "uncorrected-memory-error"),
        ({"sram_ecc_uncorrected": 2}, "uncorrected-memory-error"),
        ({"hardware_errors": 1}, "neuron-hardware-errors"),
        ({"mem_ecc_corrected": 10_000, "sram_ecc_corrected": 10_000}, None),
        ({}, None),
    ],
)
def test_damage_is_a_fault_and_stays_one(report: dict[str, int], fault: str | None) -> None:
    """What was corrected only counts."""
    judge = _judge()

    judge.report(parse_report(line(**report)))
    judge.report(parse_report(line()))

    found = judge.fault()
    assert (found.id if found else None) == fault
    assert found is None or (isinstance(found, HostFault) and found.what and found.why and found.fix)


@pytest.mark.parametrize(
    ("report", "missing", "fault"),
    [({}, [0], "device-missing"), ({"driver_error": "not loaded"}, [], "neuron-driver-lost"),
     ({"chips": 0}, [], "neuron-driver-lost")],
)  # fmt: skip
def test_what_may_be_a_glitch_counts_when_looks_in_a_row_agree(
    report: dict[str, Any], missing: list[int], fault: str
) -> None:
    """And is forgotten when one of them does not."""
    judge = _judge()
    found = []
    for _ in range(LOOKS_IN_A_ROW):
        judge.report(parse_report(line(**report)))
        judge.devices(missing)
        found.append(judge.fault())

    assert [one and one.id for one in found] == [None] * (LOOKS_IN_A_ROW - 1) + [fault]
    judge.report(parse_report(line()))
    judge.devices([])
    assert judge.fault() is None


def test_uncorrected_memory_marks_the_instance_once(host: Host) -> None:
    """By its own id, without waiting for a grace period; the slot says who and why."""
    host.watch.hear(line(mem_ecc_uncorrected=1))

    host.look()
    host.look()

    (call,) = host.aws.called("SetInstanceHealth")
    assert (call["InstanceId"], call["HealthStatus"], call["ShouldRespectGracePeriod"]) == (
        INSTANCE, "Unhealthy", "false",
    )  # fmt: skip
    note = host.aws.objects[f"/{BUCKET}/{PREFIX}/0"][0].decode()
    assert note.startswith(f"{INSTANCE} uncorrected-memory-error: ")


def test_a_healthy_instance_asks_nobody_for_anything(host: Host) -> None:
    """Corrected errors included."""
    for _ in range(20):
        host.watch.hear(line(mem_ecc_corrected=5))
        host.look()

    assert host.aws.calls == []
    assert host.aws.objects == {}


def test_a_device_node_that_goes_is_missed(host: Host) -> None:
    """After some looks, not at the first."""
    host.device.unlink()

    host.look()
    assert host.marked() == 0
    host.look()
    host.look()

    assert host.marked() == 1
    assert missing_devices(host.device.parent, 1) == [0]


def test_a_server_that_is_not_ready_for_longer_than_a_start_takes(
    host: Host, server: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its own words are in the reason; one that comes back in time is no fault."""
    server["status"] = 503
    host.look()
    host.look(seconds=899)
    server["status"] = 200
    host.look()
    assert host.marked() == 0

    server["status"] = 503
    host.look()
    host.look(seconds=900)

    assert host.marked() == 1
    assert "it is without a worker" in str([vars(record) for record in caplog.records])
    assert trouble_of("http://127.0.0.1:1/ping") is not None


@pytest.mark.parametrize(("denied", "held", "outcome"), [
    (set(), True, Outcome.REFUSED), ({"write"}, False, Outcome.UNKNOWN), ({"health"}, False, Outcome.UNKNOWN),
])  # fmt: skip
def test_a_no_is_said_loudly_counted_and_asked_again(
    host: Host, denied: set[str], held: bool, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    """An error with a fix each time, not each look."""
    host.aws.denied |= denied
    if held:
        host.aws.put(f"/{BUCKET}/{PREFIX}/0", b"i-other\n")
    host.watch.hear(line(hardware_errors=1))

    host.look()
    host.look()

    assert host.marked() == 0
    assert host.watch.figures.refused == 1
    (record,) = [record for record in caplog.records if record.getMessage() == "not replaced"]
    facts = vars(record)
    assert facts["error"] == f"replacement-{outcome.value}"
    assert "NOT" in facts["what"]
    assert facts["fault"] == "neuron-hardware-errors"
    assert facts["fix"]
    host.aws.denied.clear()
    host.aws.objects.clear()
    host.look(seconds=ASK_AGAIN_SECONDS)
    assert host.marked() == 1


def test_a_mark_that_was_refused_is_tried_again_with_the_slot_that_was_taken(host: Host) -> None:
    """The fleet has one slot in an hour here, and it is this instance's own."""
    host.aws.denied.add("health")
    host.watch.hear(line(hardware_errors=1))
    host.look()
    assert host.marked() == 0

    host.aws.denied.clear()
    host.look(seconds=ASK_AGAIN_SECONDS)

    assert host.marked() == 1


@pytest.mark.parametrize(
    "answer", [b"no HTTP at all\r\n\r\n", b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n"]
)
def test_a_ping_that_is_cut_off_is_a_trouble_and_ends_no_watch(answer: bytes) -> None:
    """The watch would begin to count again how long the server is away."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def say() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        saying = threading.Thread(target=say)
        saying.start()
        trouble = trouble_of(f"http://127.0.0.1:{listening.getsockname()[1]}/ping")
        saying.join()

    assert trouble is not None


def test_silence_is_told_as_zero_reports_and_replaces_nobody(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat is written while the monitor is silent: CloudWatch can alarm on it."""
    host.watch.hear(line())
    host.look()
    host.look(seconds=60)
    host.look(seconds=60)

    assert [row["NeuronReports"] for row in host.told()] == [1, 0]
    silences = [record for record in caplog.records if record.getMessage() == "neuron-monitor is silent"]
    assert len(silences) == 1
    assert host.marked() == 0


def test_nonsense_from_the_monitor_is_counted_and_never_fatal(host: Host) -> None:
    """It prints warnings, too."""
    host.watch.hear(b"warning: something\n")
    host.watch.hear(line())

    assert (host.watch.figures.unreadable, host.watch.figures.reports) == (1, 1)


def test_a_line_for_cloudwatch_has_one_dimension_and_every_metric(host: Host) -> None:
    """Counts of the interval, samples of gauges, in documented units."""
    host.watch.hear(line(mem_ecc_corrected=2))
    host.watch.hear(line(mem_ecc_corrected=1))
    host.look(seconds=60)
    host.watch.hear(line())
    host.look(seconds=60)

    first, second = host.told()
    directive = first["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["Service"]]
    assert directive["Namespace"] == "traceship"
    assert {row["Name"]: row["Unit"] for row in directive["Metrics"]} == UNITS
    assert first["Service"] == "traceship-fleet"
    assert first["Digest"] == "ab" * 32
    assert (first["NeuronEccCorrected"], second["NeuronEccCorrected"]) == (3, 0)
    assert (first["NeuronExecutions"], first["NeuronFailedExecutions"]) == (246, 6)
    assert first["NeuronCoreUse"] == [40.5, 20, 40.5, 20]
    assert first["NeuronLatencyP99"] == [9.0, 9.0]
    assert (first["NeuronDevices"], first["HostFault"]) == (1, 0)


def test_a_value_holds_at_most_a_hundred_numbers(host: Host) -> None:
    """Source: CloudWatch user guide, "Specification: Embedded metric format"."""
    for _ in range(77):
        host.watch.hear(line())
    host.look(seconds=60)

    (told,) = host.told()
    assert 50 <= len(told["NeuronCoreUse"]) <= 100


def test_the_page_for_prometheus_shows_what_was_reported() -> None:
    """Totals, gauges of the last report, and which release."""
    figures = Figures()
    figures.add(parse_report(line(mem_ecc_corrected=2)))
    figures.add(parse_report(line(mem_ecc_corrected=1)))

    page = Page(figures, service="traceship-fleet", digest="abc").text().decode()

    assert 'traceship_neuron_ecc_events_total{device="0",kind="mem_ecc_corrected"} 3.0' in page
    assert 'traceship_neuron_core_use_ratio{core="0"} 0.405' in page
    assert 'traceship_neuron_executions_total{outcome="completed"} 240.0' in page
    assert 'traceship_host_info{digest="abc",service="traceship-fleet"} 1.0' in page


def test_a_monitor_that_ends_is_an_error_after_a_while(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then devices and server are watched; then both are started again."""
    monkeypatch.setattr(watching, "AFTER_END_SECONDS", 0.0)

    with pytest.raises(MonitorEnded):
        run(host.watch, Reader(io.BytesIO(line())), threading.Event(), look_seconds=0.05)

    assert [row["NeuronReports"] for row in host.told()][:1] in ([0], [1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("INSTANCE_ID", ""), ("TRACESHIP_CHIPS", "0"), ("TRACESHIP_PING", "http://elsewhere/ping"),
     ("TRACESHIP_SLOTS", "many"), ("TRACESHIP_DIGEST", "x"), ("TRACESHIP_BUCKET_OWNER", "me")],
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_named(name: str, value: str) -> None:
    """A watch without chips is refused, too: there is none on a CPU fleet."""
    with pytest.raises(OptionInvalid) as refused:
        watch_options({**ENVIRONMENT, name: value})

    assert name in str(refused.value)


def test_the_options_are_those_of_the_host(tmp_path: Path) -> None:
    """A heartbeat is written even where the server's own metrics are switched off."""
    assert watch_options({**ENVIRONMENT, "TRACESHIP_EMF": "0"}).interval == 60
    assert isinstance(watch_options(ENVIRONMENT), WatchOptions)


@pytest.mark.timeout(120)
def test_the_command_reads_a_pipe_answers_prometheus_and_ends_at_sigterm(
    aws: Aws, tmp_path: Path, server: dict[str, Any]
) -> None:
    """The whole process, as the unit starts it: monitor, pipe, watch; a page on loopback, a last line."""
    (tmp_path / "neuron0").symlink_to("/dev/null")
    (tmp_path / "monitor.json").write_text('{"period": "0.1s"}')
    environment = {
        **ENVIRONMENT,
        "TRACESHIP_DEVICES": str(tmp_path),
        "TRACESHIP_PING": server["url"],
        "PYTHONPATH": str(CHECKOUT),
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    monitor = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "tests/host/monitor.py"), "-c", str(tmp_path / "monitor.json")],
        env=environment,
        stdout=subprocess.PIPE,
    )
    command = [sys.executable, "-m", "inference_code", "watch"]
    watch = subprocess.Popen(
        command, env=environment, stdin=monitor.stdout, stderr=subprocess.PIPE, text=True
    )
    try:
        assert watch.stderr is not None
        begun = json.loads(watch.stderr.readline())
        assert begun["event"] == "watching"
        url = f"http://127.0.0.1:{begun['metrics_port']}/metrics"
        page = ""
        while "traceship_neuron_core_use_ratio{" not in page:
            page = urllib.request.urlopen(url, timeout=10).read().decode()
        watch.terminate()
        rest = [json.loads(row) for row in watch.stderr.read().splitlines()]
        assert watch.wait(30) == 0
        assert rest[-1]["event"] == "host metrics"
        assert rest[-1]["NeuronReports"] > 0
        assert aws.calls == []
    finally:
        for process in (monitor, watch):
            process.kill()
            process.wait()
