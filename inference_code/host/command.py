"""``python -m inference_code watch``: neuron-monitor's reports on standard input."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Mapping

from artifact.aws import client_config, is_local, translated
from inference_code.host.options import watch_options
from inference_code.host.prometheus import Page, PageServer
from inference_code.host.replacement import Replacement
from inference_code.host.slots import Slots
from inference_code.host.watch import Reader, Watch, run
from inference_code.log import come_from, logger
from inference_code.log_writer import LineWriter


def watch(environ: Mapping[str, str], lines: LineWriter) -> None:
    """Watch until SIGTERM.

    Raises:
        OptionInvalid: names the variable.
        MonitorEnded: neuron-monitor is gone.
    """
    import boto3

    options = watch_options(environ)
    come_from(instance=options.instance, digest=options.digest)
    config = client_config(local=is_local())
    with translated("make clients for the watch"):
        s3, autoscaling = (boto3.client(name, config=config) for name in ("s3", "autoscaling"))
    slots = Slots(
        s3, bucket=options.bucket, prefix=options.slot_prefix, count=options.slots, owner=options.owner
    )
    watching = Watch(options, Replacement(slots, autoscaling, instance=options.instance), lines)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    page = Page(watching.figures, service=options.service, digest=options.digest)
    with contextlib.ExitStack() as stack:
        try:
            server = PageServer(page, port=options.metrics_port)
        except OSError as error:
            # The chips are watched all the same.
            logger.error("no page for Prometheus", extra={"port": options.metrics_port, "why": str(error)})
        else:
            stack.callback(server.close)
            logger.info("watching", extra={"chips": options.chips, "metrics_port": server.port})
        # Not sys.stdin: at its end Python takes that one's lock, which the blocked thread holds.
        # Never closed, for the same reason.
        reports = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115
        run(watching, Reader(reports), stopping)
