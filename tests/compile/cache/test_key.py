"""The key holds everything that shapes an artifact, and nothing else."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifact.manifest import Waiver
from compile.cache.difference import differences
from compile.cache.environment import NOT_SHAPING, Environment, code_digests, in_image, this_python
from compile.cache.key import NO_PART_OF_THE_RESULT, SAID_BY_THE_SOURCE, CacheKey
from compile.request import CompileRequest, CompilerOptions, Work, parse_shape
from tests.compile.cache.world import (
    CONFIG,
    HERE,
    TENSORS,
    World,
    changed,
    key_for,
    safetensors_bytes,
    write_model,
    write_shards,
)

_ROOT = Path(__file__).resolve().parents[3]


def _key(world: World, environment: Environment = HERE, **options: Any) -> CacheKey:
    return key_for(world.request(**options), world.base / "notes", environment)


def _differing(one: CacheKey, other: CacheKey) -> list[str]:
    assert one.digest != other.digest
    return [difference.field for difference in differences(one.document, other.document)]


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("shapes", {"shapes": (parse_shape("2x32"),)}),
    ("task", {"task": "text-classification"}),
    ("target", {"target": "inf1", "tier": "cpu"}),
    ("tier", {"tier": "neuron-default"}),
    ("pooling", {"pooling": "mean"}),
    ("normalize", {"normalize": True}),
    ("truncate", {"truncate": True}),
    ("choices", {"choices": 3}),
    ("waivers.padding", {"waivers": (Waiver(gate="padding", reason="reads it"),)}),
    ("source.revision", {"revision": "r2"}),
    ("source.id", {"identity": "pypi:other"}),
    ("compiler.arguments", {"compiler": CompilerOptions(arguments=("--fast",))}),
    ("compiler.timeout_seconds", {"compiler": CompilerOptions(timeout_seconds=60)}),
    ("compiler.min_coverage", {"compiler": CompilerOptions(min_coverage=50.0)}),
    ("compiler.minimum_segment_size", {"compiler": CompilerOptions(minimum_segment_size=3)}),
    ("compiler.single_fusion_ratio", {"compiler": CompilerOptions(single_fusion_ratio=0.5)}),
    ("compiler.separate_weights", {"compiler": CompilerOptions(separate_weights=True)}),
]


@pytest.mark.parametrize(("field", "options"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_one_option_changed_is_one_field_that_differs(
    world: World, field: str, options: dict[str, Any]
) -> None:
    """Whoever asks why it was compiled again gets that one name."""
    before = world.request()

    after = key_for(dataclasses.replace(before, **options), world.base / "notes")

    assert _differing(key_for(before, world.base / "notes"), after) == [field]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("versions", "torch"),
        ("versions", "torch-neuron"),
        ("cpu", "instructions"),
        ("code", "compile/trace.py"),
    ],
)
def test_one_change_of_the_surroundings_is_one_field_that_differs(world: World, part: str, name: str) -> None:
    """A version, the instruction set, a file of ours."""
    other = changed(HERE, part, name, "other")

    assert _differing(_key(world), _key(world, other)) == [f"{part}.{name}"]


def _flip_a_weight(folder: Path) -> None:
    write_model(folder, tensors={**TENSORS, "pooler.bias": b"\1" * 7 + b"\0"})


def _reshape_a_tensor(folder: Path) -> None:
    write_model(folder, tensors={**TENSORS, "pooler.bias": b"\1" * 12})


def _set_a_config_value(folder: Path) -> None:
    write_model(folder, config={**CONFIG, "hidden_size": 4})


def _rename_a_label(folder: Path) -> None:
    write_model(folder, config={**CONFIG, "id2label": {"0": "no", "1": "maybe"}})


def _change_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "2.0"}')


def _add_a_tokenizer_file(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")


def _respell_the_config(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1))


def _note_in_the_weights_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors_bytes(TENSORS, {"format": "pt"}))


FILES: list[tuple[str, Callable[[Path], None]]] = [
    ("weights.pooler.bias", _flip_a_weight),
    ("weights.pooler.bias", _reshape_a_tensor),
    ("config.hidden_size", _set_a_config_value),
    ("config.id2label.1", _rename_a_label),
    ("files.tokenizer.json", _change_the_tokenizer),
    ("files.tokenizer_config.json", _add_a_tokenizer_file),
    ("spelling.config.json", _respell_the_config),
    ("spelling.model.safetensors", _note_in_the_weights_file),
]


@pytest.mark.parametrize(("field", "change"), FILES, ids=[change.__name__ for _, change in FILES])
def test_one_change_of_the_model_is_one_field_that_differs(
    world: World, field: str, change: Callable[[Path], None]
) -> None:
    """A weight by its tensor's name, a config value by its key, another file by its name."""
    before = _key(world)

    change(world.model)

    assert _differing(before, _key(world)) == [field]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.binary(min_size=4, max_size=4), min_size=2, max_size=6),
    order=st.randoms(use_true_random=False),
    data=st.data(),
)
def test_how_tensors_are_spread_over_files_is_no_property_of_the_weights(
    tmp_path_factory: pytest.TempPathFactory, values: list[bytes], order: Any, data: st.DataObject
) -> None:
    """Any order and any number of files: the same digests by tensor; only the spelling differs."""
    base = tmp_path_factory.mktemp("shards")
    tensors = {f"layer.{index}": value for index, value in enumerate(values)}
    names = list(tensors)
    order.shuffle(names)
    cut = data.draw(st.integers(min_value=1, max_value=len(names) - 1))
    shards = [{n: tensors[n] for n in names[:cut]}, {n: tensors[n] for n in names[cut:]}]
    world = World(base=base, local=None, model=base / "one")  # type: ignore[arg-type]
    write_model(base / "one", tensors=tensors)

    one = _key(world)
    world.model = write_shards(base / "two", shards)
    two = _key(world)

    assert one.document["weights"] == two.document["weights"]
    assert {field.split(".")[0] for field in _differing(one, two)} == {"spelling"}


