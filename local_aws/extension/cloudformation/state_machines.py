"""AWS::StepFunctions::StateMachine: logging and tracing as DescribeStateMachine returns them.

ministack keeps the logging configuration in the template's spelling, which no client
understands, and drops the tracing configuration. Neither log events nor traces are written.
"""

from __future__ import annotations

from ministack.services import stepfunctions

from local_aws.extension.case import camel
from local_aws.extension.registry import Properties, Provisioned, Registry

STATE_MACHINE = "AWS::StepFunctions::StateMachine"
_LOGGING = "LoggingConfiguration"
_NO_TRACING = {"Enabled": False}


def register(registry: Registry) -> None:
    """Extend ministack's state machine."""
    own = registry.resource_type(STATE_MACHINE)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        return _traced(own.create(logical_id, _spelt(properties), stack), properties)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        return _traced(own.update(physical_id, _spelt(old), _spelt(new), stack, logical_id), new)

    registry.add_resource_type(STATE_MACHINE, create=create, update=update, delete=own.delete, tags="list")


def _spelt(properties: Properties) -> Properties:
    logging = properties.get(_LOGGING)
    return {**properties, _LOGGING: camel(logging)} if logging else properties


def _traced(provisioned: Provisioned, properties: Properties) -> Provisioned:
    record = stepfunctions._state_machines[provisioned[0]]
    record["tracingConfiguration"] = camel(properties.get("TracingConfiguration", _NO_TRACING))
    return provisioned
