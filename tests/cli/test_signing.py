"""A release is shipped with what vouches for it, and can be made again from what is written there."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws

from artifact.canonical import decode, encode
from artifact.envelope import read_envelope
from artifact.release import ReleaseLock, Signed, release_prefix
from artifact.statement import StatementUnreadable, read_statement
from artifact.trust import (
    SignatureMissing,
    SignedAnother,
    WrongKey,
    check_signature,
    open_statement,
    provenance_path,
    sbom_path,
    signature_path,
    verify_signed,
)
from artifact.verify import verify
from cli.project import Project
from cli.rebuilding import (
    Again,
    CodeUnconfirmed,
    Made,
    NoRecord,
    RebuildDiffers,
    SourceDiffers,
    check,
    compare,
    made_of_folder,
    made_of_release,
)
from cli.recording import recorded
from cli.shipping import Shipped, compile_artifact, publish_artifact
from cli.signing import SignerNotTrusted, signed_files
from compile.provenance import PROVENANCE, CommandUnrecorded
from inference_code.fetch import FetchOptions, fetch
from infra.names import artifacts_bucket
from tests.kit.command import traceship
from tests.kit.folders import CONTENT, manifest_of, write_folder
from tests.kit.handmade import replaced
from tests.kit.keys import Key
from tests.kit.models import tiny_model

ACCOUNT = "123456789012"
BUCKET = artifacts_bucket("traceship", ACCOUNT, "us-east-1")
KEY, NEW_KEY = Key(), Key()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose tiny model is compiled once for all tests of this file."""
    root = tmp_path_factory.mktemp("project")
    tiny_model(root / "model")
    KEY.write_private(root / "release.pem")
    NEW_KEY.write_private(root / "new.pem")
    compile_artifact(_project(root))
    return root


def _project(root: Path, *, key: str | None = None, trusted: tuple[Key, ...] = ()) -> Project:
    """The project as the next command sees it, with these settings."""
    lines = [f'[model]\nsource = "{root / "model"}"\n[compile]\nbuckets = ["1x16"]\n[signing]']
    lines += [] if key is None else [f'key = "{key}"']
    lines += [f"trusted_keys = {[one.public.line for one in trusted]}"] if trusted else []
    (root / "traceship.toml").write_text("\n".join(lines))
    return Project(settings_path=root / "traceship.toml", stage=None)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client
    (root / "release.lock.json").unlink(missing_ok=True)


def _ship(project: Project) -> Shipped:
    return publish_artifact(project, compile_artifact(project).path)


def _files(s3: Any, shipped: Shipped) -> dict[str, bytes]:
    """What lies below the release's prefix, but for the archive."""
    prefix = f"{shipped.lock.location.prefix}/"
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    names = [row["Key"].removeprefix(prefix) for row in listed]
    return {
        name: s3.get_object(Bucket=BUCKET, Key=prefix + name)["Body"].read()
        for name in names
        if name != "model.tar.gz"
    }


def _signed(lock: ReleaseLock) -> Signed:
    assert not isinstance(lock.signed, msgspec.UnsetType)
    return lock.signed


def test_an_unsigned_release_still_tells_how_it_was_made(root: Path, s3: Any) -> None:
    """Provenance and bill of materials as plain files, with nothing of this machine; no key in the lock."""
    shipped = _ship(_project(root))

    files = _files(s3, shipped)
    statement = read_statement(files["provenance.json"], predicate_type=PROVENANCE)
    assert set(files) == {"manifest.json", "provenance.json", "sbom.cdx.json"}
    assert statement.subject[0].digest.sha256 == shipped.lock.digest
    assert b'"signed"' not in encode(shipped.lock)
    for name in ("provenance.json", "sbom.cdx.json"):
        assert str(root) not in files[name].decode()
        assert f"{Path.home()}/" not in files[name].decode()


