"""IAM."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, Resource
from local_aws.conformance.selfcheck import Clients


def _role(clients: Clients, resource: Resource) -> Found:
    iam, name = clients.client("iam"), resource.physical_id
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    asked = {policy["PolicyName"] for policy in resource.properties.get("Policies", [])}
    return {
        **iam.get_role(RoleName=name)["Role"],
        "ManagedPolicyArns": [policy["PolicyArn"] for policy in attached],
        "Policies": [iam.get_role_policy(RoleName=name, PolicyName=p) for p in inline if p in asked],
    }


def _policy(clients: Clients, resource: Resource) -> Found:
    """An inline policy is there iff every role that it names has it, with one document."""
    iam, name = clients.client("iam"), resource.properties["PolicyName"]
    answers = [iam.get_role_policy(RoleName=role, PolicyName=name) for role in resource.properties["Roles"]]
    documents = [answer["PolicyDocument"] for answer in answers]
    same = all(document == documents[0] for document in documents)
    return {
        "PolicyName": name,
        "PolicyDocument": documents[0] if same else documents,
        "Roles": [answer["RoleName"] for answer in answers],
    }


def _instance_profile(clients: Clients, resource: Resource) -> Found:
    found = clients.client("iam").get_instance_profile(
        InstanceProfileName=resource.physical_id.rpartition("/")[2]
    )
    profile = found["InstanceProfile"]
    return {**profile, "Roles": [role["RoleName"] for role in profile["Roles"]]}


def _managed_policy(clients: Clients, resource: Resource) -> Found:
    iam, arn = clients.client("iam"), resource.physical_id
    policy = iam.get_policy(PolicyArn=arn)["Policy"]
    version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    attached = iam.list_entities_for_policy(PolicyArn=arn)["PolicyRoles"]
    return {
        **policy,
        "ManagedPolicyName": policy["PolicyName"],
        "PolicyDocument": version["Document"],
        "Roles": [role["RoleName"] for role in attached],
    }


DESCRIBERS: dict[str, Describer] = {
    "AWS::IAM::Role": _role,
    "AWS::IAM::Policy": _policy,
    "AWS::IAM::ManagedPolicy": _managed_policy,
    "AWS::IAM::InstanceProfile": _instance_profile,
}
