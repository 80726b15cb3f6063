"""What the synthesised policies amount to: who can read, write and decrypt what, evaluated as IAM does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifact.release import ARCHIVE, PROVENANCE_FILE, SBOM_FILE, SIGNATURE_FILE, blob_key, manifest_key
from tests.iam.documents import Policy
from tests.iam.evaluate import Decision, Identity, Request, Service, Target, decide
from tests.infra.deployed import ACCOUNT, REGION, Deployed
from tests.infra.worlds import BLOBS, DIGEST, OTHER_DIGEST, World

SECURE = {"aws:SecureTransport": True, "s3:TlsVersion": "1.3"}
PREFIX, OTHERS = f"releases/traceship/{DIGEST}", f"releases/traceship/{OTHER_DIGEST}"
BESIDE = ("manifest.json", ARCHIVE, SIGNATURE_FILE, PROVENANCE_FILE, SBOM_FILE)
KEYS = [
    *(blob_key(digest) for digest in (*BLOBS, OTHER_DIGEST, "*", "")),
    *(f"{prefix}/{name}" for prefix in (PREFIX, OTHERS, "releases/other/*") for name in BESIDE),
    f"models/{DIGEST}/model.safetensors",
    f"compiled/{DIGEST}/manifest.json",
    "requests/one.json",
    *(f"captured/{name}/stable/2026/01/02/03/one.jsonl" for name in ("traceship", "traceship2", "other")),
    *(
        f"async/{name}/{part}/one"
        for name in ("traceship", "other")
        for part in ("input", "output", "failed")
    ),
    "captured/one.jsonl",
    "async/traceship/one",
]
OF_THE_FLEET = {manifest_key("traceship", DIGEST), *(blob_key(digest) for digest in BLOBS)}
OF_THE_ENDPOINT = {f"{PREFIX}/{ARCHIVE}"}

DENIED = (
    "autoscaling:CompleteLifecycleAction",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:SetInstanceProtection",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "batch:SubmitJob",
    "cloudformation:UpdateStack",
    "cloudwatch:DeleteAlarms",
    "cloudwatch:DisableAlarmActions",
    "dynamodb:GetItem",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateImage",
    "ec2:CreateLaunchTemplateVersion",
    "ec2:CreateSnapshot",
    "ec2:DescribeInstances",
    "ec2:ModifyInstanceAttribute",
    "ec2:RunInstances",
    "ec2:TerminateInstances",
    "ecr:BatchDeleteImage",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:SetRepositoryPolicy",
    "elasticloadbalancing:ModifyLoadBalancerAttributes",
    "elasticloadbalancing:RegisterTargets",
    "iam:AttachRolePolicy",
    "iam:CreateAccessKey",
    "iam:CreateRole",
    "iam:GetRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "kms:CreateGrant",
    "kms:DisableKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:Sign",
    "lambda:InvokeFunction",
    "logs:DeleteLogGroup",
    "logs:GetLogEvents",
    "logs:PutRetentionPolicy",
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucketPolicy",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObjectVersion",
    "s3:ListAllMyBuckets",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "sagemaker:InvokeEndpoint",
    "sagemaker:UpdateEndpoint",
    "secretsmanager:GetSecretValue",
    "sns:Publish",
    "sqs:SendMessage",
    "ssm:GetParameter",
    "ssm:GetParameters",
    "ssm:PutParameter",
    "ssm:SendCommand",
    "ssm:StartSession",
    "states:StartExecution",
    "sts:AssumeRole",
)
"""What somebody who took over an instance would try next."""
OF_THE_SLOTS = {("fleet", "kms:GenerateDataKey")}
"""What an instance needs to encrypt a slot; its tests are below."""
SLOT = "fleets/traceship-fleet/replacements/"
WRITES = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
    "s3:ReplicateObject",
    "s3:RestoreObject",
)


@pytest.fixture(params=["cpu", "inf1"])
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """Every stack, on CPU and on Inf1."""
    world: World = request.getfixturevalue(request.param)
    return Deployed(world)


def _may(caller: Identity | Service, action: str, target: Target, **context: object) -> bool:
    return decide(caller, Request(action, target, {**SECURE, **context})) is Decision.ALLOW


def _readable(deployed: Deployed, caller: Identity) -> set[str]:
    return {key for key in KEYS if _may(caller, "s3:GetObject", deployed.in_bucket("Artifacts", key))}


def test_an_instance_reads_exactly_one_release(deployed: Deployed) -> None:
    """Its manifest and the blobs that the lock names; the signature comes with the template."""
    assert _readable(deployed, deployed.identity("fleet", "Role")) == OF_THE_FLEET


@given(
    st.one_of(
        st.text(alphabet="0123456789abcdef", min_size=64, max_size=64).map(blob_key),
        st.sampled_from(KEYS).flatmap(lambda key: st.integers(0, len(key)).map(lambda at: key[:at])),
        st.text(max_size=80),
    )
)
@example(blob_key(BLOBS[0]) + "0")
@example("blobs/sha256/" + BLOBS[0].upper())
def test_no_other_key_is_read_by_an_instance_or_an_endpoint(cpu: World, key: str) -> None:
    """Whatever its name."""
    deployed = Deployed(cpu)
    target = deployed.in_bucket("Artifacts", key)

    for stack, own in (("fleet", OF_THE_FLEET), ("endpoint", OF_THE_ENDPOINT)):
        assert _may(deployed.identity(stack, "Role"), "s3:GetObject", target) == (key in own)


def test_an_endpoint_reads_exactly_one_archive(deployed: Deployed) -> None:
    """SageMaker unpacks it; nothing else is fetched."""
    assert _readable(deployed, deployed.identity("endpoint", "Role")) == OF_THE_ENDPOINT


def _writable(deployed: Deployed, caller: Identity) -> set[str]:
    return {key for key in KEYS if _may(caller, "s3:PutObject", deployed.in_bucket("Artifacts", key))}


def test_a_canary_reads_its_own_archive_and_the_release_beside_it_another(canary: World) -> None:
    """Neither can fetch what the other runs, and both write copies of requests and nothing else."""
    deployed = Deployed(canary)
    first, second = deployed.identity("endpoint", "Role"), deployed.identity("endpoint", "CanaryRole")

    assert _readable(deployed, first) == OF_THE_ENDPOINT
    assert _readable(deployed, second) == {f"{OTHERS}/{ARCHIVE}"}
    captured = {key for key in KEYS if key.startswith("captured/traceship/")}
    assert _writable(deployed, first) == _writable(deployed, second) == captured != set()


def test_an_async_endpoint_reads_requests_and_writes_answers(later: World) -> None:
    """Not the other way round, and not those of another endpoint."""
    deployed = Deployed(later)
    role = deployed.identity("endpoint", "Role")

    assert _readable(deployed, role) == {*OF_THE_ENDPOINT, "async/traceship/input/one"}
    assert _writable(deployed, role) == {"async/traceship/output/one", "async/traceship/failed/one"}


@pytest.mark.parametrize("name", ["canary", "later"])
def test_an_endpoint_that_writes_encrypts_for_its_bucket_only(
    name: str, request: pytest.FixtureRequest
) -> None:
    """With the project's key, by way of S3; nothing encrypts directly or for another bucket."""
    deployed = Deployed(request.getfixturevalue(name))
    role, key = deployed.identity("endpoint", "Role"), deployed.key("Key")
    by_s3 = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": deployed.in_bucket("Artifacts").arn,
    }

    assert _may(role, "kms:GenerateDataKey", key, **by_s3)
    assert not _may(role, "kms:GenerateDataKey", key)
    assert not _may(
        role, "kms:GenerateDataKey", key, **{**by_s3, "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::a"}
    )
    assert not _may(role, "kms:GenerateDataKey", deployed.key("SigningKey"), **by_s3)


