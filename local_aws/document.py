"""docs/local-aws.md out of the data, so that it claims no more. ``python -m local_aws.document``"""

from __future__ import annotations

from local_aws.conformance.inventory import Waivers
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
_NOT_COMPARED = """
## Not compared

The demo compares every resource of the templates with what describe calls return, except:

"""
_TITLES = {
    Status.ENFORCED: ("Enforced", "A test saw the refusal or the effect."),
    Status.PRESENT: ("Present", "Accepted, stored and described as asked, and never evaluated."),
    Status.ABSENT: ("Absent", "Neither stored nor described."),
}


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for status, (title, meaning) in _TITLES.items():
        rows = [f"| {claim.subject} | {claim.detail} |" for claim in claims() if claim.status is status]
        parts.append(f"\n## {title}\n\n{meaning}\n\n| what | how |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "".join([*parts, _not_compared()])


def _not_compared() -> str:
    waivers = Waivers.load()
    rows = [f"| {kind} | all | {reason} |" for kind, reason in waivers.types.items()]
    rows += [
        f"| {kind} | `{name}` | {reason} |"
        for kind, properties in waivers.properties.items()
        for name, reason in properties.items()
    ]
    return _NOT_COMPARED + "| type | property | why |\n|---|---|---|\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
