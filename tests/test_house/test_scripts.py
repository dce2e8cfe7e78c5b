"""The scripts that a newcomer runs first."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import fuse_mounts_below
from tests.features import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


@pytest.mark.parametrize("name", ["setup", "test", "demo", "lock", "bench/run", "../.ci/run"])
def test_scripts_parse(name: str):
    """Each script is executable and the shell finds no error in its syntax."""
    script = (SCRIPTS / name).resolve()

    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_ci_runs_the_tests_and_nothing_else():
    """Continuous integration calls scripts/test, so that a green run can be had anywhere."""
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set "))]

    assert commands == ['exec "$(dirname "$0")/../scripts/test"']


def coverage_gate(tmp_path: Path, files: dict[str, tuple[int, int]]) -> int:
    """Run the gate over a made-up report of file -> (covered lines, statements)."""
    report = {
        "files": {
            name: {"summary": {"covered_lines": covered, "num_statements": statements}}
            for name, (covered, statements) in files.items()
        }
    }
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(report))
    gate: list[str | Path] = [sys.executable, SCRIPTS / "coverage_gate.py", path]
    return subprocess.run(gate, capture_output=True, check=False).returncode


def test_coverage_gate_holds_each_layer(tmp_path: Path):
    """The gate passes at the floors, and a layer below its own fails whatever the total is."""
    layers = {f"azfilesfs/{name}/a.py": (95, 100) for name in ("model", "client", "vfs")}

    assert coverage_gate(tmp_path, layers | {"azfilesfs/cli/a.py": (55, 100)}) == 0
    assert coverage_gate(tmp_path, layers | {"azfilesfs/cli/a.py": (54, 100)}) == 1
    assert coverage_gate(tmp_path, layers | {"azfilesfs/vfs/a.py": (94, 100)}) == 1


def test_coverage_gate_is_not_satisfied_by_nothing(tmp_path: Path):
    """A layer of which nothing was measured is below its floor."""
    assert coverage_gate(tmp_path, {"azfilesfs/cli/a.py": (100, 100)}) == 1


@pytest.fixture
def demo_environment(tmp_path: Path) -> dict[str, str]:
    """Give the demonstration a temporary folder of its own, to see what it leaves there."""
    (tmp_path / "tmp").mkdir()
    return os.environ | {"TMPDIR": str(tmp_path / "tmp")}


def commands_that_name(path: Path) -> list[bytes]:
    """Return the command lines of running processes that have the path in them."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(command.read_bytes())
    return [line for line in found if bytes(path) in line]


def assert_nothing_left(tmp_path: Path) -> None:
    """Check that neither mounts nor files nor processes of the demonstration are left."""
    assert fuse_mounts_below(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "new").exists()
    assert commands_that_name(tmp_path) == []


@pytest.mark.mount
@pytest.mark.slow
def test_demo_checks_itself(tmp_path: Path, demo_environment: dict[str, str]):
    """The demonstration shows a listing, a file, the space, a lock and a search, and tidies up."""
    demo: list[str | Path] = [SCRIPTS / "demo", tmp_path / "new" / "mountpoint", "--check"]
    outcome = subprocess.run(
        demo, env=demo_environment, capture_output=True, text=True, timeout=200, check=False
    )

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "README.md" in outcome.stdout
    assert "# azfilesfs" in outcome.stdout
    assert "Filesystem" in outcome.stdout
    assert "locked, as it should be" in outcome.stdout
    assert "docs/SEMANTICS.md:" in outcome.stdout
    assert "the copies are identical" in outcome.stdout
    assert_nothing_left(tmp_path)


@pytest.mark.mount
@pytest.mark.slow
def test_demo_stays_until_interrupted(tmp_path: Path, demo_environment: dict[str, str]):
    """After its show the demonstration waits; Ctrl-C in its terminal unmounts and tidies up."""
    mountpoint = tmp_path / "new"
    with subprocess.Popen(
        [SCRIPTS / "demo", mountpoint],
        env=demo_environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Ctrl-C here"):
                break
        assert "README.md" in os.listdir(mountpoint)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the whole group

        assert demo.wait(timeout=60) == 0
    assert_nothing_left(tmp_path)


def test_demo_explains_itself():
    """An option that the demonstration does not know shows how it is called."""
    demo: list[str | Path] = [SCRIPTS / "demo", "--what"]
    outcome = subprocess.run(demo, capture_output=True, text=True, check=False)

    assert outcome.returncode == 2
    assert "scripts/demo [MOUNTPOINT] [--check]" in outcome.stderr
