"""SageMaker endpoints as boto3 sees them, with real servers behind every state."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.emulator import BUCKET, ROLE, Emulator, archive, refusal, running, until

INSTANCE = "ml.inf1.xlarge"


class World:
    """An emulator with short words for what every test does."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.control = emulator.client("sagemaker")
        self.runtime = emulator.client("sagemaker-runtime")
        self.number = 0

    def config(
        self,
        *digests: str,
        pinned: str | None = None,
        url: str | None = None,
        count: int = 1,
        gate: Path | None = None,
    ) -> str:
        """An endpoint configuration with one variant per digest. ``gate``: see ``Emulator.publish``."""
        self.number += 1
        name = f"c{self.number}"
        variants = []
        for digest in digests:
            model = f"{name}-{digest}"
            data = url or self.emulator.publish(digest, gate=gate) + "/model.tar.gz"
            self.control.create_model(
                ModelName=model,
                ExecutionRoleArn=ROLE,
                PrimaryContainer={
                    "Image": "serving",
                    "ModelDataUrl": data,
                    "Environment": {"TRACESHIP_DIGEST": pinned or digest},
                },
            )
            variants.append(
                {
                    "VariantName": f"v-{digest}",
                    "ModelName": model,
                    "InstanceType": INSTANCE,
                    "InitialInstanceCount": count,
                }
            )
        self.control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        return name

    def create(self, name: str, config: str) -> dict[str, Any]:
        self.control.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        def ended() -> Any:
            found = self.control.describe_endpoint(EndpointName=name)
            return found if found["EndpointStatus"] in ("InService", "Failed") else None

        found: dict[str, Any] = until(ended, f"endpoint {name} settles")
        return found

    def invoke(self, name: str, request: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        answer = self.runtime.invoke_endpoint(
            EndpointName=name, Body=json.dumps(request or {}), ContentType="application/json", **more
        )
        return {**answer, "Body": json.loads(answer["Body"].read())}

    def delete(self, name: str) -> None:
        self.control.delete_endpoint(EndpointName=name)
        until(lambda: not self.control.list_endpoints(NameContains=name)["Endpoints"], f"{name} is gone")

    def pids(self, name: str) -> set[int]:
        return {row["pid"] for row in self.emulator.rows() if row["owner"] == name}

    def states(self, name: str) -> set[str]:
        return {row["state"] for row in self.emulator.rows() if row["owner"] == name}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def world(emulator: Emulator) -> World:
    return World(emulator)


@contextmanager
def stranger_on(address: str) -> Iterator[None]:
    """Somebody who listens where a replica did, and never answers."""
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        yield


@pytest.fixture
def endpoint(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of an endpoint that is deleted afterwards, with its processes."""
    name = request.node.name.replace("_", "-")[:50].strip("-")
    yield name
    world.settled(name)
    world.delete(name)
    assert world.pids(name) == set()


def test_an_endpoint_is_creating_until_its_server_answers(
    world: World, endpoint: str, tmp_path: Path
) -> None:
    """InService means that a process was probed, and an answer comes from that process."""
    config = world.config("gated", gate=tmp_path / "open")
    world.control.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    until(lambda: world.states(endpoint) == {"starting"}, "its server runs")
    before = world.control.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
    (tmp_path / "open").touch()

    record = world.settled(endpoint)
    answer = world.invoke(endpoint, Accept="application/json")

    assert (before, record["EndpointStatus"]) == ("Creating", "InService")
    assert answer["Body"]["digest"] == "gated"
    assert {answer["Body"]["pid"]} == world.pids(endpoint)
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("application/json", "v-gated")
    assert (answer["Body"]["content_type"], answer["Body"]["accept"]) == (
        "application/json",
        "application/json",
    )


def test_a_bad_artifact_fails_the_endpoint_with_the_servers_words(world: World, endpoint: str) -> None:
    """The pinned digest is not in the archive: the server exits 3 and the reason names it."""
    record = world.create(endpoint, world.config("aaaa", pinned="beef"))

    assert record["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in record["FailureReason"]
    assert "refused the artifact (exit 3): pinned beef, found aaaa" in record["FailureReason"]
    assert world.pids(endpoint) == set()
    assert refusal(world.runtime.invoke_endpoint, EndpointName=endpoint, Body=b"{}")[0] == "ValidationError"


def test_missing_model_data_fails_the_endpoint(world: World, endpoint: str) -> None:
    """The archive is really fetched from S3."""
    world.emulator.publish("aaaa")

    record = world.create(endpoint, world.config("aaaa", url=f"s3://{BUCKET}/nothing/model.tar.gz"))

    assert record["EndpointStatus"] == "Failed"
    assert f"Could not find model data at s3://{BUCKET}/nothing/model.tar.gz" in record["FailureReason"]


def test_an_archive_that_leaves_its_folder_is_not_unpacked(world: World, endpoint: str) -> None:
    """A path out of the model folder stops the deployment, whatever else is in the archive."""
    world.emulator.publish("aaaa")
    manifest = json.dumps({"digest": "aaaa"}).encode()
    key, evil = "evil/model.tar.gz", archive({"manifest.json": manifest, "../../../../outside": b"x"})
    world.emulator.client("s3").put_object(Bucket=BUCKET, Key=key, Body=evil)

    record = world.create(endpoint, world.config("aaaa", url=f"s3://{BUCKET}/{key}"))

    assert record["EndpointStatus"] == "Failed"
    assert "cannot be unpacked" in record["FailureReason"]
    assert not list(world.emulator.state.rglob("outside"))


def test_an_update_switches_only_to_servers_that_answer(world: World, endpoint: str) -> None:
    """The old server answers until the new one does; then it is gone."""
    world.create(endpoint, world.config("aaaa"))
    old = world.pids(endpoint)
    world.control.update_endpoint(EndpointName=endpoint, EndpointConfigName=world.config("bbbb"))
    meanwhile = world.invoke(endpoint)["Body"]["digest"]

    record = world.settled(endpoint)

    assert meanwhile in ("aaaa", "bbbb")
    assert world.invoke(endpoint)["Body"]["digest"] == "bbbb"
    assert [one["VariantName"] for one in record["ProductionVariants"]] == ["v-bbbb"]
    until(lambda: not world.pids(endpoint) & old, "the old server ends")


def test_a_failed_update_is_in_service_on_the_old_configuration(world: World, endpoint: str) -> None:
    """The platform's silent rollback: InService, but EndpointConfigName is the old one."""
    old, bad = world.config("aaaa"), world.config("bbbb", pinned="beef")
    world.create(endpoint, old)
    world.control.update_endpoint(EndpointName=endpoint, EndpointConfigName=bad)

    record = world.settled(endpoint)

    assert (record["EndpointStatus"], record["EndpointConfigName"]) == ("InService", old)
    assert "pinned beef" in record["FailureReason"]
    assert world.invoke(endpoint)["Body"]["digest"] == "aaaa"
    assert len(world.pids(endpoint)) == 1


def test_weights_and_target_variant_choose_the_variant(world: World, endpoint: str) -> None:
    """Weight 0 gets no request of its own, and can still be addressed."""
    world.create(endpoint, world.config("aaaa", "bbbb"))
    weights = [
        {"VariantName": "v-aaaa", "DesiredWeight": 0.0},
        {"VariantName": "v-bbbb", "DesiredWeight": 1.0, "DesiredInstanceCount": 2},
    ]
    world.control.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=weights
    )
    record = world.settled(endpoint)

    routed = {world.invoke(endpoint)["Body"]["pid"] for _ in range(8)}
    targeted = world.invoke(endpoint, TargetVariant="v-aaaa")

    assert len(routed) == 2
    assert targeted["InvokedProductionVariant"] == "v-aaaa"
    assert targeted["Body"]["pid"] not in routed
    assert [one["CurrentInstanceCount"] for one in record["ProductionVariants"]] == [1, 2]
    code, _ = refusal(
        world.runtime.invoke_endpoint, EndpointName=endpoint, Body=b"{}", TargetVariant="v-cccc"
    )
    assert code == "ValidationError"


def test_an_update_may_keep_count_and_weight(world: World, endpoint: str) -> None:
    """RetainAllVariantProperties keeps what scaling made of a variant, unless excluded."""
    first, second, third = (world.config("aaaa") for _ in range(3))
    world.create(endpoint, first)
    change = [{"VariantName": "v-aaaa", "DesiredWeight": 3.0, "DesiredInstanceCount": 2}]
    world.control.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=change
    )
    world.settled(endpoint)

    world.control.update_endpoint(
        EndpointName=endpoint, EndpointConfigName=second, RetainAllVariantProperties=True
    )
    (kept,) = world.settled(endpoint)["ProductionVariants"]
    world.control.update_endpoint(
        EndpointName=endpoint, EndpointConfigName=third, RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )  # fmt: skip
    (excluded,) = world.settled(endpoint)["ProductionVariants"]

    assert (kept["CurrentInstanceCount"], kept["CurrentWeight"]) == (2, 3.0)
    assert (excluded["CurrentInstanceCount"], excluded["CurrentWeight"]) == (1, 3.0)


