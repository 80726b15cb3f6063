"""What ministack lacks, added inside its process. Runs in ``.venv-aws``.

    registry.py        the typed facade over ministack's tables; the only writer to them
    batch/             AWS Batch whose jobs run our compile entry point
    sagemaker*.py      SageMaker, its runtime and its CloudFormation types
    scaling.py         application autoscaling
    fleet*.py          Auto Scaling groups whose instances are local server processes
    replicas*.py       those processes
    cloudformation/    missing types and dropped properties
    faults.py          calls that fail because a test asked for it
    objects.py         S3 writes with aws:kms and no key
    images.py          ECR's answer for an image that is not there
    state_paths.py     JSONPath filters in state machines
    case.py, logs.py   key spelling of the APIs; writing to CloudWatch Logs

Only ``local_aws`` and ``artifact.serving`` may be imported here: the interpreter has
ministack's packages and nothing else. What it costs: every ministack upgrade runs the
conformance tests before it is believed.
"""

from __future__ import annotations

import importlib

from local_aws.extension.registry import Registry, Server

MODULES = (
    "objects",
    "images",
    "state_paths",
    "batch",
    "cloudformation",
    "sagemaker",
    "scaling",
    "fleet",
    "cloudformation.replacement",
    "cloudformation.strict",
    "faults",
    "cloudformation.unread",
)
"""Each has ``register(registry: Registry) -> None``; the last four go around what the others added."""


def install(server: Server) -> Registry:
    """Add every extension module to ministack and return the registry that runs the callbacks."""
    registry = Registry(server)
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}").register(registry)
    return registry