def test_an_async_endpoint_tells_its_two_topics(later: World) -> None:
    """Not the topic of the alarms, which wakes people up; and the key serves those two only."""
    deployed = Deployed(later)
    role, key = deployed.identity("endpoint", "Role"), deployed.key("Key")
    topics = {name: Target(deployed.arn("endpoint", name), ACCOUNT) for name in
              later.all("endpoint", "AWS::SNS::Topic")}  # fmt: skip

    told = {name[:7] for name, topic in topics.items() if _may(role, "sns:Publish", topic)}
    encrypted = {
        name[:7]
        for name, topic in topics.items()
        if _may(
            role,
            "kms:GenerateDataKey",
            key,
            **{
                "kms:ViaService": f"sns.{REGION}.amazonaws.com",
                "kms:EncryptionContext:aws:sns:topicArn": topic.arn,
            },
        )
    }

    assert told == encrypted == {"Answers", "Failure"}
    assert len(topics) == 3


def test_sagemaker_looks_at_the_alarms_of_an_update_and_at_no_others(later: World, cpu: World) -> None:
    """It goes back on these; an endpoint that shifts no traffic looks at none."""

    def seen(world: World) -> set[str]:
        deployed = Deployed(world)
        role = deployed.identity("endpoint", "Role")
        alarms = world.all("endpoint", "AWS::CloudWatch::Alarm")
        targets = {name: Target(deployed.arn("endpoint", name), ACCOUNT) for name in alarms}
        return {name[:6] for name, at in targets.items() if _may(role, "cloudwatch:DescribeAlarms", at)}

    assert seen(later) == {"Errors", "Latenc"}
    assert seen(cpu) == set()


