"""A neuron-monitor that writes what the documented one does. ``monitor.py -c CONFIGURATION``: as a program.

Source: aws-neuron/aws-neuron-sdk:tools/neuron-sys-tools/neuron-monitor-user-guide.rst.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def report(*, chips: int = 1, driver_error: str = "", hardware_errors: int = 0, **ecc: int) -> dict[str, Any]:
    """A report of one process on the first two cores; ``ecc``: events of chip 0 by kind."""
    kinds = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_uncorrected", "sram_ecc_corrected")
    latency = {"p0": 0.001, "p1": 0.001, "p25": 0.002, "p50": 0.004, "p75": 0.005, "p99": 0.009, "p100": 0.01}
    devices = [
        {"neuron_device_index": chip, **{kind: ecc.get(kind, 0) if chip == 0 else 0 for kind in kinds}}
        for chip in range(chips)
    ]
    errors = dict.fromkeys(("generic", "numerical", "transient", "model", "runtime"), 0)
    runtime = {
        "pid": 4711,
        "address": "",
        "neuron_runtime_tag": "4711",
        "error": "",
        "report": {
            "neuroncore_counters": {
                "period": 5.0,
                "neuroncores_in_use": {
                    "0": {"neuroncore_utilization": 40.5, "flops": 12},
                    "1": {"neuroncore_utilization": 20, "flops": 12},
                },
                "error": "",
            },
            "execution_stats": {
                "period": 5.0,
                "error_summary": {**errors, "hardware": hardware_errors},
                "execution_summary": {"completed": 120, "completed_with_err": 1, "timed_out": 2},
                "latency_stats": {"total_latency": latency, "device_latency": None},
                "error": "",
            },
            "memory_used": {
                "period": 5.0,
                "neuron_runtime_used_bytes": {"host": 1000, "neuron_device": 2000, "usage_breakdown": {}},
                "loaded_models": [],
                "error": "",
            },
        },
    }
    count = {} if driver_error else {"neuron_device_count": chips, "neuroncore_per_device_count": 4}
    return {
        "neuron_runtime_data": [runtime],
        "system_data": {"neuron_hw_counters": {"period": 5.0, "neuron_devices": devices, "error": ""}},
        "instance_info": {"instance_type": "inf1.xlarge", "error": ""},
        "neuron_hardware_info": {**count, "error": driver_error},
    }


def line(**changes: Any) -> bytes:
    return json.dumps(report(**changes)).encode() + b"\n"


if __name__ == "__main__":
    period = float(
        json.loads(Path(sys.argv[sys.argv.index("-c") + 1]).read_text())["period"].removesuffix("s")
    )
    while True:
        os.write(1, line(chips=int(os.environ.get("CHIPS", "1"))))
        time.sleep(period)
