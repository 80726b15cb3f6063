"""Everything that exists, by resource type and physical id: what is left, what is new, what changed.

    model.py     what a lister gives, and what is taken out of an answer
    storage.py   KMS, S3, ECR, CloudWatch Logs
    network.py   VPC and everything in it, EC2 instances
    services.py  IAM, Batch, Step Functions, alarms, topics
    serving.py   launch templates, Auto Scaling, load balancers, SageMaker, application autoscaling

The inventory asks whether what a template names is there. A census asks the services for all they
have, so that it also sees what no template names: what a destroy left behind, an instance that
nobody counts, a neighbour that was touched. Two censuses are equal iff nothing happened in between,
times and counters aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local_aws.conformance.census import network, services, serving, storage
from local_aws.conformance.census.model import Lister
from local_aws.conformance.remembering import Remembering
from local_aws.conformance.selfcheck import Clients

LISTERS: dict[str, Lister] = {
    **storage.LISTERS,
    **network.LISTERS,
    **services.LISTERS,
    **serving.LISTERS,
}
WITHOUT_OWN_LIST = {
    "AWS::CDK::Metadata": "nothing is made of it",
    "AWS::AutoScaling::WarmPool": "part of its group",
    "AWS::S3::BucketPolicy": "part of its bucket",
    "AWS::SNS::TopicPolicy": "part of its topic",
}
"""Types that no service lists by themselves: where they are seen instead."""


@dataclass(frozen=True, kw_only=True)
class Census:
    """What there is. ``found``: type to physical id to what the service says of it."""

    found: Mapping[str, Mapping[str, Any]]

    def ids(self, type_name: str) -> set[str]:
        """Physical ids of a type, as CloudFormation spells them."""
        return set(self.found[type_name])

    def since(self, before: Census) -> dict[str, set[str]]:
        """By type, what is here and was not before; types with nothing new are left out."""
        new = {kind: self.ids(kind) - before.ids(kind) for kind in self.found}
        return {kind: ids for kind, ids in new.items() if ids}

    def differences(self, before: Census) -> Iterator[str]:
        """A line for each thing that came, went or changed, named by type and id."""
        for kind in self.found:
            now, then = self.found[kind], before.found[kind]
            yield from (f"{kind} {name} is new" for name in sorted(set(now) - set(then)))
            yield from (f"{kind} {name} is gone" for name in sorted(set(then) - set(now)))
            for name in sorted(set(now) & set(then)):
                changed = list(_changes(then[name], now[name]))
                if changed:
                    yield f"{kind} {name} changed: {'; '.join(changed)[:500]}"


def census(clients: Clients) -> Census:
    """Ask every service for everything of every type that we know."""
    asking = Remembering(clients)
    return Census(found={kind: lister(asking) for kind, lister in LISTERS.items()})


def _changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        yield f"{path or 'value'} was {_short(before)}, is {_short(after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