def test_where_a_model_lies_and_where_its_artifact_goes_are_not_in_the_key(world: World) -> None:
    """Nor the order of the buckets, nor the tier by its name or by default, nor --debug, nor --jobs."""
    shapes = (parse_shape("1x32"), parse_shape("2x16"))
    before = dataclasses.replace(world.request(), shapes=shapes)
    elsewhere = write_model(world.base / "a copy")

    after = dataclasses.replace(
        before,
        model=str(elsewhere),
        out=Path("/x"),
        shapes=shapes[::-1],
        tier="cpu",
        debug=True,
        work=Work(jobs=1),
    )

    assert key_for(before, world.base / "notes").data == key_for(after, world.base / "notes").data


def test_every_option_of_a_request_is_in_the_key_or_said_to_have_no_part(world: World) -> None:
    """An option that is added later makes another key by itself."""
    names = {field.name for field in dataclasses.fields(CompileRequest)}

    assert names - NO_PART_OF_THE_RESULT - SAID_BY_THE_SOURCE <= set(_key(world).document)


def test_a_file_that_an_option_names_counts_by_its_content(world: World) -> None:
    """Its name is nothing, its bytes are everything; the compile itself says that one is missing."""
    one, same, other = (world.base / name for name in ("one", "same", "other"))
    one.write_bytes(b"samples")
    same.write_bytes(b"samples")
    other.write_bytes(b"others")

    keys = [_key(world, samples=path) for path in (one, same, other, world.base / "absent")]

    assert keys[0].digest == keys[1].digest
    assert _differing(keys[0], keys[2]) == ["samples"]
    assert keys[3].document["samples"] is None


def test_a_key_is_the_same_under_every_hash_seed(world: World) -> None:
    """Sets and dictionaries leave no trace in it; and neither torch nor transformers is imported."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from compile.cache.environment import this_python; from compile.cache.local import LocalCache\n"
        "from compile.cache.through import key_of; from compile.__main__ import parse\n"
        "words = ['--model', sys.argv[2], '--task', 'feature-extraction', '--target', 'cpu',"
        " '--bucket', '1x32', '--out', 'x']\n"
        "print(key_of(parse(words), this_python(), LocalCache(Path(sys.argv[3]))).digest)\n"
        "assert not {'torch', 'transformers', 'numpy', 'boto3'} & set(sys.modules)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(_ROOT), str(world.model), str(world.base / "notes")],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_an_artifact_of_another_model_or_purpose_does_not_fit(world: World) -> None:
    """What a digest that was remembered wrongly would let through."""
    from artifact.verify import verify
    from tests.compile.cache.world import Compiler

    request = world.request()
    key = key_for(request, world.base / "notes")
    Compiler()(request)
    manifest = verify(request.out).manifest

    assert key.fits(manifest)
    _flip_a_weight(world.model)
    assert not key_for(request, world.base / "notes").fits(manifest)
    assert not _key(world, task="fill-mask").fits(manifest)


def test_an_image_stands_for_every_version_in_it() -> None:
    """By its digest; the name that it was pulled under says nothing."""
    digest = "sha256:" + "a" * 64

    assert in_image(f"registry.example/compile@{digest}") == in_image(digest)
    assert in_image(digest).versions == {"image": digest}
    assert this_python().versions["torch"] is not None


def test_every_library_that_shapes_an_artifact_is_in_the_key() -> None:
    """sacremoses' rules and SentencePiece's cuts are in tokenizer.json, or in the golden set."""
    versions = this_python().versions

    assert all(
        versions[name] for name in ("torch", "transformers", "tokenizers", "sentencepiece", "sacremoses")
    )


def test_code_that_no_stage_imports_is_left_out_and_nothing_else() -> None:
    """A change of the upload compiles nothing again; a change of the wrapper does."""
    stages = ["compile.pipeline", "compile.trace", "compile.comparison", "compile.backends.inf1"]
    shaping = {_path(module) for module in _imported(stages)}
    digests = code_digests()

    assert shaping <= set(digests)
    assert {"compile/wrapper.py", "compile/texts.json", "artifact/manifest.py"} <= set(digests)
    for name in NOT_SHAPING:
        assert (_ROOT / name).exists(), name
        assert not [path for path in shaping if path.startswith(name)], name


def _path(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (_ROOT / path).is_dir() else f"{path}.py"


def _imported(modules: list[str]) -> set[str]:
    """Modules of ours that these import, at any depth and on any line."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen or not (_ROOT / _path(module)).is_file():
            continue
        seen.add(module)
        for node in ast.walk(ast.parse((_ROOT / _path(module)).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "artifact",
                "compile",
            ):
                waiting += [str(node.module), *(f"{node.module}.{name.name}" for name in node.names)]
    return seen
