"""The scripts of the machine image, run in a root of their own where every tool of AWS is a stand-in."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from infra.machine.components import BUILD, MAX_BYTES, TEST, Phase, document
from infra.rules.template import text
from tests.infra.test_scripts import _shellcheck
from tests.infra.worlds import World

VERSION = 'if [ "$1" = --version ]; then echo aws-cli/2.27.4; exit; fi\n'
KERNEL = "6.1.155-176.282.amzn2023"
DRIVER = "2.24.13.0"
PACKAGES = (f"aws-neuronx-dkms-{DRIVER}.noarch.rpm", "aws-neuronx-tools-2.19.0.0.x86_64.rpm")
IMAGE = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/serving@sha256:{'ab' * 32}"
CONSTANTS = {
    "KERNEL_PACKAGE": "kernel", "KERNEL": KERNEL, "DRIVER_VERSION": DRIVER, "TOOLS_VERSION": "2.19.0.0",
    "DRIVER_SHA256": hashlib.sha256(PACKAGES[0].encode()).hexdigest(),
    "TOOLS_SHA256": hashlib.sha256(PACKAGES[1].encode()).hexdigest(),
    "BUCKET": "artifacts", "ACCOUNT": "111122223333", "REGION": "eu-west-1", "IMAGE": IMAGE, "CHIPS": "1",
    "MODEL_DIR": "/var/lib/traceship/model", "USER_ID": "10001", "SERVE_USER_ID": "10002", "PORT": "8080",
    "ATTEMPTS": "3", "OLDEST_CLI": "2.22.0", "SERVE_ENV": "TRACESHIP_DIGEST=ab\nTRACESHIP_PORT=8080\n",
}  # fmt: skip
REFUSED = '[[ "$*" != *connect_ex* ]] || exit 42\n'
"""What the server's user gets who asks for credentials."""
ANSWERS = {
    "uname": f"echo {KERNEL}.x86_64",
    "aws": 'if [ "$1" = --version ]; then echo "aws-cli/2.27.4 Python/3.9"; exit; fi\n'
    'file=${!#}; printf %s "${file##*/}" >"$file"',
    "dnf": ":",
    "modinfo": f"echo {DRIVER}",
    "systemctl": ":",
    "docker": REFUSED,
    "iptables": ":",
    "docker-credential-ecr-login": ":",
    "rpm": f"echo kernel-{KERNEL}",
    "curl": ":",
    "sleep": ":",
    "install": 'mkdir -p "${!#}"',
}
HELD = "[main]\nexclude=kernel* aws-neuronx-*\n"
ENTER = """
mount --rbind /usr "$1/usr" && mount --bind /dev/null "$1/dev/null" &&
exec chroot "$1" /usr/bin/env -i PATH=/stand-ins:/usr/bin:/usr/sbin /usr/bin/bash /script
"""