def test_what_the_container_refuses_is_a_model_error(world: World, endpoint: str) -> None:
    """Its status and words arrive where boto3 looks for them."""
    world.create(endpoint, world.config("aaaa"))

    with pytest.raises(world.runtime.exceptions.ModelError) as refused:
        world.invoke(endpoint, {"status": 400, "say": "inputs is missing"})
    answer = refused.value.response

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (400, "inputs is missing")
    assert f"/aws/sagemaker/Endpoints/{endpoint}" in answer["LogStreamArn"]
    assert 'Received client error (400) from primary with message "inputs is missing"' in str(refused.value)


def test_a_dead_server_answers_nobody(world: World, endpoint: str) -> None:
    """Killed while it answers: ModelError. Dead before: 503. Nothing pretends to be it."""
    world.create(endpoint, world.config("aaaa"))

    with pytest.raises(world.runtime.exceptions.ModelError) as silent:
        world.invoke(endpoint, {"die": True})
    until(lambda: world.states(endpoint) == {"failed"}, "its end is seen")
    with pytest.raises(world.runtime.exceptions.ServiceUnavailable) as unavailable:
        world.invoke(endpoint)

    assert silent.value.response["OriginalStatusCode"] == 0
    assert unavailable.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_dead_replica_is_passed_over(world: World, endpoint: str) -> None:
    """One of two servers is killed: every request goes to the other, whoever has the port now."""
    world.create(endpoint, world.config("aaaa", count=2))
    victim, survivor = (row for row in world.emulator.rows() if row["owner"] == endpoint)
    os.kill(victim["pid"], signal.SIGKILL)
    until(lambda: world.states(endpoint) == {"failed", "serving"}, "its end is seen")

    with stranger_on(victim["address"]):
        answers = {world.invoke(endpoint)["Body"]["pid"] for _ in range(4)}

    assert answers == {survivor["pid"]}


