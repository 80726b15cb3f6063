"""A request is answered by computing, and by nothing else; an artifact is data, and nothing else.

No code from outside, no process, no connection, no file: heard by an audit hook in the server's
processes, and read in the source.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import artifact
import inference_code
from tests.inference_code.running import RunningServer, running
from tests.kit.auditing import Auditor
from tests.kit.folders import manifest_of, write_folder
from tests.kit.fuzzing import fuzz
from tests.kit.handmade import World, replaced

JSON = {"Content-Type": "application/json"}
HOSTILE = {
    "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "yaml": b"!!python/object/apply:os.system ['touch pwned']",
    "address": b'{"inputs":"http://127.0.0.1:1/","parameters":{"url":"http://127.0.0.1:1/"}}',
    "code": b"{\"inputs\":\"__import__('os').system('touch pwned')\"}",
}
TYPES = (
    *("application/json", "application/jsonlines", "text/csv", "application/x-npy", "application/x-yaml"),
    *("application/python-pickle", "application/x-recordio-protobuf", "application/octet-stream"),
)


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(tmp_path_factory.mktemp("auditor") / "hook")


@pytest.fixture(scope="module")
def audited(
    world: World, auditor: Auditor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with running(world.root, cwd=tmp_path_factory.mktemp("cwd"), env=auditor.environment) as server:
        yield server.await_ready()


def _everything(server: RunningServer, seed: int) -> None:
    """Every route, every type, every hostile body, and mutated requests."""
    for method, path in (("GET", "/ping"), ("GET", "/metrics"), ("GET", "/x"), ("PUT", "/invocations")):
        server.call(method, path)
    for kind in TYPES:
        for body in HOSTILE.values():
            server.call("POST", "/invocations", body, {"Content-Type": kind, "Accept": "*/*"})
    server.ask(["w1", {"text": "w1", "text_pair": "w2"}, *[f"w{n}" for n in range(40)]])
    server.call("POST", "/invocations", b'{"inputs":"' + b"w1 " * 100_000 + b'"}', JSON)
    asyncio.run(fuzz(server.port, total=500, at_once=8, seed=seed))


def test_a_request_starts_nothing_connects_nowhere_and_writes_nothing(
    audited: RunningServer, auditor: Auditor
) -> None:
    """After every kind of request has been seen once, another round of them raises no event at all."""
    _everything(audited, seed=1)
    first = {event.name for event in auditor.heard()}
    auditor.forget()
    _everything(audited, seed=2)

    assert "exec" in first, "the hook heard nothing of the start, so it hears nothing"
    assert auditor.heard() == []


def test_what_a_first_request_loads_is_the_libraries_own(
    world: World, audited: RunningServer, auditor: Auditor
) -> None:
    """From start to here no code came from the artifact or from a request, and nobody was called."""
    heard = auditor.all()

    sources = {event.arguments[0] for event in heard if event.name in {"exec", "compile", "import"}}
    assert [source for source in sources if str(world.root) in source] == []
    assert [event for event in heard if event.name in {"pickle.find_class", "socket.connect"}] == []
    assert [event for event in heard if event.name in {"socket.getaddrinfo", "socket.sendto"}] == []
    assert audited.call("GET", "/ping").status == 200


def test_the_hook_hears_what_it_is_for(world: World, tmp_path: Path) -> None:
    """A server whose request path does each forbidden thing once is found out for each."""
    auditor = Auditor(tmp_path / "hook")
    guilty = tmp_path / "hook" / "sitecustomize.py"
    guilty.write_text(guilty.read_text() + _GUILTY)
    with running(world.root, cwd=tmp_path, env=auditor.environment) as server:
        server.await_ready()
        auditor.forget()
        server.ask("w1")
    heard = {event.name for event in auditor.heard()}

    assert {"pickle.find_class", "exec", "compile", "subprocess.Popen", "socket.connect", "open"} <= heard


_GUILTY = """
from inference_code import strict_json
def decode(body, real=strict_json.decode):
    import pickle, socket, subprocess, tempfile
    pickle.loads(b"cbuiltins\\nlen\\n.")
    eval("1 + 1")
    subprocess.run(["true"])
    try:
        socket.create_connection(("127.0.0.1", 1), timeout=1)
    except OSError:
        pass
    tempfile.TemporaryFile().close()
    return real(body)