@dataclass
class Machine:
    """A root folder with the system's programs and stand-ins for AWS's; ``answers``: what they do."""

    root: Path
    answers: dict[str, str] = field(default_factory=lambda: dict(ANSWERS))
    files: dict[str, str] = field(default_factory=dict)

    def run(self, phase: Phase, constants: dict[str, str] = CONSTANTS) -> subprocess.CompletedProcess[str]:
        """Run the phase's script as Image Builder would, in a mount namespace that ends with it."""
        for folder in ("usr", "dev", "tmp", "etc/dnf", "root", "stand-ins", "opt/aws/neuron/bin"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).exists() and not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        self.put("dev/null", "")
        for path, content in self.files.items():
            self.put(path, content)
        for name, answer in self.answers.items():
            self.stand_in(self.root / "stand-ins" / name, answer)
        self.put("script", phase.program(constants))
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return subprocess.run(
            ["unshare", "--mount", *user, "bash", "-c", ENTER, "enter", str(self.root)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def stand_in(self, path: Path, answer: str) -> None:
        """A program that notes its call and then does ``answer``."""
        path.write_text(
            f'#!/usr/bin/bash\nprintf "%s\\n" "{path.name} $*" >>/calls\n{answer}\n', encoding="utf-8"
        )
        path.chmod(0o755)

    def put(self, path: str, content: str) -> None:
        """Write a file of the machine."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")

    def neuron(self, name: str, answer: str = ":") -> None:
        """One of the Neuron tools, where the package puts it."""
        folder = self.root / "opt/aws/neuron/bin"
        folder.mkdir(parents=True, exist_ok=True)
        self.stand_in(folder / name, answer)

    @property
    def calls(self) -> list[str]:
        """Programs that were called, in their order."""
        return (self.root / "calls").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One on which everything goes well."""
    made = Machine(tmp_path)
    made.files = {"etc/dnf/dnf.conf": "[main]\ngpgcheck=1\n"}
    return made


@pytest.fixture
def built(machine: Machine) -> Machine:
    """The same after the build, and with a device."""
    machine.files |= {
        "etc/dnf/dnf.conf": HELD, "dev/neuron0": "", "sys/module/neuron/version": f"{DRIVER}\n",
    }  # fmt: skip
    for name in ("neuron-monitor", "neuron-ls"):
        machine.neuron(name)
    return machine


def test_a_machine_is_built(machine: Machine) -> None:
    """Packages by digest, the driver for this kernel, both held, the image on the disk, no login left."""
    result = machine.run(BUILD[0])

    assert (result.returncode, result.stderr) == (0, "")
    assert (
        machine.root.joinpath("etc/dnf/dnf.conf").read_text(encoding="utf-8").splitlines()[-1]
        == HELD.splitlines()[-1]
    )
    got = [call.split() for call in machine.calls if call.startswith("aws s3api")]
    assert [words[words.index("--key") + 1] for words in got] == [f"packages/{name}" for name in PACKAGES]
    assert all("--expected-bucket-owner 111122223333" in " ".join(words) for words in got)
    dnf = [call for call in machine.calls if call.startswith("dnf")]
    assert f"kernel-devel-{KERNEL}" in dnf[0]
    assert dnf[1].split()[3:] == [f"/tmp/{name}" for name in PACKAGES]
    assert any(
        call.startswith("docker --config") and call.endswith(f"pull {IMAGE}") for call in machine.calls
    )
    assert not list((machine.root / "tmp").iterdir())


@pytest.mark.parametrize(
    ("program", "answer", "why"),
    [
        ("uname", "echo 6.12.1.x86_64", "runs kernel 6.12.1.x86_64"),
        ("dnf", "exit 1", "package of the system"),
        ("dnf", '[[ "$*" != */tmp/* ]]', "do not install"),
        ("aws", f"{VERSION}exit 254", "cannot be read"),
        ("aws", f'{VERSION}printf other >"${{!#}}"', "not the file whose digest"),
        ("aws", "echo aws-cli/2.9.11 Python/3.9", "aws command is 2.9.11, older than 2.22.0"),
        ("aws", "echo nonsense", "aws command is , older than"),
        ("aws", "exit 127", "has no aws command"),
        ("modinfo", "exit 1", "was not built for kernel"),
        ("modinfo", "echo 2.25.0.0", "driver 2.25.0.0 was built"),
        ("systemctl", '[ "$3" != docker ]', "docker does not start"),
        ("systemctl", '[ "$2" != amazon-ssm-agent ]', "SSM agent"),
        ("docker", "exit 1", "cannot be pulled"),
    ],
)
def test_a_build_that_goes_wrong_stops_and_says_why(
    machine: Machine, program: str, answer: str, why: str
) -> None:
    """One line, and a step that has failed."""
    machine.answers[program] = answer

    result = machine.run(BUILD[0])

    assert result.returncode == 1
    assert why in result.stderr.splitlines()[-1]


def test_a_parent_that_holds_packages_itself_is_refused(machine: Machine) -> None:
    """A second `exclude` would take the place of the first."""
    machine.files["etc/dnf/dnf.conf"] = "[main]\nexclude=x\n"

    result = machine.run(BUILD[0])

    assert (result.returncode, "excludes packages of its own" in result.stderr) == (1, True)


def test_a_machine_as_it_was_built_is_valid(built: Machine) -> None:
    """Nothing is said."""
    result = built.run(BUILD[1])

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("program", "answer", "why"),
    [
        ("modinfo", "exit 1", "no Neuron driver"),
        ("modinfo", "echo 2.23.9.0", "is 2.23.9.0"),
        ("uname", "echo 6.12.1.x86_64", "kernel is 6.12.1"),
        ("rpm", "echo a; echo b", "more than one kernel"),
        ("systemctl", '[ "$3" != docker ]', "docker does not start"),
        ("docker", "exit 1", "not on the disk"),
    ],
)
def test_a_machine_that_is_not_as_it_should_be_is_not_snapshotted(
    built: Machine, program: str, answer: str, why: str
) -> None:
    """With what is wrong."""
    built.answers[program] = answer

    result = built.run(BUILD[1])

    assert (result.returncode, why in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [("etc/dnf/dnf.conf", "[main]\n", "not held"), ("root/.docker/config.json", "{}", "login was left")],
)
def test_a_file_that_is_not_as_it_should_be_is_noticed(
    built: Machine, path: str, content: str, why: str
) -> None:
    """The hold that is gone, and the login that is not."""
    built.files[path] = content

    result = built.run(BUILD[1])

    assert (result.returncode, why in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize("gone", ["neuron-monitor", "neuron-ls", "docker-credential-ecr-login", "iptables"])
def test_a_missing_program_is_noticed(built: Machine, gone: str) -> None:
    """By its name."""
    if gone in built.answers:
        del built.answers[gone]
    else:
        (built.root / "opt/aws/neuron/bin" / gone).unlink()

    result = built.run(BUILD[1])

    assert (result.returncode, f"{gone} is missing" in result.stderr) == (1, True), result.stderr


def test_an_image_is_good_when_the_golden_set_passes_on_the_device(built: Machine) -> None:
    """The release is fetched and served as on the fleet, confined, and nothing is left running."""
    result = built.run(TEST[0])

    assert (result.returncode, result.stderr) == (0, "")
    (rule,) = (call for call in built.calls if call.startswith("iptables"))
    assert "--destination 169.254.169.254 --match owner --uid-owner 10002 --jump REJECT" in rule
    probe, fetch, serve = (call for call in built.calls if call.startswith("docker run"))
    assert "--user 10001:10001" in fetch
    assert all("--user 10002:10001" in call for call in (probe, serve))
    assert fetch.endswith(f"{IMAGE} fetch")
    assert serve.endswith(f"--device /dev/neuron0 {IMAGE} serve")
    for option in (
        "--read-only",
        "--cap-drop ALL",
        "--pull never",
        "no-new-privileges",
    ):
        assert option in probe
        assert option in fetch
        assert option in serve
    assert built.calls[-1] == "docker rm --force traceship-fetch traceship-serve"


@pytest.mark.parametrize(
    ("program", "answer", "why"),
    [
        ("docker", f'{REFUSED}[[ "$*" != *fetch ]]', "could not be fetched"),
        ("docker", f'{REFUSED}[[ "$*" != *serve || $1 = rm ]]', "does not start"),
        ("docker", ":", "is not kept from the instance's credentials (0)"),
        ("docker", "[[ $1 != run ]] || exit 125", "is not kept from the instance's credentials (125)"),
        ("iptables", "exit 4", "iptables cannot keep"),
        ("curl", "exit 22", "golden set did not pass on the device within 3 attempts"),
    ],
)
def test_a_release_that_does_not_answer_stops_the_image(
    built: Machine, program: str, answer: str, why: str
) -> None:
    """The image is never made available."""
    built.answers[program] = answer

    result = built.run(TEST[0])

    assert (result.returncode, why in result.stderr) == (1, True), result.stderr


def test_a_missing_device_stops_the_image(built: Machine) -> None:
    """Each chip has one."""
    result = built.run(TEST[0], {**CONSTANTS, "CHIPS": "4"})

    assert (result.returncode, "/dev/neuron1 is missing: 4 are expected" in result.stderr) == (1, True)


@pytest.mark.parametrize(("loaded", "why"), [(None, "not loaded"), ("2.25.1.0", "driver 2.25.1.0 is loaded")])
def test_another_driver_stops_the_image(built: Machine, loaded: str | None, why: str) -> None:
    """The one that is loaded counts, not the one that is installed."""
    del built.files["sys/module/neuron/version"]
    if loaded is not None:
        built.files["sys/module/neuron/version"] = loaded

    result = built.run(TEST[0])

    assert (result.returncode, why in result.stderr) == (1, True), result.stderr


def test_a_device_that_does_not_talk_stops_the_image(built: Machine) -> None:
    """neuron-ls asks it."""
    built.neuron("neuron-ls", "exit 1")

    result = built.run(TEST[0])

    assert (result.returncode, "cannot talk to the device" in result.stderr) == (1, True)


def test_the_documents_of_the_stack_are_what_image_builder_reads(inf1: World) -> None:
    """YAML with the phases that are run in their stages, small enough, and nothing for shellcheck to find."""
    found = {}
    for component in inf1.all("image", "AWS::ImageBuilder::Component").values():
        data = text(component["Properties"]["Data"])
        assert len(data) < MAX_BYTES
        loaded = yaml.safe_load(data)
        assert str(loaded["schemaVersion"]) == "1.0"
        for phase in loaded["phases"]:
            (step,) = phase["steps"]
            assert (step["action"], step["onFailure"], step["maxAttempts"]) == ("ExecuteBash", "Abort", 1)
            (script,) = step["inputs"]["commands"]
            found[phase["name"]] = script

    assert found.keys() == {"build", "validate", "test"}
    assert {name: _shellcheck(f"#!/bin/bash\n{script}") for name, script in found.items()} == {
        "build": [], "validate": [], "test": [],
    }  # fmt: skip


def test_constants_reach_the_script_as_they_are() -> None:
    """Blanks, quotes and dollars included."""
    value = "a 'b' \"c\" $HOME `id` \\ end"
    program = Phase("build", "validate.sh", 1).program({"VALUE": value}).partition("set -euo")[0]

    found = subprocess.run(
        ["bash", "-c", program + 'printf %s "$VALUE"'], capture_output=True, text=True, check=True
    )

    assert found.stdout == value
    assert yaml.safe_load(document("x", BUILD, {"VALUE": value}))["name"] == "x"


def test_the_stack_gives_every_constant_that_a_script_uses(inf1: World) -> None:
    """A script stops at one that is not set, an hour into the bake."""
    documents = [
        text(component["Properties"]["Data"])
        for component in inf1.all("image", "AWS::ImageBuilder::Component").values()
    ]

    for phase in (*BUILD, *TEST):
        (found,) = [part for part in documents if f"- name: {phase.name}\n" in part]
        given = set(re.findall(r"export ([A-Z0-9_]+)=", found.partition(f"- name: {phase.name}\n")[2]))
        script = phase.program({})
        own = set(re.findall(r"(?:^|\s)([A-Z0-9_]+)=", script, re.MULTILINE))
        used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", script))
        assert used
        assert used - own <= given, phase.name