def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(world: World, endpoint: str) -> None:
    """6,291,456 bytes, the platform's limit."""
    world.create(endpoint, world.config("aaaa"))

    code, message = refusal(world.runtime.invoke_endpoint, EndpointName=endpoint, Body=b" " * 6_291_457)
    accepted = world.runtime.invoke_endpoint(EndpointName=endpoint, Body=b" " * 6_291_456)

    assert (code, message) == ("413", "HTTP content length exceeded 6291456 bytes.")
    assert json.loads(accepted["Body"].read())["bytes"] == 6_291_456


def test_an_endpoint_in_progress_takes_no_other_change(world: World, endpoint: str, tmp_path: Path) -> None:
    """AWS's words, for update, scale and delete alike."""
    config = world.config("gated", gate=tmp_path / "open")
    world.control.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)

    update = refusal(world.control.update_endpoint, EndpointName=endpoint, EndpointConfigName=config)
    delete = refusal(world.control.delete_endpoint, EndpointName=endpoint)
    (tmp_path / "open").touch()

    assert update == delete
    assert update[1].startswith("Cannot update in-progress endpoint")


def test_an_endpoint_that_does_not_exist_is_refused(world: World) -> None:
    """No canned answer, no empty description."""
    assert refusal(world.runtime.invoke_endpoint, EndpointName="nobody", Body=b"{}") == (
        "ValidationError",
        "Endpoint nobody of account 000000000000 not found.",
    )
    code, message = refusal(world.control.describe_endpoint, EndpointName="nobody")
    assert (code, message.split('"')[0]) == ("ValidationException", "Could not find endpoint ")


