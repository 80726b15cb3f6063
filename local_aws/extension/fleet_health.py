"""Target health by real probes, and the load balancer's way to a healthy target."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from local_aws.extension import fleet_stores as stores
from local_aws.extension.fleet_stores import Record
from local_aws.extension.registry import Response
from local_aws.extension.replicas import Health, Replicas, probe

NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"


class TargetHealth:
    """Answers DescribeTargetHealth and picks targets for the load balancer."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._turn = itertools.count()

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Response:
        """The load balancing API: ministack's, except for target health."""
        request = {
            name: values[0] for name, values in {**query, **parse_qs(body.decode(errors="replace"))}.items()
        }
        arn = request.get("TargetGroupArn", "")
        group = stores.target_group(arn)
        if request.get("Action") != stores.DESCRIBE_TARGET_HEALTH or not _is_probed(group):
            answer: Response = await stores.load_balancing(method, path, headers, body, query)
            return answer
        wanted = {
            value for name, value in request.items() if name.startswith("Targets.") and name.endswith(".Id")
        }
        targets = [one for one in stores.targets(arn) if not wanted or one["Id"] in wanted]
        healths = await asyncio.gather(*(asyncio.to_thread(self._probe, group or {}, one) for one in targets))
        return _render(list(zip(targets, healths)))

    def choose_port(self, arn: str) -> int | None:
        """The port of a target whose server is up, each in turn; None if there is none."""
        replicas = [self._replicas.get(target["Id"]) for target in stores.targets(arn)]
        ports = [one.port for one in replicas if one is not None and one.state == "serving"]
        return ports[next(self._turn) % len(ports)] if ports else None

    def _probe(self, group: Record, target: Record) -> Health:
        path = group.get("HealthCheckPath", "/")
        matches = status_matcher(str(group.get("Matcher", {}).get("HttpCode", "200")))
        if group.get("TargetType") == "ip":
            return probe(int(target.get("Port", 80)), path, matches, host=target["Id"])
        replica = self._replicas.get(target["Id"])
        if replica is None:
            return Health(
                state="unhealthy",
                code="Target.FailedHealthChecks",
                reason="Health checks failed: no server stands behind this instance",
            )
        return replica.probe(path, matches)


def status_matcher(codes: str) -> Callable[[int], bool]:
    """ELB's Matcher: ``200``, ``200,202`` or ``200-299``, and mixtures."""
    ranges = []
    for part in codes.split(","):
        low, _, high = part.strip().partition("-")
        ranges.append(range(int(low), int(high or low) + 1))
    return lambda status: any(status in one for one in ranges)


def _is_probed(group: Record | None) -> bool:
    """Whether an HTTP request can tell; ministack answers for Lambda and for groups that are not there."""
    return group is not None and group.get("TargetType", "instance") in ("instance", "ip")


def _render(healths: list[tuple[Record, Health]]) -> Response:
    members = "".join(_member(target, health) for target, health in healths)
    body = (
        f'<DescribeTargetHealthResponse xmlns="{NAMESPACE}"><DescribeTargetHealthResult>'
        f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions></DescribeTargetHealthResult>"
        "<ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>"
        "</DescribeTargetHealthResponse>"
    )
    return 200, {"Content-Type": "text/xml"}, body.encode()


def _member(target: Record, health: Health) -> str:
    reason = ""
    if health.state != "healthy":
        reason = f"<Reason>{health.code}</Reason><Description>{escape(health.reason)}</Description>"
    port = target.get("Port", 80)
    return (
        f"<member><Target><Id>{escape(target['Id'])}</Id><Port>{port}</Port></Target>"
        f"<HealthCheckPort>{port}</HealthCheckPort>"
        f"<TargetHealth><State>{health.state}</State>{reason}</TargetHealth></member>"
    )
