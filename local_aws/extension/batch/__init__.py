"""AWS Batch whose jobs are real: each attempt is a process that runs our compile entry point.

    store.py      compute environments, queues, definitions and jobs, as describe calls return them
    catalogue.py  the operations on the first three
    jobs.py       the runner: processes, attempts, exit codes, time limits, logs
    api.py        the service: operations by path, submitting and listing jobs, tags
    tasks.py      ``batch:submitJob`` and ``batch:submitJob.sync`` for Step Functions

An image is recorded and not pulled: a container's ``python -m compile …`` runs in this
checkout with the project's interpreter. Not enforced: memory, CPUs, roles, network.
"""

from __future__ import annotations

from local_aws.extension.batch import api, tasks
from local_aws.extension.batch.jobs import Runner
from local_aws.extension.batch.store import STORE
from local_aws.extension.registry import Registry


def register(registry: Registry) -> None:
    """Replace ministack's Batch, whose jobs succeed at once without running."""
    runner = Runner(registry.server, STORE)
    registry.add_service(
        "batch", api.handler(STORE, runner), {"host_patterns": [r"^batch\."], "target_prefixes": []}
    )
    registry.add_task("arn:aws:states:::batch:submitJob", tasks.handler(STORE, runner))
    registry.add_state("batch", save=STORE.save, restore=STORE.restore, reset=STORE.reset)
    registry.on_shutdown(runner.stop)
