"""The directories of one mount: its own below the common ones, locked while it runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.config.exit_codes import CommandFailed, ExitCode

_PRIVATE: Final = 0o700
_LOCK: Final = "lock"
_MOUNTS: Final = "mounts"


@dataclass(frozen=True, slots=True)
class MountDirectories:
    """Both exist, with mode 0700, and no other mount uses them.

    Attributes:
        cache: may be deleted while the mount does not run.
        state: holds unsent data.
    """

    cache: Path
    state: Path


def state_directories(state_root: Path) -> list[Path]:
    """Return the state directories of all mounts that ever were."""
    with suppress(OSError):
        return sorted(path for path in (state_root / _MOUNTS).iterdir() if path.is_dir())
    return []


def state_directory(state_root: Path, identity: str) -> Path:
    """Return where the state of one mount is."""
    return state_root / _MOUNTS / identity


@contextmanager
def owned(cache_root: Path, state_root: Path, identity: str) -> Iterator[MountDirectories]:
    """Make the directories of a mount and keep every other mount out of them.

    Raises:
        CommandFailed: they cannot be made, are not private, or another mount has them.
    """
    directories = MountDirectories(
        cache_root / _MOUNTS / identity, state_directory(state_root, identity)
    )
    with _locked(directories.cache), _locked(directories.state):
        yield directories


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        os.chmod(directory, _PRIVATE)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(
            ExitCode.FAILED, f"the directory {directory} cannot be used: {error.strerror}"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandFailed(
                ExitCode.MOUNTPOINT_IN_USE,
                f"another azfilesfs for this mountpoint is running: it has locked {directory}",
            ) from None
        yield
    finally:
        os.close(descriptor)
