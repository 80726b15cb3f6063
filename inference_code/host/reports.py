"""A line of neuron-monitor -> what of it is watched.

Source: aws-neuron/aws-neuron-sdk:tools/neuron-sys-tools/neuron-monitor-user-guide.rst. Groups that were not
asked for, or that could not be read, are absent or say so in their ``error``; nothing else is required.
ECC events and executions count within a report's period: AWS's own neuron-monitor-prometheus.py adds
them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from artifact.errors import TraceshipError

MAX_LINE_BYTES = 4_194_304
"""Of a report; one of 64 cores with hundreds of loaded graphs is far below."""

ECC_KINDS = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected")
PERCENTILES = ("p50", "p99")


class ReportUnreadable(TraceshipError):
    """A line of neuron-monitor is not a report."""

    id = "report-unreadable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="a report of neuron-monitor cannot be read",
            why=why,
            fix="run neuron-monitor by hand on the host, and compare its version with the driver's",
        )


@dataclass(frozen=True)
class Report:
    """Sums over all processes that use the chips.

    ``cores``: percent of the period in use, by core. ``latency``: seconds, the slowest process's, by
    percentile. ``executions`` and ``errors``: counts by outcome and by kind. ``ecc``: events by chip and
    kind. ``devices``: chips that the driver sees, None where that is not told. ``driver_error``: why the
    driver could not be asked. ``troubles``: what else could not be read.
    """

    cores: Mapping[int, float] = field(default_factory=dict)
    device_bytes: int = 0
    host_bytes: int = 0
    latency: Mapping[str, float] = field(default_factory=dict)
    executions: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    ecc: Mapping[tuple[int, str], int] = field(default_factory=dict)
    devices: int | None = None
    driver_error: str = ""
    troubles: tuple[str, ...] = ()


def parse_report(line: bytes) -> Report:
    """
    Raises:
        ReportUnreadable: not one JSON object, or a figure that is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ReportUnreadable(why=f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        document = msgspec.json.decode(line)
        return _report(_table(document, "the report"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReportUnreadable(why=f"it is not JSON: {error}") from None


def _report(document: Mapping[str, Any]) -> Report:
    runtimes = [_table(row, "neuron_runtime_data") for row in _list(document.get("neuron_runtime_data"))]
    groups = [_table(row.get("report"), "report") for row in runtimes]
    hardware = _table(document.get("neuron_hardware_info"), "neuron_hardware_info")
    counters = _table(
        _table(document.get("system_data"), "system_data").get("neuron_hw_counters"), "counters"
    )
    cores: dict[int, float] = {}
    latency: dict[str, float] = {}
    executions: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    for group in groups:
        in_use = _table(group.get("neuroncore_counters"), "neuroncore_counters").get("neuroncores_in_use")
        for core, figures in _table(in_use, "neuroncores_in_use").items():
            index = _count(core, "a core")
            use = _number(_table(figures, "a core").get("neuroncore_utilization", 0), "use of a core")
            cores[index] = cores.get(index, 0.0) + use
        stats = _table(group.get("execution_stats"), "execution_stats")
        executions.update(_counts(stats.get("execution_summary"), "execution_summary"))
        errors.update(_counts(stats.get("error_summary"), "error_summary"))
        told = _table(_table(stats.get("latency_stats"), "latency_stats").get("total_latency"), "latency")
        for name in PERCENTILES:
            if told.get(name) is not None:
                latency[name] = max(latency.get(name, 0.0), _number(told[name], "latency"))
        used = _table(
            _table(group.get("memory_used"), "memory_used").get("neuron_runtime_used_bytes"), "memory"
        )
        memory.update({name: _count(used.get(name, 0), "memory") for name in ("host", "neuron_device")})
    count = hardware.get("neuron_device_count")
    driver_error = str(hardware.get("error") or "")
    return Report(
        cores=cores,
        device_bytes=memory["neuron_device"],
        host_bytes=memory["host"],
        latency=latency,
        executions=executions,
        errors=errors,
        ecc=dict(_ecc(counters)),
        devices=None if count is None or driver_error else _count(count, "neuron_device_count"),
        driver_error=driver_error,
        troubles=tuple(_troubles(runtimes, groups, counters)),
    )


def _ecc(counters: Mapping[str, Any]) -> Iterator[tuple[tuple[int, str], int]]:
    for row in _list(counters.get("neuron_devices")):
        device = _table(row, "neuron_devices")
        index = _count(device.get("neuron_device_index"), "neuron_device_index")
        for kind in ECC_KINDS:
            if kind in device:  # Inf1 need not count all of them
                yield (index, kind), _count(device[kind], kind)


def _troubles(
    runtimes: list[Mapping[str, Any]], groups: list[Mapping[str, Any]], counters: Mapping[str, Any]
) -> Iterator[str]:
    found = [*runtimes, counters, *(group for report in groups for group in report.values())]
    for table in found:
        text = table.get("error") if isinstance(table, Mapping) else None
        if text:
            yield str(text)[:200]


def _table(value: Any, name: str) -> Mapping[str, Any]:
    """A JSON object; nothing counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ReportUnreadable(why=f"{name} is no object")
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ReportUnreadable(why="there is a value where a list belongs")
    return value


def _counts(value: Any, name: str) -> dict[str, int]:
    return {str(key): _count(number, name) for key, number in _table(value, name).items()}


def _count(value: Any, name: str) -> int:
    """A whole number, as JSON has it or as a key; not negative."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    number = _number(value, name)
    if number != int(number):
        raise ReportUnreadable(why=f"{name} is {number!r}, no whole number")
    return int(number)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        raise ReportUnreadable(why=f"{name} is {str(value)[:40]!r}, no number that can be")
    return value
