"""Per resource type: what the service's own API returns, under the template's property names.

    model.py    what a describer gets and gives
    storage.py  KMS, S3, ECR, CloudWatch Logs
    network.py  VPC and everything in it
    access.py   IAM
    compute.py  Batch, Step Functions
    events.py   EventBridge rules and schedules
    fleet.py    launch templates, Auto Scaling, load balancers
    watch.py    alarms, dashboards, topics
    endpoint.py SageMaker, application autoscaling

A describer raises whatever the API raises where the resource is not there.
"""

from __future__ import annotations

from local_aws.conformance.describe import access, compute, endpoint, events, fleet, network, storage, watch
from local_aws.conformance.describe.model import Describer

DESCRIBERS: dict[str, Describer] = {
    **storage.DESCRIBERS,
    **network.DESCRIBERS,
    **access.DESCRIBERS,
    **compute.DESCRIBERS,
    **events.DESCRIBERS,
    **fleet.DESCRIBERS,
    **watch.DESCRIBERS,
    **endpoint.DESCRIBERS,
}
