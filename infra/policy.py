"""Policies that run at the end of every synthesis and fail it: two cdk-nag packs and our own rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk

from artifact.errors import ProofFailed
from infra.acknowledgements import accepted, acknowledge
from infra.rules.plugin import TemplateRules
from settings.model import Settings

REPORT = "validation-report.json"


class PolicyBroken(ProofFailed):
    """A template breaks a rule of cdk-nag or of ours."""

    id = "policy-broken"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the stacks break a policy, so they cannot be deployed",
            why=why,
            fix="change what the report names, or accept it with its reason in infra/acknowledgements.py",
        )


class AcknowledgementUnused(ProofFailed):
    """Something is accepted that no policy finds any more."""

    id = "acknowledgement-unused"

    def __init__(self, *, unused: set[tuple[str, str]]) -> None:
        listed = "; ".join(f"{rule} on {path}" for rule, path in sorted(unused))
        super().__init__(
            what="findings are accepted that are not there any more",
            why=f"nobody found {listed}; left as they are they would hide the next finding",
            fix="remove them from infra/acknowledgements.py",
        )


def enforce_policies(app: cdk.App, services: Sequence[Settings]) -> None:
    """Register the packs on ``app`` and accept what the registry accepts. Call it last.

    The packs are loaded here, which takes Node a second, so that stacks alone do without.
    """
    from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

    cdk.Validations.of(app).add_plugins(
        AwsSolutionsChecks(app),
        NIST80053R5Checks(app),
        TemplateRules(retain_data=services[0].project.retain_data),
    )
    acknowledge(app, services)


def synthesise(app: cdk.App, services: Sequence[Settings]) -> cdk.cx_api.CloudAssembly:
    """Write the templates, run the policies, return the assembly.

    Raises:
        PolicyBroken: the CDK has printed which rule, where and how to fix it.
        AcknowledgementUnused: what is accepted was not found.
    """
    try:
        assembly = app.synth()
    except RuntimeError as error:
        if "ValidationFailed" not in str(error):
            raise
        raise PolicyBroken(why=str(error).partition(": ")[2]) from None
    unused = accepted(app, services) - _found(Path(assembly.directory))
    if unused:
        raise AcknowledgementUnused(unused=unused)
    return assembly


def _found(assembly: Path) -> set[tuple[str, str]]:
    """Id and construct path of the findings that the report shows as accepted."""
    report = json.loads((assembly / REPORT).read_text(encoding="utf-8"))
    return {
        (finding["acknowledgedId"], finding["acknowledgedAt"])
        for plugin in report["pluginReports"]
        for finding in plugin.get("suppressedViolations", [])
    }
