"""Programs of a host that is not here: docker, aws, journalctl, systemctl, cloud-init, iptables.

Run as ``standins.py NAME ARGUMENT…`` inside an isolated root. The ``aws`` command passes every
option on to boto3, which refuses what the service does not know, as the real one does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

JOURNAL = Path("/run/journal")
FAULTS = Path("/run/faults")
RULES = Path("/run/rules")
"""Of iptables, one a line, first come first: they last as long as a boot."""


def main(name: str, arguments: list[str]) -> int:
    return {
        "docker": docker,
        "aws": aws,
        "journalctl": journalctl,
        "systemctl": record,
        "cloud-init": cloud_init,
        "iptables": iptables,
    }[name](arguments)


def docker(arguments: list[str]) -> int:
    """``docker run`` starts what the image would, as a process; devices must exist."""
    if arguments[0] != "run":
        return 0
    faults = FAULTS.read_text().split()
    image = next(word for word in arguments if "@sha256:" in word)
    if "pull-denied" in faults:
        print(f"Unable to find image '{image}' locally", file=sys.stderr)
        daemon = "docker: Error response from daemon: pull access denied for traceship/serving, repository"
        print(f"{daemon} does not exist or may require 'docker login': denied.", file=sys.stderr)
        print("See 'docker run --help'.", file=sys.stderr)
        return 125
    for device in [arguments[at + 1] for at, word in enumerate(arguments) if word == "--device"]:
        assert Path(device).is_char_device(), device
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for file in [arguments[at + 1] for at, word in enumerate(arguments) if word == "--env-file"]:
        environment |= dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
    environment |= dict(
        arguments[at + 1].split("=", 1) for at, word in enumerate(arguments) if word == "--env"
    )
    command = arguments[arguments.index(image) + 1 :]
    if command == ["serve"]:
        user = arguments[arguments.index("--user") + 1].partition(":")[0]
        assert f"--uid-owner {user} --jump REJECT" in RULES.read_text(), "the server is not confined"
        return _serve(environment, faults)
    return subprocess.run(
        [sys.executable, "-m", "inference_code", *command], env=environment, check=False
    ).returncode


def _serve(environment: dict[str, str], faults: list[str]) -> int:
    """Answers /ping; with "slow" never with 200; with "crash" it ends instead, as a load that fails does."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    if "crash" in faults:
        print(
            '{"event": "refused", "error": "nrt-init", "what": "NRT init failed"}',
            file=sys.stderr,
            flush=True,
        )
        return 1

    class Ping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if "slow" in faults else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    HTTPServer(("127.0.0.1", int(environment["SAGEMAKER_BIND_TO_PORT"])), Ping).serve_forever()
    return 0


def aws(arguments: list[str]) -> int:
    import boto3
    from botocore import xform_name
    from botocore.exceptions import BotoCoreError, ClientError

    while arguments[0].startswith("--cli-"):
        arguments = arguments[2:]
    service, verb, *options = arguments
    client = boto3.client({"s3api": "s3"}.get(service, service))
    operation = next(name for name in client.meta.service_model.operation_names
                     if xform_name(name) == verb.replace("-", "_"))  # fmt: skip
    members = client.meta.service_model.operation_model(operation).input_shape.members
    names = {xform_name(name).replace("_", "-"): name for name in members}
    parameters: dict[str, Any] = {}
    query = ""
    while options:
        option = options.pop(0).removeprefix("--")
        if option.startswith("no-"):
            parameters[names[option.removeprefix("no-")]] = False
        elif option in ("query", "output"):
            query = query or options.pop(0) if option == "query" else (options.pop(0) and query)
        else:
            parameters[names[option]] = _value(option, options.pop(0))
    try:
        answer = getattr(client, xform_name(operation))(**parameters)
    except (BotoCoreError, ClientError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 254
    if query:
        print("\t".join(str(answer[name].isoformat() if hasattr(answer[name], "isoformat") else answer[name])
                        for name in query.strip("[]").split(",")))  # fmt: skip
    return 0


def _value(option: str, text: str) -> Any:
    if option == "body":
        return Path(text).read_bytes()
    return json.loads(text) if text.startswith("[") else text


def journalctl(arguments: list[str]) -> int:
    if "--sync" not in arguments:
        sys.stdout.write(JOURNAL.read_text())
    return 0


def record(arguments: list[str]) -> int:
    with Path("/run/systemctl").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    return 0


def cloud_init(arguments: list[str]) -> int:
    assert arguments == ["query", "instance_id"]
    print("i-0123456789abcdef0")
    return 0


def iptables(arguments: list[str]) -> int:
    """Keeps rules, and finds them only as they were given; with "no-owner" its kernel lacks the match."""
    if "no-owner" in FAULTS.read_text().split():
        print("Warning: Extension owner revision 0 not supported, missing kernel module?", file=sys.stderr)
        print(
            "iptables v1.8.8 (nf_tables):  RULE_INSERT failed (No such file): rule in OUTPUT", file=sys.stderr
        )
        return 4
    wait, verb, *rule = arguments
    assert wait == "--wait"
    rules = RULES.read_text().splitlines() if RULES.exists() else []
    if verb == "--check":
        return int(" ".join(rule) not in rules)
    assert verb == "--insert"
    RULES.write_text("".join(f"{line}\n" for line in [" ".join(rule), *rules]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
