"""Batch and Step Functions."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, Resource, only, pascal
from local_aws.conformance.selfcheck import Clients


def _environment(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("batch").describe_compute_environments(computeEnvironments=[resource.physical_id])
    return _spelt(only(answer["computeEnvironments"], "compute environment"))


def _queue(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("batch").describe_job_queues(jobQueues=[resource.physical_id])
    return _spelt(only(answer["jobQueues"], "job queue"))


def _definition(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("batch").describe_job_definitions(jobDefinitions=[resource.physical_id])
    found = _spelt(only(answer["jobDefinitions"], "job definition"))
    log = found.get("ContainerProperties", {}).get("LogConfiguration", {})
    if "Options" in log:  # keys of a log driver's options are data, not names of ours
        log["Options"] = {key[:1].lower() + key[1:]: value for key, value in log["Options"].items()}
    return {**found, "Parameters": answer["jobDefinitions"][0].get("parameters", {})}


def _state_machine(clients: Clients, resource: Resource) -> Found:
    found = clients.client("stepfunctions").describe_state_machine(stateMachineArn=resource.physical_id)
    logging = pascal(found.get("loggingConfiguration", {}))
    tags = clients.client("stepfunctions").list_tags_for_resource(resourceArn=resource.physical_id)["tags"]
    return {
        "Tags": pascal(tags),
        "StateMachineName": found["name"],
        "StateMachineType": found["type"],
        "DefinitionString": found["definition"],
        "RoleArn": found["roleArn"],
        "LoggingConfiguration": logging,
        "TracingConfiguration": pascal(found.get("tracingConfiguration", {})),
    }


def _spelt(answer: Found) -> Found:
    return {**pascal(answer), "Tags": answer.get("tags", {})}


DESCRIBERS: dict[str, Describer] = {
    "AWS::Batch::ComputeEnvironment": _environment,
    "AWS::Batch::JobQueue": _queue,
    "AWS::Batch::JobDefinition": _definition,
    "AWS::StepFunctions::StateMachine": _state_machine,
}
