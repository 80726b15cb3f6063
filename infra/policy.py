"""Policies that run at the end of every synthesis and fail it: two cdk-nag packs and our own rules."""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from artifact.errors import ProofFailed
from infra.acknowledgements import acknowledge
from infra.rules import TemplateRules
from settings.model import Settings


class PolicyBroken(ProofFailed):
    """A template breaks a rule of cdk-nag or of ours."""

    id = "policy-broken"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the stacks break a policy, so they cannot be deployed",
            why=why,
            fix="change what the report names, or accept it with its reason in infra/acknowledgements.py",
        )


def enforce_policies(app: cdk.App, settings: Settings) -> None:
    """Register the packs on ``app`` and accept what the registry accepts. Call it last."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app), TemplateRules())
    acknowledge(app, settings)


def synthesise(app: cdk.App) -> cdk.cx_api.CloudAssembly:
    """Write the templates, run the policies, return the assembly.

    Raises:
        PolicyBroken: the CDK has printed which rule, where and how to fix it.
    """
    try:
        return app.synth()
    except RuntimeError as error:
        if "ValidationFailed" not in str(error):
            raise
        raise PolicyBroken(why=str(error).partition(": ")[2]) from None
