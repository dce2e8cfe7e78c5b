"""Who may do what on a mount, with owners and modes checked and unchecked."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.harness import Mount

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
OTHER = 54321
FILES = 20
GETATTRS = re.compile(r'^azfilesfs_fuse_operation_seconds_count{operation="getattr"} (\S+)$', re.M)
MODES = ("--uid", str(OTHER), "--gid", str(OTHER))
"""Files of somebody else, so that it is by its capabilities that root may change them."""

by_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

AS_FOR_FILES = f"""
import ctypes, os
ctypes.CDLL(None).setfsuid({OTHER + 1})
os.close(os.open("mnt/new", os.O_CREAT | os.O_WRONLY))
"""
LESSER_ROOTS = {
    "without capabilities": ("setpriv", "--bounding-set=-all", "touch", "mnt/new"),
    "for files somebody else": (sys.executable, "-c", AS_FOR_FILES),
}


def is_granted(made: Mount, *command: str, user: int | None = None) -> bool:
    """Run a program beside the mount, perhaps as another user; tell whether it succeeded.

    The directory is entered before the identity changes: those above it are closed to others.
    """
    done = subprocess.run(
        command,
        cwd=made.path.parent,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or "ermission" in done.stderr, done.stderr
    return done.returncode == 0


def getattrs(address: str) -> float:
    """Return how often the kernel has asked for attributes."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        found = GETATTRS.search(answer.read().decode())
    return float(found[1]) if found else 0.0


def fill_and_empty(folder: Path) -> None:
    """Create files and remove them, one by one."""
    for number in range(FILES):
        os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    for number in range(FILES):
        os.unlink(folder / str(number))


@pytest.mark.semantics("S11.6")
def test_directories_are_not_asked_for_again(new_mount: NewMount):
    """Unchecked, no GETATTR follows a creation or a removal; checked, one follows each."""
    counts = {}
    for permissions in ("checked", "unchecked"):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        flags = ("--permissions", permissions, "--attr-ttl", "600", "--metrics", address)
        folder = new_mount("others", *flags).path / permissions
        folder.mkdir()
        before = getattrs(address)
        fill_and_empty(folder)
        counts[permissions] = getattrs(address) - before

    assert counts["unchecked"] == 0
    assert counts["checked"] >= 2 * FILES - 2


@by_root
@pytest.mark.semantics("S11.1", "S11.6")
@pytest.mark.parametrize("permissions", ["checked", "unchecked"])
def test_another_user_is_kept_out(new_mount: NewMount, permissions: str):
    """Without --allow-other nobody else gets in, whether modes are checked or not."""
    made = new_mount("others", "--permissions", permissions)
    (made.path / "kept from others").write_text("content")

    assert is_granted(made, "cat", "mnt/kept from others")
    assert not is_granted(made, "cat", "mnt/kept from others", user=OTHER)
    assert not is_granted(made, "touch", "mnt/kept from others", user=OTHER)
    assert not is_granted(made, "ls", "mnt", user=OTHER)


@by_root
@pytest.mark.semantics("S11.1")
def test_others_are_held_to_the_modes(new_mount: NewMount):
    """With --allow-other another user reads what the modes let him read, and changes nothing."""
    made = new_mount("others", "--allow-other")
    (made.path / "shown to others").write_text("content")

    assert is_granted(made, "cat", "mnt/shown to others", user=OTHER)
    assert not is_granted(made, "cp", "/dev/null", "mnt/shown to others", user=OTHER)
    assert not is_granted(made, "touch", "mnt/new of others", user=OTHER)
    assert not is_granted(made, "rm", "-f", "mnt/shown to others", user=OTHER)
    assert (made.path / "shown to others").read_text() == "content"


@by_root
@pytest.mark.semantics("S11.6")
@pytest.mark.parametrize("who", LESSER_ROOTS)
def test_a_lesser_root(new_mount: NewMount, who: str):
    """Root without capabilities, or with another's identity for files, is stopped by modes only."""
    for permissions, granted in (("checked", False), ("unchecked", True)):
        made = new_mount("others", "--permissions", permissions, *MODES)
        (made.path / "new").unlink(missing_ok=True)

        assert is_granted(made, *LESSER_ROOTS[who]) == granted
        assert (made.path / "new").exists() == granted
        made.umount()


@pytest.mark.semantics("S11.6")
def test_what_cannot_be_run(new_mount: NewMount):
    """Unchecked, access(2) says yes to everything; a file without execute bits is not run."""
    made = new_mount("others", "--permissions", "unchecked", "--file-mode", "0644")
    script = made.path / "script"
    script.write_text("#!/bin/sh\n")

    assert os.access(script, os.X_OK)
    with pytest.raises(PermissionError):
        subprocess.run([script], check=False)
