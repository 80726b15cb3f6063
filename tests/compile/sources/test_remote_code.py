"""A checkpoint's own code is left out, refused, or run because somebody said so and it is recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from artifact.verify import verify
from compile.model import load_model, load_tokenizer
from compile.pipeline import compile_model
from compile.source import Allowed, RemoteCodeElsewhere, RemoteCodeNeeded, resolve
from tests.compile.world import make_request, make_world

TRUSTED = Allowed(remote_code=True)
MODELING = """
from transformers import BertModel
from .scaling import FACTOR

class ScaledBert(BertModel):
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, return_dict=None):
        named = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        output = super().forward(input_ids, **named, return_dict=True)
        output["last_hidden_state"] = output["last_hidden_state"] * FACTOR
        return output
"""
CONFIGURATION = """
from transformers import BertConfig

class ScaledConfig(BertConfig):
    model_type = "scaled"
"""


@pytest.fixture
def custom(tiny_bert: Path, tmp_path: Path) -> Path:
    """A BERT whose own class gives twice what transformers' class gives."""
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "custom"))
    (folder / "modeling_scaled.py").write_text(MODELING)
    (folder / "scaling.py").write_text("FACTOR = 2.0\n")
    change_config(folder, auto_map={"AutoModel": "modeling_scaled.ScaledBert"})
    return folder


def change_config(folder: Path, name: str = "config.json", **values: object) -> None:
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**config, **values}))


def test_code_that_is_not_needed_is_left_out(custom: Path, tmp_path: Path) -> None:
    """transformers has the type itself, so its own class is used and no Python file is read."""
    found = resolve(str(custom))

    exposed = found.expose(tmp_path / "exposed")

    assert found.identity.remote_code is False
    assert not list(exposed.glob("*.py"))
    assert "auto_map" not in json.loads((exposed / "config.json").read_text())


def test_a_type_that_transformers_does_not_know_is_refused_with_the_option(custom: Path) -> None:
    """Asked of the transformers that will load it."""
    change_config(custom, model_type="scaled")

    with pytest.raises(RemoteCodeNeeded, match="scaled") as refused:
        resolve(str(custom))

    assert refused.value.exit_code == 2
    assert "--trust-remote-code" in refused.value.fix


def test_a_type_that_only_transformers_knows_is_not_refused_here(custom: Path) -> None:
    """Whether we can compile it is another question."""
    change_config(custom, model_type="gpt2")

    assert resolve(str(custom)).identity.remote_code is False


def test_trusted_code_is_hashed_file_by_file(custom: Path) -> None:
    """Another factor is another model."""
    before = resolve(str(custom), allowed=TRUSTED).identity
    (custom / "scaling.py").write_text("FACTOR = 3.0\n")

    after = resolve(str(custom), allowed=TRUSTED).identity

    assert before.remote_code is True
    assert {"modeling_scaled.py", "scaling.py"} <= {file.path for file in before.files}
    assert after.id != before.id


def test_trust_changes_nothing_where_there_is_no_code(tiny_bert: Path) -> None:
    """The option alone is not recorded, and reads no file more."""
    assert resolve(str(tiny_bert), allowed=TRUSTED) == resolve(str(tiny_bert))


def test_trusted_code_is_compiled_and_recorded(
    custom: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole compile; nothing of the code is left in the user's cache or in the artifact."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    compiled = compile_model(
        make_request(custom, tmp_path / "out", "1x16", trust_remote_code=True), [].append
    )

    artifact = verify(compiled.path)
    assert artifact.manifest.source.remote_code is True
    assert not [file.path for file in artifact.manifest.files if file.path.endswith(".py")]
    assert "auto_map" not in (compiled.path / "config.json").read_text()
    assert not (tmp_path / "hf" / "modules").exists()


def test_the_trusted_class_is_the_one_that_answers(
    custom: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the numbers of transformers' own."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    trusted = make_request(custom, tmp_path / "out", trust_remote_code=True)
    ids = torch.arange(5, 13).reshape(1, 8)

    own = load_model(make_world(trusted, tmp_path / "own").model)(ids)["last_hidden_state"]
    plain = load_model(make_world(make_request(custom, tmp_path / "out"), tmp_path / "plain").model)(ids)[0]

    assert torch.equal(own, plain * 2)


def test_a_type_that_only_the_checkpoint_knows_is_compiled_when_trusted(custom: Path, tmp_path: Path) -> None:
    """Its config class comes from the checkpoint as well; the gates alone speak for it."""
    (custom / "configuration_scaled.py").write_text(CONFIGURATION)
    own = "from .configuration_scaled import ScaledConfig"
    modeling = MODELING.replace(
        "class ScaledBert(BertModel):",
        f"{own}\n\nclass ScaledBert(BertModel):\n    config_class = ScaledConfig\n",
    )
    (custom / "modeling_scaled.py").write_text(modeling)
    auto_map = {"AutoConfig": "configuration_scaled.ScaledConfig", "AutoModel": "modeling_scaled.ScaledBert"}
    change_config(custom, model_type="scaled", auto_map=auto_map)

    request = make_request(custom, tmp_path / "out", "1x16", trust_remote_code=True)
    compiled = compile_model(request, [].append)

    manifest = verify(compiled.path).manifest
    assert (manifest.architecture, manifest.generic) == ("scaled", True)
    assert manifest.source.remote_code is True


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("somebody/else--modeling.Model", "no pinned revision"),
        ("missing.Model", "missing.py is not there"),
        ("../outside.Model", "is not there"),
    ],
)
def test_code_that_does_not_come_with_the_checkpoint_is_refused(
    custom: Path, reference: str, why: str
) -> None:
    """It could not be hashed."""
    change_config(custom, auto_map={"AutoModel": reference})

    with pytest.raises(RemoteCodeElsewhere, match=why) as refused:
        resolve(str(custom), allowed=TRUSTED)

    assert refused.value.exit_code == 2


def test_a_tokenizers_code_is_never_run(custom: Path, tmp_path: Path) -> None:
    """tokenizer.json says all that a server will have, so it is read without the class."""
    (custom / "tokenization_own.py").write_text("raise SystemExit('run')\n")
    own = {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}, "tokenizer_class": "Own"}
    change_config(custom, "tokenizer_config.json", **own)

    exposed = resolve(str(custom), allowed=TRUSTED).expose(tmp_path / "exposed")
    tokenizer = load_tokenizer(str(exposed))

    assert tokenizer("the cat").input_ids
    assert "Own" not in (exposed / "tokenizer_config.json").read_text()