@pytest.mark.parametrize("stack", ["fleet", "endpoint"])
def test_what_runs_decrypts_with_one_key_and_for_its_bucket_only(deployed: Deployed, stack: str) -> None:
    """By way of S3, for the artifacts bucket; not the key itself, not another bucket's objects."""
    role, bucket = deployed.identity(stack, "Role"), deployed.in_bucket("Artifacts").arn
    by_s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": bucket}
    keys = [target for target in deployed.everything() if target.is_key]

    usable = [key for key in keys if _may(role, "kms:Decrypt", key, **by_s3)]

    assert [key.arn for key in usable] == [deployed.key("Key").arn]
    assert len(keys) == 2
    assert not _may(role, "kms:Decrypt", usable[0])
    assert not _may(role, "kms:Decrypt", usable[0], **{**by_s3, "kms:ViaService": "ebs.amazonaws.com"})
    other = {**by_s3, "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::another"}
    assert not _may(role, "kms:Decrypt", usable[0], **other)


@pytest.mark.parametrize("name", ["canary", "later"])
def test_endpoints_of_every_kind_write_and_delete_no_release(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Nor do they take anything away, not even what they wrote."""
    deployed = Deployed(request.getfixturevalue(name))
    callers = list(deployed.identities())
    releases = [key for key in KEYS if key.startswith(("blobs/", "releases/"))]

    for action in WRITES:
        keys = releases if action == "s3:PutObject" else KEYS
        targets = [deployed.in_bucket("Artifacts", key) for key in keys]
        assert not any(_may(caller, action, target) for caller in callers for target in targets)


@pytest.mark.parametrize(
    ("stack", "action"),
    [
        (stack, action)
        for stack in ("fleet", "endpoint", "image")
        for action in DENIED
        if (stack, action) not in OF_THE_SLOTS
    ],
)
def test_what_runs_may_do_nothing_else(inf1: World, stack: str, action: str) -> None:
    """On no resource of the stacks, on none of the keys in the bucket and on nothing outside."""
    deployed = Deployed(inf1)
    role = deployed.identity(stack, "Role")
    targets = [
        *deployed.everything(),
        *(deployed.in_bucket("Artifacts", key) for key in KEYS),
        deployed.in_bucket("AccessLogs", "artifacts/one"),
        *(Target(f"arn:aws:{action.partition(':')[0]}:{REGION}:{ACCOUNT}:{name}", ACCOUNT) for name in "ab"),
        Target("*", ACCOUNT),
    ]
    by_s3 = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": deployed.in_bucket("Artifacts").arn,
    }

    assert [target.arn for target in targets if _may(role, action, target, **by_s3)] == []


@given(
    st.one_of(
        st.integers(0, 20).map(lambda number: f"{SLOT}{number}"),
        st.text(max_size=20).map(lambda tail: f"{SLOT}{tail}"),
        st.sampled_from(KEYS),
        st.text(max_size=80),
    )
)
@example(f"{SLOT}0")
@example(f"{SLOT}00")
@example("fleets/other-fleet/replacements/0")
def test_an_instance_writes_its_fleets_slots_and_no_other_object(cpu: World, key: str) -> None:
    """One slot, because a tenth of this fleet's smallest size is less than one instance."""
    deployed = Deployed(cpu)
    role, target = deployed.identity("fleet", "Role"), deployed.in_bucket("Artifacts", key)

    assert _may(role, "s3:PutObject", target) == (key == f"{SLOT}0")
    assert not _may(deployed.identity("endpoint", "Role"), "s3:PutObject", target)
    assert not _may(role, "s3:DeleteObject", target)


def test_an_instance_encrypts_by_way_of_s3_and_for_its_bucket_only(deployed: Deployed) -> None:
    """With the project's key; not for another bucket, not for a disk, not by itself."""
    role, bucket = deployed.identity("fleet", "Role"), deployed.in_bucket("Artifacts").arn
    by_s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": bucket}
    keys = [target for target in deployed.everything() if target.is_key]
    action = "kms:GenerateDataKey"

    usable = [key for key in keys if _may(role, action, key, **by_s3)]

    assert [key.arn for key in usable] == [deployed.key("Key").arn]
    assert not _may(role, action, usable[0])
    assert not _may(role, action, usable[0], **{**by_s3, "kms:ViaService": "ebs.amazonaws.com"})
    other = {**by_s3, "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::another"}
    assert not _may(role, action, usable[0], **other)


@pytest.mark.parametrize("action", ["autoscaling:SetInstanceHealth", "autoscaling:CompleteLifecycleAction"])
def test_an_instance_speaks_for_its_own_group_only(deployed: Deployed, action: str) -> None:
    """Which its tag tells; a group of another fleet, or without a tag, is none of its business."""
    role = deployed.identity("fleet", "Role")
    group = Target(
        f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/a", ACCOUNT
    )
    tag = "aws:ResourceTag/traceship:fleet"

    assert _may(role, action, group, **{tag: "traceship-fleet"})
    assert not _may(role, action, group, **{tag: "other-fleet"})
    assert not _may(role, action, group)
    others = [caller for caller in deployed.identities() if caller.arn != role.arn]
    assert not any(_may(caller, action, group, **{tag: "traceship-fleet"}) for caller in others)


def test_the_list_of_what_is_denied_is_long_and_the_evaluator_can_say_yes(deployed: Deployed) -> None:
    """At least 40 actions; and the roles do have what they need, so that a No means something."""
    role = deployed.identity("fleet", "Role")
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/traceship/"

    assert len(set(DENIED)) == len(DENIED) >= 40
    assert _may(role, "ecr:GetAuthorizationToken", Target("*", ACCOUNT))
    assert _may(role, "ecr:BatchGetImage", Target(f"{repository}serving", ACCOUNT))
    assert not _may(role, "ecr:BatchGetImage", Target(f"{repository}compile", ACCOUNT))
    assert _may(role, "logs:PutLogEvents", Target(_stream("fleet"), ACCOUNT))
    assert not _may(role, "logs:PutLogEvents", Target(_stream("compile"), ACCOUNT))


def _stream(part: str) -> str:
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/traceship/traceship/{part}:log-stream:one"


def test_compile_jobs_read_no_release_and_write_results_only(deployed: Deployed) -> None:
    """Production data is what releases and blobs hold; a job sees models and results."""
    job = deployed.identity("compile", "JobRole")

    assert _readable(deployed, job) == {key for key in KEYS if key.startswith(("models/", "compiled/"))}
    writable = {key for key in KEYS if _may(job, "s3:PutObject", deployed.in_bucket("Artifacts", key))}
    assert writable == {key for key in KEYS if key.startswith("compiled/")}
    bucket = deployed.in_bucket("Artifacts")
    prefixes = {p: _may(job, "s3:ListBucket", bucket, **{"s3:prefix": p}) for p in ("models/a", "blobs/", "")}
    assert prefixes == {"models/a": True, "blobs/": False, "": False}
    assert not _may(job, "s3:ListBucket", bucket)


@pytest.mark.parametrize("construct", ["ExecutionRole", "MachineRole"])
def test_what_starts_compile_jobs_reads_no_object(deployed: Deployed, construct: str) -> None:
    """Nor does it use a key."""
    role = deployed.identity("compile", construct)

    assert _readable(deployed, role) == set()
    assert not any(_may(role, "kms:Decrypt", key) for key in deployed.everything() if key.is_key)


def test_nobody_of_ours_writes_or_deletes_a_release(deployed: Deployed) -> None:
    """No role of any stack, no service that the bucket's policy knows, nobody of another account."""
    roles = list(deployed.identities())
    services = [
        Service("logging.s3.amazonaws.com"),
        Service("logdelivery.elasticloadbalancing.amazonaws.com"),
    ]
    everything = Policy.of(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )
    stranger = Identity("arn:aws:iam::999999999999:role/admin", (everything,))
    releases = [key for key in KEYS if key.startswith(("blobs/", "releases/"))]

    writers = {
        (str(caller), action, key)
        for caller in (*roles, *services, stranger)
        for action in WRITES
        for key in releases
        if _may(caller, action, deployed.in_bucket("Artifacts", key), **{"s3:if-none-match": "*"})
    }

    assert writers == set()
    assert len(roles) >= 6
    changes = (
        "s3:PutBucketPolicy",
        "s3:DeleteBucket",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
    )
    bucket = deployed.in_bucket("Artifacts")
    assert not any(_may(caller, action, bucket) for caller in (*roles, stranger) for action in changes)


def test_the_publisher_writes_each_manifest_once_and_over_tls(deployed: Deployed) -> None:
    """docs/permissions.md, `ship`; the bucket refuses even it a second manifest."""
    bucket = deployed.in_bucket("Artifacts").arn
    places = [f"{bucket}/blobs/*", f"{bucket}/releases/*"]
    rights = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": places}
    publisher = Identity(
        f"arn:aws:iam::{ACCOUNT}:role/publisher",
        (Policy.of({"Version": "2012-10-17", "Statement": [rights]}),),
    )
    manifest = deployed.in_bucket("Artifacts", manifest_key("traceship", DIGEST))
    blob = deployed.in_bucket("Artifacts", blob_key(BLOBS[0]))

    def answer(target: Target, **context: object) -> Decision:
        return decide(publisher, Request("s3:PutObject", target, {**SECURE, **context}))

    assert answer(blob) is Decision.ALLOW
    assert answer(manifest, **{"s3:if-none-match": "*"}) is Decision.ALLOW
    assert answer(manifest) is Decision.EXPLICIT_DENY
    assert answer(blob, **{"aws:SecureTransport": False}) is Decision.EXPLICIT_DENY
    assert answer(blob, **{"s3:TlsVersion": "1.1"}) is Decision.EXPLICIT_DENY


def test_logs_are_written_by_two_services_each_below_its_prefix(deployed: Deployed) -> None:
    """S3 for the artifacts bucket of this account, load balancers for this account."""
    s3, balancers = (
        Service("logging.s3.amazonaws.com"),
        Service("logdelivery.elasticloadbalancing.amazonaws.com"),
    )
    own = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": deployed.in_bucket("Artifacts").arn}
    access = deployed.in_bucket("AccessLogs", "artifacts/one")
    requests = deployed.in_bucket("AccessLogs", f"load-balancer/AWSLogs/{ACCOUNT}/one")

    assert _may(s3, "s3:PutObject", access, **own)
    assert not _may(s3, "s3:PutObject", access, **{**own, "aws:SourceAccount": "999999999999"})
    assert not _may(s3, "s3:PutObject", requests, **own)
    assert _may(balancers, "s3:PutObject", requests)
    assert not _may(balancers, "s3:PutObject", access)
    assert not any(_may(role, "s3:PutObject", access) for role in deployed.identities())


def test_the_keys_are_used_by_whom_their_policies_name(deployed: Deployed) -> None:
    """Logs of this project, alarms and Auto Scaling of this account; no role of ours signs."""
    key, signing = deployed.key("Key"), deployed.key("SigningKey")
    logs, alarms = Service(f"logs.{REGION}.amazonaws.com"), Service("cloudwatch.amazonaws.com")
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/traceship/traceship/fleet"
    slr = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    scaling, other = (Identity(f"arn:aws:iam::{ACCOUNT}:{name}") for name in (slr, "role/other"))
    here = {"kms:CallerAccount": ACCOUNT}

    assert _may(logs, "kms:Encrypt", key, **{"kms:EncryptionContext:aws:logs:arn": group})
    assert not _may(logs, "kms:Encrypt", key, **{"kms:EncryptionContext:aws:logs:arn": f"{group[:-15]}/x"})
    assert _may(alarms, "kms:GenerateDataKey", key, **{"aws:SourceAccount": ACCOUNT})
    assert not _may(alarms, "kms:GenerateDataKey", key, **{"aws:SourceAccount": "999999999999"})
    assert _may(scaling, "kms:Decrypt", key, **here)
    assert not _may(other, "kms:Decrypt", key, **here)
    signers = [caller for caller in (*deployed.identities(), scaling) if _may(caller, "kms:Sign", signing)]
    assert signers == []


def test_the_intake_reads_requests_and_models_and_no_release(cpu: World) -> None:
    """It answers beside a request, sends models by content, and starts rows of one machine."""
    deployed = Deployed(cpu)
    intake = deployed.identity("compile", "IntakeRole")
    readable = ("requests/", "models/", "compiled/")

    assert _readable(deployed, intake) == {key for key in KEYS if key.startswith(readable)}
    writable = {key for key in KEYS if _may(intake, "s3:PutObject", deployed.in_bucket("Artifacts", key))}
    assert writable == {key for key in KEYS if key.startswith(("requests/", "models/"))}
    machines = "arn:aws:states:eu-west-1:111122223333:stateMachine:traceship-"
    started = {
        name: _may(intake, "states:StartExecution", Target(f"{machines}{name}", ACCOUNT))
        for name in ("compile", "requests", "reverify")
    }
    assert started == {"compile": True, "requests": False, "reverify": False}
    executions = "arn:aws:states:eu-west-1:111122223333:execution:traceship-"
    assert _may(intake, "states:DescribeExecution", Target(f"{executions}compile:x", ACCOUNT))
    assert not _may(intake, "states:DescribeExecution", Target(f"{executions}reverify:x", ACCOUNT))
    assert not _may(intake, "states:StopExecution", Target(f"{executions}compile:x", ACCOUNT))
    assert not _may(intake, "batch:SubmitJob", Target("*", ACCOUNT))


def test_the_daily_look_reads_releases_and_writes_nothing_anywhere(cpu: World) -> None:
    """No write of S3, KMS, logs or the network: none of the actions that anybody is denied, but reading."""
    deployed = Deployed(cpu)
    role = deployed.identity("compile", "ReverifyRole")
    by_s3 = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": deployed.in_bucket("Artifacts").arn,
    }
    targets = [
        *deployed.everything(),
        *(deployed.in_bucket("Artifacts", key) for key in KEYS),
        Target("*", ACCOUNT),
    ]

    assert _readable(deployed, role) == {key for key in KEYS if key.startswith(("releases/", "blobs/"))}
    for prefix, may in (("releases/", True), ("blobs/sha256/ab", True), ("captured/", False)):
        # What it may not list is 403 and not 404 when it is missing, and would not be told as missing.
        listing = _may(role, "s3:ListBucket", deployed.in_bucket("Artifacts"), **{"s3:prefix": prefix})
        assert listing is may, prefix
    allowed = {
        action for action in {*DENIED, *WRITES} for target in targets if _may(role, action, target, **by_s3)
    }
    assert allowed == set()
    assert _may(role, "kms:Decrypt", deployed.key("Key"), **by_s3)
    bucket = deployed.in_bucket("Artifacts")
    listed = {
        p: _may(role, "s3:ListBucket", bucket, **{"s3:prefix": p}) for p in ("releases/", "models/", "")
    }
    assert listed == {"releases/": True, "models/": False, "": False}


