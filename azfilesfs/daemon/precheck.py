"""What can be told before anything starts: is there FUSE, and can something be mounted there."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.fuse.detach import detach
from azfilesfs.fuse.mountinfo import Mount, mount_at

_DEVICE: Final = Path("/dev/fuse")
_FUSE_CONF: Final = Path("/etc/fuse.conf")
_ANSWER_SECONDS: Final = 5.0
_DEAD: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


def check_fuse(*, allow_other: bool) -> None:
    """Check that this user can mount FUSE filesystems here.

    Raises:
        CommandFailed: something is missing; the message names it.
    """
    if shutil.which("fusermount3") is None:
        raise _unavailable("fusermount3 is not installed (Debian and Ubuntu: apt install fuse3)")
    if not _DEVICE.exists():
        raise _unavailable("/dev/fuse does not exist; in a container it must be passed in")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise _unavailable("/dev/fuse may not be opened by this user")
    if allow_other and os.getuid() != 0 and not _others_allowed():
        raise _unavailable("--allow-other needs a line user_allow_other in /etc/fuse.conf")


def _unavailable(message: str) -> CommandFailed:
    return CommandFailed(ExitCode.FUSE_UNAVAILABLE, message)


def _others_allowed() -> bool:
    try:
        lines = _FUSE_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return "user_allow_other" in (line.strip() for line in lines)


def check_mountpoint(mountpoint: Path) -> None:
    """Check that a mountpoint is free and empty; a dead mount of ours is detached first.

    Raises:
        CommandFailed: it cannot be mounted on; the message says why.
    """
    if (covering := mount_at(mountpoint)) is not None:
        _check_covering(mountpoint, covering)
    try:
        names = os.listdir(mountpoint)
    except FileNotFoundError:
        raise _unusable(f"the mountpoint {mountpoint} does not exist") from None
    except NotADirectoryError:
        raise _unusable(f"the mountpoint {mountpoint} is not a directory") from None
    except OSError as error:
        reason = error.strerror
        raise _unusable(f"the mountpoint {mountpoint} cannot be used: {reason}") from None
    if names:
        raise CommandFailed(
            ExitCode.MOUNTPOINT_NOT_EMPTY, f"the mountpoint {mountpoint} is not empty"
        )


def _unusable(message: str) -> CommandFailed:
    return CommandFailed(ExitCode.MOUNTPOINT_UNUSABLE, message)


def _check_covering(mountpoint: Path, covering: Mount) -> None:
    if not covering.kind.startswith("fuse"):
        return  # an empty directory that happens to be the root of another filesystem
    if not (covering.is_ours and is_dead(mountpoint)):
        raise CommandFailed(
            ExitCode.MOUNTPOINT_IN_USE,
            f"the mountpoint {mountpoint} is in use: {covering.source} is mounted there",
        )
    if not detach(mountpoint):
        raise CommandFailed(
            ExitCode.MOUNTPOINT_IN_USE,
            f"the dead mount on {mountpoint} could not be detached: fusermount3 -u failed",
        )


def is_dead(mountpoint: Path) -> bool:
    """Tell whether a mount has lost its process; one that does not answer is not dead."""
    outcome: list[int] = []

    def ask() -> None:
        try:
            # Not stat: for a while the kernel answers that itself.
            os.close(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            outcome.append(error.errno or 0)

    # A mount whose process hangs would hold us up for as long as it hangs.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return bool(outcome) and outcome[0] in _DEAD