def test_a_signed_release_has_its_signature_provenance_and_bill_beside_it(root: Path, s3: Any) -> None:
    """Both envelopes open with the key, and the provenance names the very bill of materials."""
    shipped = _ship(_project(root, key="release.pem"))

    files = _files(s3, shipped)
    statement, _ = open_statement(files["provenance.dsse.json"], [KEY.public], predicate_type=PROVENANCE)
    byproducts = {row["name"]: row["digest"] for row in statement.predicate["runDetails"]["byproducts"]}
    assert set(files) == {"manifest.json", "manifest.dsse.json", "provenance.dsse.json", "sbom.cdx.json"}
    assert check_signature(shipped.lock.digest, files["manifest.dsse.json"], [KEY.public]) == KEY.public
    assert byproducts["sbom.cdx.json"] == {"sha256": _sha256(files["sbom.cdx.json"])}
    assert _signed(shipped.lock).key == KEY.public.id
    assert base64.b64decode(_signed(shipped.lock).envelope) == files["manifest.dsse.json"]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_shipping_again_with_the_same_key_signs_nothing_again(root: Path, s3: Any) -> None:
    """ECDSA gives another signature each time; the lock must not change for that."""
    first = _ship(_project(root, key="release.pem"))

    second = _ship(_project(root, key="release.pem"))

    assert second.unchanged
    assert second.lock == first.lock


def test_a_signature_in_the_lock_that_somebody_changed_is_made_anew(root: Path, s3: Any) -> None:
    """The key's id beside it is not taken for a proof."""
    project = _project(root, key="release.pem")
    first = _ship(project)
    forged = Signed(key=KEY.public.id, envelope=base64.b64encode(NEW_KEY.release("0" * 64)).decode())
    project.write_lock(msgspec.structs.replace(first.lock, signed=forged))

    second = _ship(_project(root, key="release.pem"))

    assert not second.unchanged
    check_signature(second.lock.digest, _signed(second.lock).data, [KEY.public])


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_signature_in_s3_that_is_not_the_locks_gives_way_to_it(
    root: Path, s3: Any, forgetful: bool
) -> None:
    """Another genuine one, of somebody who shipped from elsewhere: the lock, which people commit, counts."""
    project = _project(root, key="release.pem")
    shipped = _ship(project)
    place = f"{shipped.lock.location.prefix}/manifest.dsse.json"
    s3.put_object(Bucket=BUCKET, Key=place, Body=KEY.release(shipped.lock.digest), ChecksumAlgorithm="SHA256")
    if forgetful:
        shutil.rmtree(project.state / "signed")

    again = _ship(project)

    assert again.lock == shipped.lock
    assert again.published.uploaded_bytes > 0
    assert _files(s3, shipped)["manifest.dsse.json"] == _signed(shipped.lock).data
    assert _ship(project).unchanged


def test_a_new_key_signs_the_same_release_without_an_upload_of_the_model(root: Path, s3: Any) -> None:
    """That is how a key is rotated."""
    first = _ship(_project(root, key="release.pem"))

    second = _ship(_project(root, key="new.pem"))

    assert not second.unchanged
    assert second.lock.digest == first.lock.digest
    assert _signed(second.lock).key == NEW_KEY.public.id
    assert second.published.uploaded_bytes < 100_000
    check_signature(second.lock.digest, _files(s3, second)["manifest.dsse.json"], [NEW_KEY.public])


def test_a_key_that_the_settings_do_not_trust_signs_nothing(root: Path, s3: Any) -> None:
    """Such a release would be refused by the fleet; so it is never published."""
    with pytest.raises(SignerNotTrusted):
        _ship(_project(root, key="release.pem", trusted=(NEW_KEY,)))

    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_a_shipped_signature_opens_the_fetched_folder_offline(root: Path, s3: Any, tmp_path: Path) -> None:
    """From the key to the folder: the envelope is fetched too and lies beside it."""
    shipped = _ship(_project(root, key="release.pem"))
    to = tmp_path / "fetched"
    options = FetchOptions(
        bucket=BUCKET,
        prefix=shipped.lock.location.prefix,
        digest=shipped.lock.digest,
        to=to,
        owner=ACCOUNT,
        keys=(KEY.public,),
    )

    fetch(options, s3)
    answer = traceship("verify", to, "--key", KEY.write_public(tmp_path / "pub.pem"), "--json", cwd=tmp_path)

    assert answer.json["signed_by"] == KEY.public.id
    assert answer.json["digest"] == shipped.lock.digest


