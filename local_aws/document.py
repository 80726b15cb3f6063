"""docs/local-aws.md out of the data, so that it claims no more. ``python -m local_aws.document``"""

from __future__ import annotations

from collections.abc import Sequence

from local_aws.conformance.waivers import Waivers
from local_aws.enforcement import Status, claims

_HEAD = """\
# The AWS on this machine

Generated from `local_aws/enforcement.toml` and `local_aws/conformance/waivers.toml` by
`python -m local_aws.document`; a test compares the two.

`traceship local up` starts an emulator ([ministack](https://pypi.org/project/ministack/), pinned)
on loopback with our extension in its process. `eval "$(traceship local env)"` points a shell at
it, and at nothing else: profiles and tokens of a real account are unset. SageMaker endpoints and
the instances of Auto Scaling groups are real server processes on this machine. `traceship local
down` stops all of them; the state stays in `.traceship/local` for the next `up`.

Whoever can reach the loopback port needs no credentials. It is for one person's machine.
"""
_NOT_MADE = """
## What cannot be made here, and how it is tested instead

Every resource of the templates is compared with what describe calls return, references and the
stack's tags included, and every value of every property is (tests/lifecycle changes each of them in
turn and sees the comparison turn red). The rest, in one table:

| what | on this machine | tested instead by |
|---|---|---|
"""
_ENFORCED = """
## Enforced

A test saw the refusal or the effect.

| what | how |
|---|---|
"""


def markdown() -> str:
    """The whole page."""
    enforced = [(c.subject, c.detail) for c in claims() if c.status is Status.ENFORCED]
    return "".join([_HEAD, _ENFORCED, _rows(enforced), _NOT_MADE, _rows(not_made())])


def not_made() -> list[tuple[str, str, str]]:
    """What is only present, absent or not compared; why; and the test that covers it, ``path::function``."""
    waivers = Waivers.load()
    return [
        *(
            (c.subject, f"{c.status}: {c.detail}", c.tested)
            for c in claims()
            if c.status is not Status.ENFORCED
        ),
        *((kind, f"not compared: {w.reason}", w.tested) for kind, w in waivers.types.items()),
        *(
            (f"{kind} `{name}`", f"not compared: {waiver.reason}", waiver.tested)
            for kind, properties in waivers.properties.items()
            for name, waiver in properties.items()
        ),
    ]


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(markdown(), end="")