def test_references_to_what_is_not_there_are_refused(world: World) -> None:
    """A configuration needs its models, an endpoint its configuration."""
    variant = {"VariantName": "v", "ModelName": "ghost", "InstanceType": INSTANCE, "InitialInstanceCount": 1}

    config = refusal(
        world.control.create_endpoint_config, EndpointConfigName="c-ghost", ProductionVariants=[variant]
    )
    endpoint = refusal(world.control.create_endpoint, EndpointName="e-ghost", EndpointConfigName="c-ghost")

    assert config[1].startswith('Could not find model "')
    assert endpoint[1].startswith('Could not find endpoint configuration "')


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"InstanceType": "c5.large"}, "not an ml. instance type"),
        ({"ContainerStartupHealthCheckTimeoutInSeconds": 5}, "between 60 and 3600"),
        ({"InitialInstanceCount": 0}, "at least 1"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            "ServerlessConfig is not there",
        ),
    ],
)
def test_a_variant_that_cannot_be_is_refused(world: World, change: dict[str, Any], why: str) -> None:
    """Values out of range, and what the local AWS does not have, are errors and not ignored."""
    model = world.config("aaaa") + "-aaaa"
    variant = {"VariantName": "v", "ModelName": model, "InstanceType": INSTANCE, "InitialInstanceCount": 1}

    code, message = refusal(
        world.emulator.client("sagemaker", checked=False).create_endpoint_config,
        EndpointConfigName="bad",
        ProductionVariants=[{**variant, **change}],
    )

    assert code == "ValidationException"
    assert why in message


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ({"Environment": {f"V{n}": "x" for n in range(101)}}, "at most 100"),
        ({"Environment": {"LONG": "x" * 1025}}, "longer than 1024 characters"),
        ({"ModelDataUrl": "https://example.com/model.tar.gz"}, "must be an s3:// URL"),
    ],
)
def test_a_container_that_cannot_be_is_refused(world: World, container: dict[str, Any], why: str) -> None:
    """The platform's limits hold here too."""
    base = {"Image": "serving", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}

    code, message = refusal(
        world.control.create_model,
        ModelName="bad",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={**base, **container},
    )

    assert code == "ValidationException"
    assert why in message


def test_names_are_taken_once(world: World) -> None:
    """Nothing is adopted or overwritten."""
    config = world.config("aaaa")

    code, message = refusal(
        world.control.create_model,
        ModelName=f"{config}-aaaa",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "other", "ModelDataUrl": f"s3://{BUCKET}/x"},
    )

    assert code == "ValidationException"
    assert message.startswith("Cannot create already existing model")


def test_lists_and_tags(world: World) -> None:
    """Listed by part of the name; tags are added, changed and removed by key."""
    config = world.config("aaaa")
    (model,) = world.control.list_models(NameContains=f"{config}-")["Models"]
    arn = model["ModelArn"]
    world.control.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    world.control.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    world.control.delete_tags(ResourceArn=arn, TagKeys=["b"])

    assert world.control.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    assert world.control.describe_model(ModelName=model["ModelName"])["ExecutionRoleArn"] == ROLE
    world.control.delete_model(ModelName=model["ModelName"])
    assert world.control.list_models(NameContains=f"{config}-")["Models"] == []
    assert refusal(world.control.delete_model, ModelName=model["ModelName"])[0] == "ValidationException"
