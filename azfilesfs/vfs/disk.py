"""The local disk under the staging area: private directories, whole writes, holes, a lock.

Everything is synchronous and quick; nothing here knows what the bytes mean. Files are opened
without following a link at the last component, below directories that only their owner can change.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from azfilesfs.errors import ConfigurationError

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
_SAFE_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW
# Below the soft limit of 1,024 descriptors that most systems start with, two a file, and far above
# what is written at once.
_OPEN_DESCRIPTORS: Final = 256
# A short-lived `recover` holds the lock for milliseconds; a mount that starts meanwhile waits
# rather than fails.
_LOCK_PATIENCE: Final = 1.0
_LOCK_POLL: Final = 0.02
_PUNCH_HOLE_KEEP_SIZE: Final = 0x02 | 0x01  # fallocate(2)


class StagingInUse(ConfigurationError):
    """Another live process owns the staging area."""


class UnsafeDirectory(ConfigurationError):
    """A directory for unsent bytes is a link, belongs to another user or is open to others."""


def private_directory(path: Path) -> None:
    """Make a directory of mode 0700, or check that an existing one is ours and closed to others.

    Raises:
        UnsafeDirectory: it is a symbolic link or no directory, of another owner, or accessible to
            others.
        OSError: it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(PRIVATE_DIRECTORY)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise UnsafeDirectory(f"{path} is not a directory")
    if facts.st_uid != os.geteuid():
        raise UnsafeDirectory(f"{path} belongs to user {facts.st_uid}, not to this one")
    if facts.st_mode & 0o077:
        raise UnsafeDirectory(f"{path} is open to other users; its mode must be 0700")


def write_private(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Create or replace a private file as a whole: the old or the new content is there at any time.

    ``durable`` waits until the disk has it, which may take some milliseconds.

    Raises:
        OSError: the disk refused; the old content stays.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _SAFE_OPEN, PRIVATE_FILE)
    try:
        write_whole(descriptor, memoryview(content), 0)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
    if durable:
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Wait until the disk has a file or a directory; may take many milliseconds.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY | _SAFE_OPEN)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``.

    Raises:
        OSError: the disk refused; any leading part may have been written.
    """
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        count = os.pwrite(descriptor, data[done:], offset + done)
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done += count


def read_whole(descriptor: int, start: int, stop: int) -> bytes:
    """Read ``[start, stop)``; bytes past the end of the file are zeros."""
    data = os.pread(descriptor, stop - start, start)
    if len(data) == stop - start:
        return data
    pieces = [data]
    position = start + len(data)
    while data and position < stop:
        data = os.pread(descriptor, stop - position, position)
        pieces.append(data)
        position += len(data)
    pieces.append(bytes(stop - position))
    return b"".join(pieces)


def read_whole_into(descriptor: int, start: int, buffer: memoryview) -> None:
    """Fill a buffer from ``start`` on; bytes past the end of the file are zeros."""
    done = os.preadv(descriptor, [buffer], start)
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], start + done)
        if count == 0:
            buffer[done:] = bytes(len(buffer) - done)
            return
        done += count


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def punch_hole(descriptor: int, start: int, stop: int) -> bool:
    """Free the disk space of a range, which reads as zeros then; False where that is impossible."""
    fallocate = getattr(_libc(), "fallocate64", None) or getattr(_libc(), "fallocate", None)
    if fallocate is None:
        return False
    offset, length = ctypes.c_int64(start), ctypes.c_int64(stop - start)
    return bool(fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, offset, length) == 0)


@cache
def boot_id() -> str:
    """Return what names this start of the machine, empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@contextmanager
def owned(lock: Path, patience: float = _LOCK_PATIENCE) -> Iterator[None]:
    """Be the one live owner of an area while the block runs; a dead process owns nothing.

    Raises:
        StagingInUse: another process owns it and did not let go within ``patience`` seconds.
        OSError: the lock file cannot be opened.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _SAFE_OPEN, PRIVATE_FILE)
    try:
        _take(descriptor, lock, patience)
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner, 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, lock: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StagingInUse(f"{lock.parent} is in use by {_holder(descriptor)}") from None
            time.sleep(_LOCK_POLL)
        else:
            return


def _holder(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


class Descriptors:
    """Descriptors of private files: opened on demand, the least used closed when there are many."""

    def __init__(self, capacity: int = _OPEN_DESCRIPTORS) -> None:
        """Keep at most ``capacity`` descriptors open."""
        self._capacity = capacity
        self._open: OrderedDict[str, int] = OrderedDict()

    def get(self, path: str, flags: int) -> int:
        """Return a descriptor of the file; ``flags`` must be the same at each call for one path.

        It is good until the next call of any method: use it at once.

        Raises:
            OSError: the file cannot be opened.
        """
        descriptor = self._open.get(path)
        if descriptor is not None:
            self._open.move_to_end(path)
            return descriptor
        while len(self._open) >= self._capacity:
            os.close(self._open.popitem(last=False)[1])
        descriptor = os.open(path, flags | _SAFE_OPEN, PRIVATE_FILE)
        self._open[path] = descriptor
        return descriptor

    def close(self, path: str) -> None:
        """Close the file's descriptor if there is one."""
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def close_all(self) -> None:
        """Close every descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __len__(self) -> int:
        return len(self._open)
