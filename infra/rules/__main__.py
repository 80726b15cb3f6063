"""Write docs/policy.md: ``python -m infra.rules docs/policy.md``"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from infra.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement
from infra.rules import GROUPS, RULES
from infra.rules.template import Rule

_HEAD = """\
# What a template must hold

Written by `python -m infra.rules docs/policy.md`; do not edit it.

`cdk synth`, `cdk deploy` and `traceship deploy` fail when a template breaks one of
these; the report names the rule, the resource and what to write. Four things look at every template:

- cdk-nag's packs AwsSolutions and NIST 800-53 R5, on the CDK's objects;
- CloudFormation's own validation, built into the CDK;
- the {rules} rules below, on the templates themselves, so that a property override cannot hide from them;
- in the tests cfn-lint, with nothing waived.

What the permissions amount to together is proved apart: `tests/infra/test_permissions.py` evaluates
the policies as IAM does. Each rule has a test that removes what it protects from our own templates.

All of them together cost `cdk synth` a tenth of its time: 1.11 times,
`python -m bench.synth` on 2026-11-26; at most 1.5 is wanted.

## Accepted findings

{accepted} findings of the packs are accepted, each on the constructs that are named and nowhere else.
One that is not needed any more fails the synthesis too.

| finding | where | why |
|---|---|---|
"""


def page() -> str:
    """The text of docs/policy.md."""
    accepted = (
        _row(f"`{entry.rule}`", "<br>".join(_places(entry)), entry.reason) for entry in ACKNOWLEDGEMENTS
    )
    head = _HEAD.format(rules=len(RULES), accepted=len(ACKNOWLEDGEMENTS))
    parts = [head + "".join(accepted)]
    for group in GROUPS:
        title = str(group.__doc__).splitlines()[0].partition(". ")[0].rstrip(".")
        parts.append(_table(title, (found for found in vars(group).values() if isinstance(found, Rule))))
    return "\n".join(parts)


def _places(entry: Acknowledgement) -> Iterator[str]:
    for role, path in entry.places:
        beginnings = ", ".join(f"`{below}`" for below in entry.below.get(path, ()))
        yield f"{role}: {path}" + (f" ({{below}}: {beginnings})" if beginnings else "")


def _table(title: str, rules: Iterable[Rule]) -> str:
    rows = (_row(f"`{rule.id}`", rule.what, rule.why, rule.fix) for rule in rules)
    return f"## {title}\n\n| rule | what | why | fix |\n|---|---|---|---|\n" + "".join(rows)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
