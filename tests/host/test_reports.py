"""A line of neuron-monitor is a report or unreadable, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_code.host.reports import ECC_KINDS, MAX_LINE_BYTES, Report, ReportUnreadable, parse_report
from tests.host.monitor import line, report

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_the_documented_report_is_read() -> None:
    """Cores, memory, latency, executions, errors, memory errors and chips."""
    found = parse_report(line(chips=2, mem_ecc_corrected=3, hardware_errors=1))

    assert found.cores == {0: 40.5, 1: 20}
    assert (found.device_bytes, found.host_bytes) == (2000, 1000)
    assert found.latency == {"p50": 0.004, "p99": 0.009}
    assert found.executions == {"completed": 120, "completed_with_err": 1, "timed_out": 2}
    assert found.errors["hardware"] == 1
    assert found.ecc[(0, "mem_ecc_corrected")] == 3
    assert set(found.ecc) == {(chip, kind) for chip in range(2) for kind in ECC_KINDS}
    assert (found.devices, found.driver_error, found.troubles) == (2, "", ())


def test_processes_add_up_and_the_slowest_counts() -> None:
    """Each has cores and memory of its own."""
    document = report()
    document["neuron_runtime_data"] *= 2

    found = parse_report(json.dumps(document).encode())

    assert found.executions["completed"] == 240
    assert found.device_bytes == 4000
    assert found.latency["p99"] == 0.009


def test_an_idle_instance_has_a_report() -> None:
    """No process, latency null, counters that this chip lacks."""
    document = report()
    document["neuron_runtime_data"][0]["report"]["execution_stats"]["latency_stats"]["total_latency"] = None
    for device in document["system_data"]["neuron_hw_counters"]["neuron_devices"]:
        del device["sram_ecc_corrected"]

    assert parse_report(json.dumps(document).encode()).latency == {}
    assert parse_report(b"{}") == Report()


def test_what_could_not_be_read_is_told_apart() -> None:
    """A driver that is not there, and a group that failed."""
    document = report(driver_error="driver not loaded")
    document["system_data"]["neuron_hw_counters"]["error"] = "no counters"

    found = parse_report(json.dumps(document).encode())

    assert (found.devices, found.driver_error, found.troubles) == (
        None,
        "driver not loaded",
        ("no counters",),
    )


@pytest.mark.parametrize(
    "text",
    [b"neuron-monitor: permission denied", b"[]", b'{"neuron_runtime_data": 3}', b"\xff\xfe", b"{" * 100_000,
     b'{"neuron_hardware_info": {"neuron_device_count": -1}}', b" " * (MAX_LINE_BYTES + 1)],
    ids=range(7),
)  # fmt: skip
def test_what_is_no_report_is_refused(text: bytes) -> None:
    """With what, why and a fix."""
    with pytest.raises(ReportUnreadable) as refused:
        parse_report(text)

    assert refused.value.id == "report-unreadable"
    assert refused.value.why
    assert refused.value.fix


@given(JSON, st.sampled_from(["neuron_runtime_data", "system_data", "neuron_hardware_info"]))
def test_nothing_else_is_ever_raised(value: Any, place: str) -> None:
    """Whatever stands where a figure belongs."""
    document = {**report(), place: value}
    with contextlib.suppress(ReportUnreadable):
        parse_report(json.dumps(document).encode())
