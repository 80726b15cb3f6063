"""Detectors for an AWS on this machine that says yes without having done anything.

    selfcheck.py  at every start: does S3 refuse what AWS refuses?
    template.py   a template's properties with references replaced by what the stack says
    attributes.py what Fn::GetAtt gives, out of a describe call
    compare.py    expected against described properties
    describe/     per type: what the service's own API returns, in the template's words
    inventory.py  a row per resource of the templates, with a verdict
    census/       everything that exists, whether a template names it or not
    waivers.toml  what cannot be compared, why, and the test that covers it instead

A stack that is COMPLETE proves little: resources get skipped, properties dropped, policies
never evaluated. The inventory says per resource what was seen; ``../enforcement.toml`` says
what is only present.
"""

from __future__ import annotations

from local_aws.conformance.inventory import Inventory, Row, Verdict, inventory, tracebacks
from local_aws.conformance.selfcheck import Clients, self_check

__all__ = ["Clients", "Inventory", "Row", "Verdict", "inventory", "self_check", "tracebacks"]