def test_each_machine_submits_its_own_job_and_each_starter_starts_its_own_machine(cpu: World) -> None:
    """Three machines, three definitions; EventBridge and the scheduler start one each."""
    deployed = Deployed(cpu)
    definitions = {name[:-8]: name for name in cpu.all("compile", "AWS::Batch::JobDefinition")}
    machines = {name[:-8]: name for name in cpu.all("compile", "AWS::StepFunctions::StateMachine")}

    def submits(role: str) -> set[str]:
        caller = deployed.identity("compile", role)
        return {
            short
            for short, name in definitions.items()
            if _may(caller, "batch:SubmitJob", Target(deployed.arn("compile", name), ACCOUNT))
        }

    def starts(role: str) -> set[str]:
        caller = deployed.identity("compile", role)
        return {
            short
            for short, name in machines.items()
            if _may(caller, "states:StartExecution", Target(deployed.arn("compile", name), ACCOUNT))
        }

    roles = {
        "MachineRole": {"Job"},
        "RequestsMachineRole": {"IntakeJob"},
        "ReverifyMachineRole": {"ReverifyJob"},
    }
    assert {role: submits(role) for role in roles} == roles
    assert starts("RequestsRole") == {"RequestsMachine"}
    assert starts("ReverifyScheduleRole") == {"ReverifyMachine"}
    assert starts("JobRole") == starts("MachineRole") == set()


