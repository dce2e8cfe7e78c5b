"""A released rclone as a judge of the emulator."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests import features
from tests.judges.conftest import RunningEmulator

pytestmark = pytest.mark.slow
if (missing := features.rclone_missing()) is not None:
    pytest.skip(missing, allow_module_level=True)

Rclone = Callable[..., str]


@pytest.fixture
def rclone(emulator: RunningEmulator, tmp_path: Path) -> Rclone:
    """Return a function that runs rclone with the emulator's share as ``remote:``."""
    settings = {
        "TYPE": "azurefiles",
        "SHARE_NAME": "share",
        "ACCOUNT": DEFAULT_ACCOUNT,
        "KEY": DEFAULT_KEY,
        "ENDPOINT": emulator.account_url,
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "RCLONE_CONFIG": str(tmp_path / "none.conf"),
        **{f"RCLONE_CONFIG_REMOTE_{name}": value for name, value in settings.items()},
    }
    if emulator.ca_file is not None:
        environment["RCLONE_CA_CERT"] = str(emulator.ca_file)

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [str(features.rclone_path()), "--retries=1", "--low-level-retries=1", *arguments],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def make_tree(root: Path) -> None:
    """Make files of several sizes under names that need care."""
    for name, size in (
        ("empty", 0),
        ("small file.txt", 11),
        ("sub/ünï %41+&#.bin", 70_000),
        ("sub/deeper/large.bin", 9 * 1024 * 1024 + 5),
        ("trailing dot.", 3),
        ("what?*", 4),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        os.utime(path, ns=(0, 1_600_000_000_123_456_700))


def digests(root: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of every file below a folder."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_tree_goes_in_and_comes_out_again(rclone: Rclone, tmp_path: Path) -> None:
    """Copy in, compare on the service, list, copy out: contents and times are the same."""
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source)

    rclone("copy", source, "remote:backup", "--transfers=2")
    rclone("check", source, "remote:backup", "--download")
    listed = rclone("lsf", "-R", "--files-only", "remote:backup").splitlines()
    assert sorted(listed) == sorted(digests(source))
    rclone("copy", "remote:backup", target)

    assert digests(target) == digests(source)


def test_a_second_sync_sends_nothing(
    rclone: Rclone, emulator: RunningEmulator, tmp_path: Path
) -> None:
    """What did not change is not sent again; what changed is, and what went away is deleted."""
    source = tmp_path / "source"
    make_tree(source)
    rclone("sync", source, "remote:tree")
    emulator.app.requests.reset()

    rclone("sync", source, "remote:tree")
    assert emulator.app.requests.of("PutRange") == 0

    (source / "empty").unlink()
    (source / "small file.txt").write_text("another text")
    rclone("sync", source, "remote:tree")
    assert emulator.app.requests.of("DeleteFile", 202) >= 1
    assert rclone("cat", "remote:tree/small file.txt") == "another text"
    rclone("check", source, "remote:tree", "--download")


def test_moves_and_removals(rclone: Rclone, tmp_path: Path) -> None:
    """Server-side moves of files and directories, and the removal of a tree."""
    source = tmp_path / "source"
    make_tree(source)
    rclone("copy", source, "remote:a")

    rclone("moveto", "remote:a/small file.txt", "remote:b/moved.txt")
    rclone("move", "remote:a/sub", "remote:c")

    assert rclone("lsf", "-R", "--files-only", "remote:b").splitlines() == ["moved.txt"]
    assert "deeper/large.bin" in rclone("lsf", "-R", "remote:c")
    rclone("purge", "remote:a")
    assert rclone("lsf", "remote:").splitlines() == ["b/", "c/"]
