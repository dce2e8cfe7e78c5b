"""Taking mounts out of the tree with fusermount3(1), which may do it for every user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_SECONDS: Final = 30


def unmount(mountpoint: Path) -> bool:
    """Unmount if nothing uses it; blocks, and must be served meanwhile. Tell whether it worked."""
    return _fusermount(mountpoint)


def detach(mountpoint: Path) -> bool:
    """Take a mount out of the tree, whatever still uses it; blocks. Tell whether it worked."""
    return _fusermount(mountpoint, "-z")


def _fusermount(mountpoint: Path, *flags: str) -> bool:
    command = ["fusermount3", "-u", "-q", *flags, "--", os.fspath(mountpoint)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
