"""Which Python and which release dev/lib/environments.sh finds."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
# It answers like a Python of this version that has venv and pip.
STUB = '#!/bin/sh\n[ "$1" != -c ] || [ "$3" = {version} ] || exit 1\n'
# The same, and its pip lists these versions.
WITH_INDEX = STUB + '[ "$6" != --ignore-requires-python ] || echo "Available versions: {versions}"\n'
REFUSES = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"


@dataclass
class Machine:
    """A machine with only what is put on it."""

    folder: Path

    def put(self, path: str, content: str) -> Path:
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(content)
        program.chmod(0o755)
        return program

    def run(self, call: str, **environ: str) -> subprocess.CompletedProcess[str]:
        script = 'set -euo pipefail; HERE=$1; PROGRAM=test; source "$1/dev/lib/environments.sh"; ' + call
        return self.start(["-c", script, "bash", str(HERE)], environ)

    def start(self, arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        path = self.folder / "bin"
        for tool in ("bash", "sort", "sh", "readlink", "dirname", "tr", "sed"):
            if not (path / tool).exists():
                path.mkdir(exist_ok=True)
                (path / tool).symlink_to(str(shutil.which(tool)))
        return subprocess.run(
            [str(path / "bash"), *arguments],
            env={"PATH": str(path), "HOME": str(self.folder / "home"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def found(self, call: str, **environ: str) -> str:
        ran = self.run(call, **environ)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FIND = 'find_python "ContextForge 9" 3.12 3.13'


def test_the_preferred_version_is_found_in_path(machine: Machine) -> None:
    later = machine.put("bin/python3.13", STUB.format(version="3.13"))
    assert machine.found(FIND) == str(later)
    first = machine.put("bin/python3.12", STUB.format(version="3.12"))
    assert machine.found(FIND) == str(first)
    first.unlink()
    plain = machine.put("bin/python3", STUB.format(version="3.12"))
    assert machine.found(FIND) == str(plain)


@pytest.mark.parametrize("root", ["home/.pyenv", "elsewhere"])
def test_a_version_of_pyenv_is_found_whose_command_refuses(machine: Machine, root: str) -> None:
    machine.put("bin/python3.12", REFUSES)
    machine.put("bin/python3", STUB.format(version="3.11"))
    machine.put(f"{root}/versions/3.12.1/bin/python3.12", REFUSES)
    newer = machine.put(f"{root}/versions/3.12.10/bin/python3.12", STUB.format(version="3.12"))
    environ = {} if root.startswith("home") else {"PYENV_ROOT": str(machine.folder / root)}
    assert machine.found(FIND, **environ) == str(newer)


def test_a_version_of_uv_is_found(machine: Machine) -> None:
    python = machine.put("uv/python3.13", STUB.format(version="3.13"))
    machine.put("bin/uv", f'#!/bin/sh\n[ "$4" = 3.13 ] && echo {python}\n')
    assert machine.found(FIND) == str(python)


def test_the_error_names_what_to_install(machine: Machine) -> None:
    machine.put("bin/python3.12", REFUSES)
    ran = machine.run(FIND)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "ContextForge 9 needs Python 3.12, 3.13" in ran.stderr
    assert "pyenv install 3.12" in ran.stderr
    assert "PYTHON=/path/to/python3.12" in ran.stderr


def test_a_named_python_is_taken_or_refused(machine: Machine) -> None:
    machine.put("bin/python3.12", STUB.format(version="3.12"))
    named = machine.put("own/python", STUB.format(version="3.13"))
    assert machine.found(FIND, PYTHON=str(named)) == str(named)
    named.write_text(STUB.format(version="3.10"))
    ran = machine.run(FIND, PYTHON=str(named))
    assert ran.returncode == 1
    assert f"PYTHON={named}" in ran.stderr


def test_releases_have_names_and_pythons(machine: Machine) -> None:
    pins = (HERE.parents[1] / "dev" / "versions.env").read_text()
    named = dict(line.split("=") for line in pins.splitlines() if line.startswith("CONTEXTFORGE_"))
    assert machine.found("release_named newest") == named["CONTEXTFORGE_VERSION"]
    assert machine.found("release_named oldest") == named["CONTEXTFORGE_MIN_VERSION"]
    assert machine.found("release_named 1.0.9") == "1.0.9"
    ran = machine.run("release_named latest")
    assert ran.returncode == 1
    assert "newest, oldest or a version" in ran.stderr
    for release, pythons in {
        "1.0.7": ["3.11", "3.12", "3.13"],
        "1.0.7.post20260921": ["3.11", "3.12", "3.13"],
        "1.0.8": ["3.12", "3.13"],
        "1.0.11": ["3.12", "3.13"],
        "1.1.0": ["3.12", "3.13"],
    }.items():
        assert machine.found(f"pythons_of {release}").split() == pythons


def released(machine: Machine, versions: str) -> str:
    machine.put("bin/python3.12", WITH_INDEX.format(version="3.12", versions=versions))
    ran = machine.start([str(HERE / "dev" / "releases")], {})
    return ran.stdout + ran.stderr


def test_newer_releases_are_named_in_their_order(machine: Machine) -> None:
    pinned = machine.found("release_named newest")
    said = released(machine, f"99.10.0, 99.9.1, {pinned}.post1, {pinned}, 1.0.7, 1.0.7.post1, 0.9.0")
    assert f"newer than ContextForge {pinned}: {pinned}.post1 99.9.1 99.10.0\n" in said
    assert "TRY=1" in said
    assert f"{pinned} is the newest release" in released(machine, f"{pinned}, 1.0.7")


def test_an_index_that_says_nothing_is_no_answer(machine: Machine) -> None:
    assert "does not list versions" in released(machine, "")
    assert "the package index has no" in released(machine, "1.0.7")