def test_what_lies_beside_the_folder_and_is_about_another_is_not_published(tmp_path: Path) -> None:
    """A folder that was compiled anew under an old record."""
    write_folder(tmp_path / "artifact", CONTENT)
    artifact = verify(tmp_path / "artifact")
    project = Project(settings_path=tmp_path / "traceship.toml", stage=None)
    (tmp_path / "traceship.toml").write_text("")
    files = signed_files(project, artifact)
    provenance_path(artifact.root).write_bytes(
        files["provenance.json"].replace(artifact.digest.encode(), b"0" * 64)
    )
    sbom_path(artifact.root).write_bytes(files["sbom.cdx.json"])

    with pytest.raises(SignedAnother):
        signed_files(project, artifact)


def _copy(root: Path, to: Path) -> Path:
    """The compiled artifact with its record, to change."""
    made = compile_artifact(_project(root)).path
    shutil.copytree(made, to)
    shutil.copyfile(provenance_path(made), provenance_path(to))
    return to


def test_the_same_source_and_request_give_the_same_digest(root: Path, tmp_path: Path) -> None:
    """`rebuild --check` compiles in a folder of its own, past the cache, and compares."""
    copy = _copy(root, tmp_path / "artifact")

    answer = traceship(
        "rebuild", "--check", copy, "--model", root / "model", "--json", cwd=tmp_path,
        env={"TRACESHIP_CACHE": str(tmp_path / "no-cache")},
    )  # fmt: skip

    assert answer.code == 0, answer.stderr
    assert answer.json == {"digest": verify(copy).digest, "same": True}
    assert not (tmp_path / "no-cache").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "artifact.provenance.json"]


def test_a_release_is_rebuilt_from_its_lock(root: Path, s3: Any) -> None:
    """Manifest and provenance come out of S3, and the provenance must be signed with the pinned key."""
    project = _project(root, key="release.pem")
    shipped = _ship(project)

    made = made_of_release(project, shipped.lock, [KEY.public])

    assert made.digest == shipped.lock.digest
    assert made.signed
    with pytest.raises(WrongKey):
        made_of_release(project, shipped.lock, [NEW_KEY.public])
    s3.delete_object(Bucket=BUCKET, Key=f"{shipped.lock.location.prefix}/provenance.dsse.json")
    with pytest.raises(NoRecord):
        made_of_release(project, shipped.lock, [])


def test_files_and_versions_that_differ_are_named(tmp_path: Path) -> None:
    """An artifact that somebody changed, manifest and all, is not what its source gives."""
    project = Project(settings_path=tmp_path / "traceship.toml", stage=None)
    (tmp_path / "traceship.toml").write_text("")
    manifest = manifest_of({**CONTENT, "golden.json": b"changed"})
    older = replaced(manifest, built_with=msgspec.structs.replace(manifest.built_with, torch="2.12.0"))
    write_folder(tmp_path / "recorded", {**CONTENT, "golden.json": b"changed"}, older)
    write_folder(tmp_path / "rebuilt", CONTENT)
    files = signed_files(project, verify(tmp_path / "recorded"))
    provenance_path(tmp_path / "recorded").write_bytes(files["provenance.json"])
    made = made_of_folder(tmp_path / "recorded", [])

    with pytest.raises(RebuildDiffers, match=r"torch 2\.12\.0 then and 2\.13\.0 now") as refused:
        compare(made, tmp_path / "rebuilt")

    assert refused.value.files == ("golden.json",)
    assert refused.value.exit_code == 3
    assert compare(made, tmp_path / "recorded") == made.digest


def test_another_model_is_found_before_anything_is_compiled(root: Path, tmp_path: Path) -> None:
    """Its files are named."""
    copy = _copy(root, tmp_path / "artifact")
    shutil.copytree(root / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.5}))

    with pytest.raises(SourceDiffers, match=r"config\.json"):
        check(made_of_folder(copy, []), Again(model=str(tmp_path / "model")), _project(root))


