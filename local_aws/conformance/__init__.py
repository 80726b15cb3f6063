"""Detectors for an AWS on this machine that says yes without having done anything.

    selfcheck.py  at every start: does S3 refuse what AWS refuses?
    template.py   a template's properties with references replaced by what the stack says
    compare.py    expected against described properties
    describe/     per type: what the service's own API returns, in the template's words
    inventory.py  a row per resource of the templates, with a verdict
    waivers.toml  properties and types that cannot be compared, each with its reason

A stack that is COMPLETE proves little: resources get skipped, properties dropped, policies
never evaluated. The inventory says per resource what was seen; ``../enforcement.toml`` says
what is only present.
"""

from __future__ import annotations

from local_aws.conformance.inventory import Inventory, Row, Verdict, inventory, tracebacks
from local_aws.conformance.selfcheck import Clients, self_check

__all__ = ["Clients", "Inventory", "Row", "Verdict", "inventory", "self_check", "tracebacks"]
