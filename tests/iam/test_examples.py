"""The evaluator answers the examples of AWS's guides as the guides do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.iam.conditions import hold
from tests.iam.documents import Policy
from tests.iam.evaluate import Decision, Identity, Request, Service, Target, decide

ACCOUNT, OTHER = "111122223333", "444455556666"
ALLOW, NOT_ALLOWED, DENIED = Decision.ALLOW, Decision.IMPLICIT_DENY, Decision.EXPLICIT_DENY


def _policy(*statements: dict[str, Any]) -> Policy:
    return Policy.of({"Version": "2012-10-17", "Statement": list(statements)})


def _user(name: str, *policies: Policy, boundary: Policy | None = None, account: str = ACCOUNT) -> Identity:
    return Identity(f"arn:aws:iam::{account}:user/{name}", policies, boundary)


def _ask(
    caller: Identity | Service, action: str, arn: str, policy: Policy | None = None, **more: Any
) -> Decision:
    target = Target(arn, more.pop("owner", ACCOUNT), policy, is_key=more.pop("is_key", False))
    return decide(caller, Request(action, target, more.pop("context", {})))


HIS = "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar"
CARLOS = _policy(
    {
        "Effect": "Allow",
        "Action": ["s3:GetBucketLocation", "s3:ListAllMyBuckets"],
        "Resource": "arn:aws:s3:::*",
    },
    {"Effect": "Allow", "Action": "s3:*", "Resource": [f"{HIS}/*", HIS]},
    {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*log*"},
)
TO_CARLOS = _policy(
    {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/carlossalazar"},
        "Action": "s3:*",
        "Resource": [f"{HIS}/*", HIS],
    }
)


@pytest.mark.parametrize(
    ("action", "arn", "answer"),
    [
        ("s3:PutObject", f"{HIS}/paper", ALLOW),
        ("s3:PutObject", f"{HIS}-logs/paper", DENIED),
        ("s3:ListAllMyBuckets", "arn:aws:s3:::other", ALLOW),
        ("s3:PutObject", "arn:aws:s3:::other/paper", NOT_ALLOWED),
        ("ec2:RunInstances", "arn:aws:ec2:eu-west-1:1:instance/*", NOT_ALLOWED),
    ],
)
def test_an_explicit_deny_wins_and_silence_refuses(action: str, arn: str, answer: Decision) -> None:
    """IAM user guide, "Policy evaluation for requests within a single account": Carlos and his buckets."""
    assert _ask(_user("carlossalazar", CARLOS), action, arn) == answer


def test_within_an_account_either_policy_suffices() -> None:
    """The same page: the identity's or the resource's, and a deny in either refuses."""
    nobody = _user("carlossalazar")

    assert _ask(nobody, "s3:GetObject", f"{HIS}/paper", TO_CARLOS) == ALLOW
    assert _ask(_user("zhang"), "s3:GetObject", f"{HIS}/paper", TO_CARLOS) == NOT_ALLOWED
    denying = _policy({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"{HIS}/*"})
    assert _ask(_user("carlossalazar", CARLOS), "s3:GetObject", f"{HIS}/paper", denying) == DENIED


def test_between_accounts_both_policies_are_needed() -> None:
    """IAM user guide, "Cross-account policy evaluation logic"."""
    arn = "arn:aws:s3:::production/file"
    may = _policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": arn})
    admits = _policy(
        {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "s3:GetObject", "Resource": arn}
    )
    guest, silent = _user("guest", may, account=OTHER), _user("silent", account=OTHER)

    assert _ask(guest, "s3:GetObject", arn, admits) == ALLOW
    assert _ask(guest, "s3:GetObject", arn) == NOT_ALLOWED
    assert _ask(silent, "s3:GetObject", arn, admits) == NOT_ALLOWED


def test_a_boundary_gives_nothing_and_limits_everything() -> None:
    """IAM user guide, "Permissions boundaries for IAM entities": Shirley may not create users."""
    boundary = _policy(
        {"Effect": "Allow", "Action": ["s3:*", "cloudwatch:*", "ec2:*"], "Resource": "*"},
    )
    create = _policy({"Effect": "Allow", "Action": "iam:CreateUser", "Resource": "*"})
    full = _policy({"Effect": "Allow", "Action": "*", "Resource": "*"})

    assert _ask(_user("shirley", create, boundary=boundary), "iam:CreateUser", "arn:x") == NOT_ALLOWED
    assert _ask(_user("shirley", boundary=boundary), "s3:GetObject", "arn:x") == NOT_ALLOWED
    assert _ask(_user("shirley", full, boundary=boundary), "s3:GetObject", "arn:x") == ALLOW


@pytest.mark.parametrize(
    ("statement", "action", "arn", "answer"),
    [
        ({"NotAction": "iam:*", "Resource": "*"}, "s3:GetObject", "arn:x", ALLOW),
        ({"NotAction": "iam:*", "Resource": "*"}, "iam:CreateUser", "arn:x", NOT_ALLOWED),
        ({"NotAction": "s3:DeleteBucket", "Resource": "arn:aws:s3:::*"}, "s3:DeleteBucket", HIS, NOT_ALLOWED),
        ({"NotAction": "s3:DeleteBucket", "Resource": "arn:aws:s3:::*"}, "s3:ListBucket", HIS, ALLOW),
        ({"Action": "s3:*", "NotResource": [HIS, f"{HIS}/*"]}, "s3:GetObject", f"{HIS}/a", NOT_ALLOWED),
        ({"Action": "s3:*", "NotResource": [HIS, f"{HIS}/*"]}, "s3:GetObject", "arn:aws:s3:::b/a", ALLOW),
    ],
)
def test_not_means_everything_else(
    statement: dict[str, Any], action: str, arn: str, answer: Decision
) -> None:
    """IAM user guide, "NotAction" and "NotResource"."""
    assert _ask(_user("a", _policy({"Effect": "Allow", **statement})), action, arn) == answer


@pytest.mark.parametrize(("name", "answer"), [("ann", ALLOW), ("bob", NOT_ALLOWED)])
def test_a_variable_gives_each_their_own_folder(name: str, answer: Decision) -> None:
    """IAM user guide, "Policy variables": home folders in one bucket."""
    policy = _policy(
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::homes",
            "Condition": {"StringLike": {"s3:prefix": ["${aws:username}/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::homes/${aws:username}/*"},
    )
    caller = _user(name, policy)

    assert _ask(caller, "s3:GetObject", "arn:aws:s3:::homes/ann/x") == answer
    assert _ask(caller, "s3:ListBucket", "arn:aws:s3:::homes", context={"s3:prefix": "ann/x"}) == answer


CONDITIONS: list[tuple[dict[str, Any], dict[str, object], bool]] = [
    ({"StringEquals": {"aws:username": "john"}}, {"aws:username": "john"}, True),
    ({"StringEquals": {"aws:username": "john"}}, {"aws:username": "John"}, False),
    ({"StringEqualsIgnoreCase": {"aws:username": "john"}}, {"aws:username": "John"}, True),
    ({"StringEquals": {"aws:username": ["john", "ann"]}}, {"AWS:UserName": "ann"}, True),
    ({"StringEquals": {"aws:username": "john"}}, {}, False),
    ({"StringNotEquals": {"aws:username": "john"}}, {}, True),
    ({"StringNotEquals": {"aws:username": ["john", "ann"]}}, {"aws:username": "ann"}, False),
    ({"StringEqualsIfExists": {"aws:username": "john"}}, {}, True),
    ({"StringEqualsIfExists": {"aws:username": "john"}}, {"aws:username": "ann"}, False),
    ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1"}, False),
    ({"StringEquals": {"a": "1"}, "StringLike": {"b": "2*"}}, {"a": "1", "b": "22"}, True),
    ({"StringEquals": {"a": "*"}}, {"a": "b"}, False),
    ({"StringNotLike": {"a": "b*"}}, {"a": "bc"}, False),
    ({"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": False}, True),
    ({"Bool": {"aws:SecureTransport": "false"}}, {}, False),
    ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, {}, True),
    ({"Null": {"aws:TokenIssueTime": "true"}}, {}, True),
    ({"Null": {"aws:TokenIssueTime": "true"}}, {"aws:TokenIssueTime": "now"}, False),
    ({"Null": {"aws:TokenIssueTime": "false"}}, {"aws:TokenIssueTime": "now"}, True),
    ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, {"s3:TlsVersion": "1.1"}, True),
    ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, {"s3:TlsVersion": "1.2"}, False),
    ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": 10}, True),
    ({"NumericGreaterThan": {"a": 1}}, {"a": 2}, True),
    ({"NumericGreaterThanEquals": {"a": 2}}, {"a": 2}, True),
    ({"NumericNotEquals": {"a": 2}}, {"a": 2}, False),
    ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, {"aws:SourceIp": "203.0.113.9"}, True),
    ({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, {"aws:SourceIp": "203.0.113.9"}, False),
    ({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::b*"}}, {"aws:SourceArn": "arn:aws:s3:::bucket"}, True),
    ({"ArnNotEquals": {"aws:SourceArn": "arn:aws:s3:::b"}}, {}, True),
    ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {"k": ["a"]}, True),
    ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {"k": ["a", "c"]}, False),
    ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {}, True),
    ({"ForAnyValue:StringEquals": {"k": ["a", "b"]}}, {"k": ["a", "c"]}, True),
    ({"ForAnyValue:StringEquals": {"k": ["a", "b"]}}, {}, False),
    ({"ForAnyValue:StringNotEquals": {"k": ["a"]}}, {"k": ["a", "c"]}, True),
]


@pytest.mark.parametrize(("conditions", "context", "answer"), CONDITIONS)
def test_conditions(conditions: dict[str, Any], context: dict[str, object], answer: bool) -> None:
    """IAM user guide, "Condition operators" and "Conditions with multiple context keys or values"."""
    assert hold(conditions, context) == answer


def test_a_keys_policy_must_agree_with_the_accounts() -> None:
    """KMS guide, "Default key policy": naming the account lets its policies decide, and gives nothing."""
    arn = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"
    may = _policy({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": arn})
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    default = _policy({"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"})
    direct = _policy(
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ann"},
            "Action": "kms:Decrypt",
            "Resource": "*",
        }
    )

    assert _ask(_user("ann", may), "kms:Decrypt", arn, default, is_key=True) == ALLOW
    assert _ask(_user("ann"), "kms:Decrypt", arn, default, is_key=True) == NOT_ALLOWED
    assert _ask(_user("bob", may), "kms:Decrypt", arn, direct, is_key=True) == NOT_ALLOWED
    assert _ask(_user("ann"), "kms:Decrypt", arn, direct, is_key=True) == ALLOW


def test_a_service_has_what_the_resource_gives_it() -> None:
    """S3 guide, "Enabling server access logging": the logging service, for one account's buckets only."""
    arn = "arn:aws:s3:::logs/a"
    policy = _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::logs/*",
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        }
    )
    service = Service("logging.s3.amazonaws.com")

    assert _ask(service, "s3:PutObject", arn, policy, context={"aws:SourceAccount": ACCOUNT}) == ALLOW
    assert _ask(service, "s3:PutObject", arn, policy, context={"aws:SourceAccount": OTHER}) == NOT_ALLOWED
    assert _ask(Service("s3.amazonaws.com"), "s3:PutObject", arn, policy) == NOT_ALLOWED


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Action": "a:b", "Resource": "*", "Conditon": {}},
        {"Effect": "allow", "Action": "a:b", "Resource": "*"},
        {"Effect": "Allow", "Resource": "*"},
        {"Effect": "Allow", "Action": "a:b", "NotAction": "a:c", "Resource": "*"},
        {"Effect": "Allow", "Action": "a:b", "Resource": "*", "NotResource": "*"},
    ],
)
def test_what_is_not_understood_is_refused(statement: dict[str, Any]) -> None:
    """A proof over half a policy proves nothing."""
    with pytest.raises(ValueError, match=r"."):
        _policy(statement)


def test_an_unknown_operator_and_an_old_version_are_refused() -> None:
    """In version 2008-10-17 a variable is plain text."""
    with pytest.raises(ValueError, match="DateLessThan"):
        hold({"DateLessThan": {"aws:CurrentTime": "2026-01-01"}}, {"aws:CurrentTime": "2025-01-01"})
    with pytest.raises(ValueError, match="2008"):
        Policy.of({"Version": "2008-10-17", "Statement": []})