def test_an_instance_for_jobs_reads_no_object_and_pulls_one_image(existing: World) -> None:
    """What a container needs, its own role gives it."""
    deployed = Deployed(existing)
    role = deployed.identity("compile", "InstanceRole")

    assert _readable(deployed, role) == set()
    assert _may(role, "ecs:Poll", Target("*", ACCOUNT))
    assert not any(_may(role, action, Target("*", ACCOUNT)) for action in ("ecs:RunTask", "batch:SubmitJob"))


def test_s3s_door_opens_for_our_account_to_our_buckets_and_for_layers(cpu: World) -> None:
    """A stranger's credentials carry nothing out, to no bucket; our own lead to no other bucket."""
    ((_, body),) = [
        (name, body)
        for name, body in cpu.all("network", "AWS::EC2::VPCEndpoint").items()
        if body["Properties"]["VpcEndpointType"] == "Gateway"
    ]
    deployed = Deployed(cpu)
    door = deployed.policy_of("network", body["Properties"]["PolicyDocument"])
    everything = Policy.of(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )

    def through(account: str, action: str, arn: str) -> bool:
        """The door's policy as a boundary: what it does not allow, nothing allows."""
        caller = Identity(f"arn:aws:iam::{account}:role/any", (everything,))
        target = Target(arn, ACCOUNT, door)
        request = Request(action, target, {**SECURE, "aws:PrincipalAccount": account})
        return door_allows(caller, request, door)

    own = deployed.in_bucket("Artifacts", "releases/x").arn
    assert through(ACCOUNT, "s3:GetObject", own)
    assert not through("999999999999", "s3:GetObject", own)
    assert not through(ACCOUNT, "s3:PutObject", "arn:aws:s3:::another/stolen")
    assert not through("999999999999", "s3:PutObject", "arn:aws:s3:::another/stolen")
    layers = f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/layer"
    assert through("999999999999", "s3:GetObject", layers)
    assert not through(ACCOUNT, "s3:PutObject", layers)
    assert not through(ACCOUNT, "s3:DeleteObject", own)