def _made_with(made: Made, *words: str) -> Made:
    """The same record with more words in its command."""
    command = made.statement.predicate["buildDefinition"]["externalParameters"]["command"]
    command += words
    return made


def test_an_unsigned_record_does_not_run_the_checkpoint_s_code(root: Path, tmp_path: Path) -> None:
    """Anybody could have written it; a person must say so."""
    made = _made_with(made_of_folder(_copy(root, tmp_path / "artifact"), []), "--trust-remote-code")

    with pytest.raises(CodeUnconfirmed) as refused:
        check(made, Again(model=str(root / "model")), _project(root))

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "words", [["--help"], ["--hel"], ["-h"], [], ["--no-such-option"], ["--model", "m", "--help"]]
)
def test_a_record_of_a_command_that_compiles_nothing_is_no_proof(
    root: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` ends well and has compared nothing; and a script's stdout stays clean."""
    made = made_of_folder(_copy(root, tmp_path / "artifact"), [])
    parameters = made.statement.predicate["buildDefinition"]["externalParameters"]
    parameters["command"] = [*parameters["command"][:3], *words]

    with pytest.raises(StatementUnreadable, match="its command") as refused:
        check(made, Again(model=str(root / "model")), _project(root))

    assert refused.value.exit_code == 3
    assert capsys.readouterr().out == ""


def test_an_artifact_whose_command_nobody_recorded_is_refused_in_so_many_words(
    root: Path, tmp_path: Path
) -> None:
    """An adopted one, for example: its provenance is genuine and says what it is, not how it was made."""
    write_folder(tmp_path / "artifact", CONTENT)
    files = signed_files(_project(root), verify(tmp_path / "artifact"))
    provenance_path(tmp_path / "artifact").write_bytes(files["provenance.json"])

    with pytest.raises(CommandUnrecorded, match="cannot be made again") as refused:
        check(made_of_folder(tmp_path / "artifact", []), Again(), _project(root))

    assert refused.value.exit_code == 2
    assert "traceship compile" in refused.value.fix


def test_half_a_record_counts_as_none(root: Path, tmp_path: Path) -> None:
    """Bill and provenance are written whole, the bill first, for the provenance holds its digest."""
    copy = _copy(root, tmp_path / "artifact")
    artifact = verify(copy)

    whole = Path(compile_artifact(_project(root)).path)
    assert not [path for path in whole.parent.iterdir() if path.name.startswith(".")]
    assert b'"command"' in recorded(verify(whole)).provenance
    sbom_path(copy).write_bytes(b"the bill of another compile")

    for _ in range(2):
        found = recorded(artifact)
        assert b'"command"' not in found.provenance
        assert hashlib.sha256(found.sbom).hexdigest().encode() in found.provenance
        sbom_path(copy).unlink(missing_ok=True)


def test_without_a_record_nothing_can_be_rebuilt(tmp_path: Path) -> None:
    """And with a pinned key, not from a record that nobody signed."""
    write_folder(tmp_path / "artifact", CONTENT)

    with pytest.raises(NoRecord):
        made_of_folder(tmp_path / "artifact", [])
    provenance_path(tmp_path / "artifact").write_bytes(b"{}")
    with pytest.raises(SignatureMissing):
        made_of_folder(tmp_path / "artifact", [KEY.public])


def test_an_artifact_on_this_machine_is_signed_and_verified(root: Path, tmp_path: Path) -> None:
    """`key create`, `sign`, `key show`, `verify`: as the page has it, without AWS and settings."""
    copy = _copy(root, tmp_path / "artifact")

    made = traceship("key", "create", "--out", "mine.pem", "--json", cwd=tmp_path)
    signed = traceship("sign", copy, "--key", "mine.pem", "--json", cwd=tmp_path)
    (tmp_path / "mine.pub.pem").write_text(traceship("key", "show", "mine.pem", "--pem", cwd=tmp_path).stdout)
    shown = traceship("key", "show", "mine.pub.pem", "--json", cwd=tmp_path)
    verified = traceship("verify", copy, "--key", "mine.pub.pem", "--json", cwd=tmp_path)

    assert signed.json["signature"] == str(signature_path(copy))
    assert shown.json == made.json
    assert verified.json["signed_by"] == made.json["id"] == signed.json["key"]
    assert verify_signed(copy).digest == verified.json["digest"]
    assert (
        read_envelope(provenance_path(copy, signed=True).read_bytes()).signatures[0].keyid == made.json["id"]
    )


@pytest.mark.parametrize("pinned_by", ["option", "settings"])
def test_verify_refuses_what_the_pinned_key_did_not_sign(tmp_path: Path, pinned_by: str) -> None:
    """Whether the key is pinned on the command line or in the settings."""
    digest = write_folder(tmp_path / "artifact", CONTENT)
    arguments: list[str | Path] = ["verify", "artifact", "--json"]
    if pinned_by == "option":
        arguments += ["--key", KEY.write_public(tmp_path / "pub.pem")]
    else:
        (tmp_path / "traceship.toml").write_text(f'[signing]\ntrusted_keys = ["{KEY.public.line}"]')

    missing = traceship(*arguments, cwd=tmp_path)
    NEW_KEY.sign_folder(tmp_path / "artifact", digest)
    wrong = traceship(*arguments, cwd=tmp_path)
    (tmp_path / "elsewhere").write_bytes(KEY.release(digest))
    right = traceship(*arguments, "--signature", "elsewhere", cwd=tmp_path)

    assert (missing.code, missing.error["id"]) == (3, "signature-missing")
    assert (wrong.code, wrong.error["id"]) == (3, "wrong-key")
    assert (right.code, right.json["signed_by"]) == (0, KEY.public.id)


def test_an_unsigned_artifact_verifies_and_it_is_said_once_that_nobody_vouches(tmp_path: Path) -> None:
    """A digest vouches as well, and then nothing is said."""
    digest = write_folder(tmp_path / "artifact", CONTENT)

    plain = traceship("verify", "artifact", cwd=tmp_path)
    pinned = traceship("verify", "artifact", "--digest", digest, cwd=tmp_path)

    assert (plain.code, pinned.code) == (0, 0)
    assert [said.stderr.count("who made it is not checked") for said in (plain, pinned)] == [1, 0]


def test_serve_asks_for_the_signature_that_the_settings_pin(tmp_path: Path) -> None:
    """The server process ends with 3 before it loads anything."""
    write_folder(tmp_path / "artifact", CONTENT)
    (tmp_path / "traceship.toml").write_text(f'[signing]\ntrusted_keys = ["{KEY.public.line}"]')

    answer = traceship("serve", "artifact", "--port", "0", cwd=tmp_path)

    assert answer.code == 3
    assert "signature-missing" in answer.stderr


def test_settings_refuse_a_line_that_is_no_key(tmp_path: Path) -> None:
    """A typing error must not unpin."""
    write_folder(tmp_path / "artifact", CONTENT)
    (tmp_path / "traceship.toml").write_text(f'[signing]\ntrusted_keys = ["{KEY.public.line[:-4]}"]')

    answer = traceship("verify", "artifact", "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (2, "settings-invalid")


def test_sign_says_how_to_get_a_key_where_there_is_none(tmp_path: Path) -> None:
    """Exit code 2 and the next command."""
    write_folder(tmp_path / "artifact", CONTENT)
    (tmp_path / "traceship.toml").write_text("")

    answer = traceship("sign", "artifact", "--json", cwd=tmp_path)

    assert answer.code == 2
    assert "traceship key create" in answer.error["fix"]


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And the artifact is not taken as if no key had been asked for."""
    write_folder(tmp_path / "artifact", CONTENT)

    answer = traceship("verify", "artifact", "--key", "nothing.pem", "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (2, "key-file-unreadable")
    assert "traceship key create --out" in answer.error["fix"]


def test_a_lock_from_before_signatures_is_still_read() -> None:
    """It has no key of that name, and is written back as it was."""
    path = Path(__file__).parents[2] / "examples/inf1/release.lock.json"

    lock = decode(path.read_bytes(), ReleaseLock)

    assert isinstance(lock.signed, msgspec.UnsetType)
    assert encode(lock) == path.read_bytes()
    assert release_prefix(lock.name, lock.digest) == lock.location.prefix
