"""EC2 fleets: Auto Scaling instances that are server processes on this machine.

    fleet_stores.py          ministack's records: groups, templates, instances, targets, alarms
    fleet_userdata.py        a launch template's user data into the server's environment
    fleet_engine.py          launch, terminate, keep the desired capacity
    fleet_refresh.py         instance refresh with checkpoints, alarms and rollback
    fleet_health.py          DescribeTargetHealth by real probes; the load balancer's targets
    fleet_api.py             the Auto Scaling actions that concern instances
    fleet_cloudformation.py  AWS::AutoScaling::AutoScalingGroup
    fleet_warm_pools.py      warm pools and their CloudFormation type
    fleet_offerings.py       which instance types a zone offers

An instance runs ``python -m inference_code fetch`` and then ``serve`` of this checkout with the
variables of its user data; AMI, container image, security groups and network are recorded only.
What is not there: scaling policies and scheduled actions do not act, lifecycle hooks do not
wait, warm pools stay empty, Spot is never taken back, an instance that dies stays Unhealthy until
somebody replaces it.
"""

from __future__ import annotations

from local_aws.extension import fleet_offerings as offerings
from local_aws.extension import fleet_stores as stores
from local_aws.extension import fleet_warm_pools as warm_pools
from local_aws.extension import replicas
from local_aws.extension.fleet_api import AutoScaling
from local_aws.extension.fleet_cloudformation import GroupType
from local_aws.extension.fleet_engine import FleetEngine
from local_aws.extension.fleet_health import TargetHealth
from local_aws.extension.fleet_refresh import Refreshes
from local_aws.extension.registry import Registry


def register(registry: Registry) -> None:
    """Put the engine behind Auto Scaling, EC2, load balancing and CloudFormation."""
    processes = replicas.of(registry)
    engine = FleetEngine(processes)
    refreshes = Refreshes(engine)
    health = TargetHealth(processes)
    stores.stop_inventing_instances()
    stores.remember_definitions()
    stores.route_forwards(health.choose_port)
    stores.on_terminate(lambda ids: _replace_terminated(engine, ids))
    registry.add_service(
        "autoscaling", AutoScaling(engine, refreshes).handle, {"host_patterns": [r"^autoscaling\."]}
    )
    registry.add_service(
        "elasticloadbalancing", health.handle, {"host_patterns": [r"^elasticloadbalancing\."]}
    )
    GroupType(registry, engine, refreshes)
    warm_pools.add_type(registry)
    offerings.register()
    # ministack's own records hold the fleet's state; only a reset concerns us.
    registry.add_state("fleet", save=dict, restore=lambda _: None, reset=engine.reset)
    registry.on_startup(engine.resume)
    registry.on_shutdown(refreshes.stop_all)


def _replace_terminated(engine: FleetEngine, ids: list[str]) -> None:
    """Somebody ended instances through EC2: their servers go, their groups launch others."""
    for group in stores.groups().values():
        if any(entry["InstanceId"] in ids for entry in group["Instances"]):
            engine.in_background(group, lambda group=group: engine.reconcile(group))  # type: ignore[misc]
