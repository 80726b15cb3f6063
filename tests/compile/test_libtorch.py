"""An exported file serves a C++ program that has libtorch and nothing else.

Headers and libraries come with torch; the compiler is the machine's g++.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from compile.export import export
from compile.request import Shape

_SOURCE = Path(__file__).with_name("libtorch") / "main.cpp"
_BUILD_SECONDS = 900

pytestmark = [
    pytest.mark.timeout(_BUILD_SECONDS),  # the headers of libtorch take a busy machine minutes
    pytest.mark.skipif(
        shutil.which("g++") is None, reason="NOT PROVEN HERE: C++ loading needs g++ (apt-get install g++)"
    ),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``libtorch/main.cpp``, built against the torch of this environment."""
    built = tmp_path_factory.mktemp("libtorch") / "main"
    libraries = Path(torch.__file__).with_name("lib")
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    headers = [word for path in cpp_extension.include_paths() for word in ("-isystem", path)]
    # a torch with CUDA names libraries that a CPU never calls and this machine may not have
    linking = ["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", f"-Wl,-rpath,{libraries}"]
    command = ["g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", f"-D_GLIBCXX_USE_CXX11_ABI={abi}"]
    command += [*headers, str(_SOURCE), f"-L{libraries}", *linking, "-ltorch_cpu", "-lc10", "-o", str(built)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return built


@pytest.fixture(scope="session")
def exported(packaged_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bucket 2x24 of a BERT."""
    out = tmp_path_factory.mktemp("exported") / "traced_bert.pt"
    export(packaged_bert, out, shape=Shape(batch=2, length=24), report=[].append)
    return out


def _feed(batch: int, length: int) -> list[torch.Tensor]:
    ids = torch.arange(batch * length).reshape(batch, length) % 50
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    return [ids, mask, ids % 2]


def _run(program: Path, model: Path, feed: list[torch.Tensor], out: Path) -> subprocess.CompletedProcess[str]:
    paths = [out.with_name(f"input-{index}") for index in range(len(feed))]
    for path, tensor in zip(paths, feed):
        path.write_bytes(tensor.numpy().tobytes())
    shape = [str(size) for size in feed[0].shape]
    return subprocess.run(
        [str(program), str(model), str(out), *shape, *map(str, paths)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cpp_program_gets_the_answers_that_python_gets(
    program: Path, exported: Path, tmp_path: Path
) -> None:
    """The same file, the same tensors by position, no Python in the process."""
    feed = _feed(2, 24)
    with torch.no_grad():
        expected = torch.jit.load(str(exported))(*feed)[0]  # type: ignore[no-untyped-call]

    finished = _run(program, exported, feed, tmp_path / "answer")

    assert finished.returncode == 0, finished.stderr
    found = torch.frombuffer(bytearray((tmp_path / "answer").read_bytes()), dtype=torch.float32)
    assert found.numel() == expected.numel()
    assert float(expected.abs().max()) > 0.1
    assert float((found.reshape(expected.shape) - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize("shape", [(1, 24), (2, 16), (3, 24)])
def test_a_cpp_program_that_sends_another_shape_is_told_the_bucket(
    program: Path, exported: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    """In the exception's own words; no answer is written."""
    finished = _run(program, exported, _feed(*shape), tmp_path / "answer")

    assert finished.returncode == 1
    assert f"this graph is the bucket 2x24: input_ids has shape {list(shape)}" in finished.stderr
    assert not (tmp_path / "answer").exists()
