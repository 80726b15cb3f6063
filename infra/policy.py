"""Policies that run at the end of every synthesis and fail it: two cdk-nag packs and our own rules."""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from infra.acknowledgements import acknowledge
from infra.rules import TemplateRules
from settings.model import Settings


def enforce_policies(app: cdk.App, settings: Settings) -> None:
    """Register the packs on ``app`` and accept what the registry accepts. Call it last."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app), TemplateRules())
    acknowledge(app, settings)