def door_allows(caller: Identity, request: Request, door: Policy) -> bool:
    """Whether a resource policy that is the door's, in another account than the caller's, lets it through."""
    alone = Target(request.target.arn, "000000000000", door)
    return decide(caller, Request(request.action, alone, request.context)) is Decision.ALLOW


def test_every_action_of_a_role_in_the_network_passes_its_door(
    cpu: World, inf1: World, existing: World
) -> None:
    """A right that no door lets through fails at three in the morning, and in no test of the role alone."""
    at_doors = {"s3": "s3", "ecr": "ecr", "logs": "logs", "kms": "kms", "states": "states", "ecs": "ecs"}
    at_doors |= {
        name: name for name in ("ssm", "ssmmessages", "sts", "cloudwatch", "autoscaling", "imagebuilder")
    }
    outside = {"ec2", "batch", "events", "xray"}  # called by AWS itself, not from within
    for world in (cpu, inf1, existing):
        doors = {
            statement["Action"].partition(":")[0]
            for body in world.all("network", "AWS::EC2::VPCEndpoint").values()
            for statement in body["Properties"]["PolicyDocument"]["Statement"]
            if isinstance(statement["Action"], str)
        } | {"s3"}
        used = {
            action.partition(":")[0]
            for role in ("compile", "fleet", "image")
            if role in world.templates
            for body in world.all(role, "AWS::IAM::ManagedPolicy").values()
            for statement in body["Properties"]["PolicyDocument"]["Statement"]
            for action in (
                statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            )
        }
        assert used - outside <= doors
        assert doors <= set(at_doors) | {"ec2messages"}