strict_json.decode = decode
"""

PLANTED = {
    "code/inference.py": b"open('{0}', 'w')",
    "code/requirements.txt": b"{0}",
    "requirements.txt": b"{0}",
    "sitecustomize.py": b"open('{0}', 'w')",
    "usercustomize.py": b"open('{0}', 'w')",
    "planted.pth": b"import os; open('{0}', 'w')",
    "tokenizer/tokenizer.py": b"open('{0}', 'w')",
    "inference_code.py": b"open('{0}', 'w')",
}


@pytest.mark.parametrize("listed", [False, True], ids=["not in the manifest", "in the manifest"])
def test_code_in_an_artifact_is_refused_or_changes_nothing(
    copied: World, tmp_path: Path, listed: bool
) -> None:
    """Whoever signs an artifact may put any file into it; none of them is run."""
    canary = tmp_path / "canary"
    planted = {path: data.replace(b"{0}", str(canary).encode()) for path, data in PLANTED.items()}
    for path, data in planted.items():
        (copied.root / path).parent.mkdir(exist_ok=True)
        (copied.root / path).write_bytes(data)
    if listed:
        _list_all(copied.root)
    auditor = Auditor(tmp_path / "hook")

    with running(copied.root, cwd=tmp_path, env=auditor.environment) as server:
        if listed:
            answer = server.await_ready().ask("w5 w6 w7")
            assert answer.status == 200
        else:
            assert server.wait() == 3

    touched = [event for event in auditor.heard() if str(copied.root) in " ".join(event.arguments)]
    assert not canary.exists()
    assert touched == []


def _list_all(root: Path) -> None:
    from artifact.canonical import decode
    from artifact.manifest import MANIFEST, MANIFEST_DIGEST, Manifest

    manifest = decode((root / MANIFEST).read_bytes(), Manifest)
    paths = [path for path in root.rglob("*") if path.is_file()]
    content = {
        str(path.relative_to(root)): path.read_bytes()
        for path in paths
        if path.name not in {MANIFEST, MANIFEST_DIGEST}
    }
    write_folder(root, {}, replaced(manifest, files=manifest_of(content).files))


FORBIDDEN_MODULES = {
    *("pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "runpy", "code"),
    *("pip", "ensurepip", "pty", "telnetlib", "ftplib", "smtplib", "urllib.request", "requests", "httpx"),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "importlib.import_module", "os.system", "os.popen"),
    *("np.load", "numpy.load", "torch.load", "yaml.load", "torch.hub.load", "pd.read_pickle"),
    *(f"os.{name}" for name in ("execv", "execve", "execvp", "execvpe", "spawnv", "spawnve", "fork")),
}
_MAY_START_PROCESSES = {
    "inference_code/workers/beginning.py",
    "inference_code/workers/forking.py",
    "artifact/signals.py",
}


def _forbidden(source: str, *, processes: bool) -> list[str]:
    """What the source imports or calls that could run data as code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in FORBIDDEN_MODULES]
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in names if name in FORBIDDEN_MODULES | FORBIDDEN_CALLS]
        elif isinstance(node, ast.Name | ast.Attribute):
            names = [ast.unparse(node)]
            found += [name for name in names if name in FORBIDDEN_CALLS]
        else:
            continue
        if not processes:
            found += [name for name in names if name.split(".")[0] in {"subprocess", "multiprocessing"}]
    # A fork runs what is loaded, and no data.
    return [name for name in found if not (processes and name == "os.fork")]


def _sources() -> list[Path]:
    roots = [Path(package.__file__).parent for package in (artifact, inference_code) if package.__file__]
    return sorted(path for root in roots for path in root.rglob("*.py"))


@pytest.mark.parametrize("path", _sources(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_source_of_the_server_can_run_data_as_code(path: Path) -> None:
    """No pickle, eval, YAML, ``np.load`` or ``torch.load``; processes are started in one place only."""
    name = "/".join(path.parts[-3:] if path.parent.name == "workers" else path.parts[-2:])

    assert _forbidden(path.read_text(), processes=name in _MAY_START_PROCESSES) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import numpy as np; np.load(x)", "import yaml"),
        *("from torch import load", "torch.load(x)", "eval(x)", "f = exec", "__import__(x)"),
        *("from importlib import import_module", "import os; os.system(x)", "from os import system"),
        "import subprocess",
    ],
)
def test_the_rule_sees_what_it_forbids(line: str) -> None:
    """Each in the spelling that somebody would use."""
    assert _forbidden(line, processes=False)
