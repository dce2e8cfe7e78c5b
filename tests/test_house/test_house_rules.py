"""The rules of tests/conftest.py, each shown on a small suite of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.features import REPOSITORY

CONFTEST = "from tests.conftest import *  # noqa: F403\nfrom tests import features\n"
NO_FUSE = "features.fuse_missing = lambda: 'no fuse today'\n"


def run_suite(
    folder: Path, body: str, *arguments: str, conftest: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a one-file suite under the house rules and the house configuration."""
    (folder / "conftest.py").write_text(CONFTEST + conftest)
    (folder / "test_it.py").write_text(body)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml")]
    options: list[str | Path] = [
        "-q",
        "--rootdir",
        folder,
        "-p",
        "no:cacheprovider",
        "--basetemp",
        folder / "base",
    ]
    return subprocess.run(
        [*command, *options, *arguments, folder],
        env=clean | {"PYTHONPATH": str(REPOSITORY)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


MOUNT_TEST = "import pytest\n@pytest.mark.mount\ndef test_it(): pass\n"


def test_mount_test_is_skipped_with_its_reason(tmp_path: Path):
    """Outside CI a mount test that cannot run is skipped and names what is missing."""
    outcome = run_suite(tmp_path, MOUNT_TEST, conftest=NO_FUSE, CI="false")

    assert outcome.returncode == 0
    assert "1 skipped" in outcome.stdout
    assert "no fuse today" in outcome.stdout


def test_skipped_mount_test_fails_in_ci(tmp_path: Path):
    """In CI the same test fails."""
    outcome = run_suite(tmp_path, MOUNT_TEST, conftest=NO_FUSE, CI="true")

    assert outcome.returncode == 1
    assert "mount test skipped in CI" in outcome.stdout


SOAK_TEST = "import pytest\n@pytest.mark.soak\ndef test_it(): pass\n"


@pytest.mark.parametrize(("arguments", "outcome"), [((), "1 skipped"), (("--soak",), "1 passed")])
def test_long_forms_run_on_request(tmp_path: Path, arguments: tuple[str, ...], outcome: str):
    """A test marked soak runs with --soak only."""
    assert outcome in run_suite(tmp_path, SOAK_TEST, *arguments).stdout


def test_unannounced_warning_fails_its_test(tmp_path: Path):
    """A warning in the log that the test did not announce fails that test, with the text."""
    body = "import logging\ndef test_it(): logging.getLogger('azfilesfs.x').warning('odd')\n"

    outcome = run_suite(tmp_path, body)

    assert outcome.returncode == 1
    assert "WARNING azfilesfs.x: odd" in outcome.stdout


def test_environment_is_scrubbed(tmp_path: Path):
    """What would steer the code under test is removed, and the live connection is kept."""
    body = (
        "import os\n"
        "def test_it():\n"
        "    assert 'AZURE_STORAGE_KEY' not in os.environ\n"
        "    assert 'XDG_CACHE_HOME' not in os.environ\n"
        "    assert 'https_proxy' not in os.environ\n"
        "    assert os.environ['AZFILESFS_TEST_CONNECTION_STRING'] == 'kept'\n"
    )

    outcome = run_suite(
        tmp_path,
        body,
        AZURE_STORAGE_KEY="secret",
        XDG_CACHE_HOME="/nowhere",
        https_proxy="http://nowhere",
        AZFILESFS_TEST_CONNECTION_STRING="kept",
    )

    assert outcome.returncode == 0, outcome.stdout


FUSE = """
import subprocess, sys
PROGRAM = '''
import pyfuse3, sys, trio
pyfuse3.init(pyfuse3.Operations(), sys.argv[1], {"fsname=house"})
print("up", flush=True)
trio.run(pyfuse3.main)
'''
def test_it(tmp_path):
    (tmp_path / "m").mkdir()
    command = [sys.executable, "-c", PROGRAM, tmp_path / "m"]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert daemon.stdout.readline() == b"up\\n"
    daemon.stdout.close()
    daemon.returncode = 0  # it ends when its mount is detached
"""


@pytest.mark.mount
def test_mount_left_behind_fails_the_run(tmp_path: Path):
    """A mount that a run leaves is detached, and the run fails and names it."""
    outcome = run_suite(tmp_path, FUSE)

    assert outcome.returncode == 1
    assert "mounts left behind" in outcome.stdout
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
