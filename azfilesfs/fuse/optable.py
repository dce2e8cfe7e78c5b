"""The seam to optable.c: operations that pyfuse3 does not offer, added to its operation table.

pyfuse3 registers no handlers for locks, fallocate, lseek and copy_file_range, so the kernel never
asks for them. The shared object interposes ``fuse_session_new``: loaded into the global scope
before pyfuse3, its function is the one that pyfuse3 finds. This is therefore the one module of the
package that must be imported, and ``load`` called, before pyfuse3 is; it imports nothing that does.

All of it belongs to the thread that runs trio. Python keeps the interpreter locked in calls, as
pyfuse3 does in its own: none of them waits.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from azfilesfs.fuse.requests import (
    AllocateRequest,
    AnyRequest,
    Closing,
    CopyRequest,
    FlockRequest,
    GetLockRequest,
    HeldLock,
    Interrupt,
    SeekRequest,
    SetLockRequest,
)

_NAME: Final = "azfilesfs.fuse._optable"
_INTERFACE: Final = 3
_REASON_BYTES: Final = 512
_LOCK_NB: Final = 4
_NO_FD: Final = -1

# From fuse_common.h; part of libfuse's interface, so they never change.
_CAP_POSIX_LOCKS: Final = 1 << 1
_CAP_FLOCK_LOCKS: Final = 1 << 10


class Unavailable(Exception):
    """The operation table cannot be completed here; the message is one line and says why."""


class Kind(enum.IntEnum):
    """The kinds of messages, as optable.c numbers them."""

    FLOCK = 1
    SETLK = 2
    GETLK = 3
    FALLOCATE = 4
    LSEEK = 5
    COPY_FILE_RANGE = 6
    INTERRUPT = 7
    FLUSH = 8
    RELEASE = 9


class _Record(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # the stubs' type is private to them
        ("token", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("handle", ctypes.c_uint64),
        ("owner", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("target_inode", ctypes.c_uint64),
        ("target_handle", ctypes.c_uint64),
        ("target_offset", ctypes.c_int64),
        ("kind", ctypes.c_uint32),
        ("flags", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("pid", ctypes.c_int32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
    ]


class OperationTable:
    """The table of the one session of this process; made by ``load``.

    ``register`` opens it before the session is made, ``stop`` closes it before the session is
    freed. Every request that ``take`` gave out is answered exactly once in between, or by ``stop``.
    """

    def __init__(self, library: ctypes.PyDLL) -> None:
        """Stand on the loaded object."""
        self._library = library
        self._wake_fd = _NO_FD
        self._taken: set[int] = set()
        self._sessions_before = 0

    @property
    def wake_fd(self) -> int:
        """The eventfd that is readable when ``take`` has something."""
        return self._wake_fd

    @property
    def is_interposed(self) -> bool:
        """Whether a session was made through the table since ``register``."""
        return bool(self._library.optable_sessions() > self._sessions_before)

    @property
    def has_flock(self) -> bool:
        """Whether the kernel, once it has spoken to us, sends us what flock(2) asks for."""
        return bool(self._library.optable_agreed() & _CAP_FLOCK_LOCKS)

    @property
    def has_posix_locks(self) -> bool:
        """Whether the kernel, once it has spoken to us, sends us the locks of fcntl(2)."""
        return bool(self._library.optable_agreed() & _CAP_POSIX_LOCKS)

    def allow_background(self, requests: int) -> None:
        """Let the kernel send so many background requests at once in the sessions to come.

        These are reads through the page cache, above all. The kernel's own limit is 12: so many
        reads that are not answered hold up the reads of all files. For a user without privileges
        the kernel lowers the number to its ``max_user_bgreq``.
        """
        self._library.optable_background(requests)

    def round_times(self, nanoseconds: int) -> None:
        """Have the kernel round its own times down to multiples, in the sessions to come.

        These are the times that it keeps itself where it collects writes.
        """
        self._library.optable_granularity(nanoseconds)

    def register(self, operations: Iterable[str]) -> None:
        """Choose what the next session has; names are those of ``Handlers``.

        Raises:
            RuntimeError: the table is open already.
        """
        if self._wake_fd != _NO_FD:
            raise RuntimeError("the operation table serves one session at a time")
        kinds = sum(1 << Kind[name.upper()] for name in operations)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._sessions_before = int(self._library.optable_sessions())
        self._library.optable_register(kinds, self._wake_fd)

    def stop(self, number: int = errno.ENOTCONN) -> int:
        """Answer all that is left with an errno and take no more; return how many there were."""
        if self._wake_fd == _NO_FD:
            return 0
        left = int(self._library.optable_stop(number))
        self._taken.clear()
        os.close(self._wake_fd)
        self._wake_fd = _NO_FD
        return left

    def take(self) -> Iterator[AnyRequest | Interrupt]:
        """Yield all that has arrived, an interrupt always after its request."""
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return
        record = _Record()
        while self._library.optable_take(ctypes.byref(record)):
            if record.kind != Kind.INTERRUPT:
                self._taken.add(record.token)
            yield _message(record)

    def closing(self, handle: int) -> Closing | None:
        """Return what is known of the flush or release that pyfuse3 has just begun to handle.

        To be called before the handler's first checkpoint. None if there is none, or of another
        handle.
        """
        record = _Record()
        if not self._library.optable_closing(ctypes.byref(record)) or record.handle != handle:
            return None
        is_release = record.kind == Kind.RELEASE
        return Closing(record.inode, handle, record.owner, is_release, bool(record.flags))

    def reply_error(self, token: int, number: int) -> int:
        """Answer with an errno, 0 for success; return 0, or the errno of the attempt to answer."""
        return -int(self._library.optable_reply_err(self._answered(token), number))

    def reply_lock(self, token: int, held: HeldLock) -> int:
        """Answer an F_GETLK; returns as ``reply_error``."""
        record = _Record(offset=held.start, length=held.length, type=held.type, pid=held.pid)
        return -int(self._library.optable_reply_lock(self._answered(token), ctypes.byref(record)))

    def reply_count(self, token: int, count: int) -> int:
        """Answer a number of bytes; returns as ``reply_error``."""
        return -int(self._library.optable_reply_write(self._answered(token), count))

    def reply_offset(self, token: int, offset: int) -> int:
        """Answer an offset; returns as ``reply_error``."""
        return -int(self._library.optable_reply_lseek(self._answered(token), offset))

    def _answered(self, token: int) -> int:
        # The token is an address: a wrong one would be the end of the process, not an exception.
        self._taken.remove(token)
        return token


def _message(record: _Record) -> AnyRequest | Interrupt:
    if record.kind == Kind.INTERRUPT:
        return Interrupt(record.token)
    common = {
        name: getattr(record, name)
        for name in ("token", "inode", "handle", "owner", "pid", "uid", "gid")
    }
    offset, length, flags = record.offset, record.length, record.flags
    match record.kind:
        case Kind.FLOCK:
            blocking = not flags & _LOCK_NB
            return FlockRequest(operation=flags & ~_LOCK_NB, blocking=blocking, **common)
        case Kind.SETLK:
            return SetLockRequest(
                type=record.type, start=offset, length=length, blocking=bool(flags), **common
            )
        case Kind.GETLK:
            return GetLockRequest(type=record.type, start=offset, length=length, **common)
        case Kind.FALLOCATE:
            return AllocateRequest(mode=flags, offset=offset, length=length, **common)
        case Kind.LSEEK:
            return SeekRequest(offset=offset, whence=flags, **common)
        case _:
            return CopyRequest(
                offset=offset,
                length=length,
                target_inode=record.target_inode,
                target_handle=record.target_handle,
                target_offset=record.target_offset,
                flags=flags,
                **common,
            )


def probe() -> str | None:
    """Say why the table cannot be completed here, in one line, or None; changes nothing."""
    try:
        _resolve(_open(_find(), ctypes.RTLD_LOCAL))
    except Unavailable as error:
        return str(error)
    if not _is_loaded() and "pyfuse3" in sys.modules:
        return "pyfuse3 was imported before the operation table was loaded"
    return None


@cache
def load() -> OperationTable:
    """Load the object; from then on it completes the table of every session that pyfuse3 makes.

    Again and again it returns the same table. A forked child inherits it.

    Raises:
        Unavailable: it was not built, does not fit libfuse or comes too late.
    """
    path = _find()
    _resolve(_open(path, ctypes.RTLD_LOCAL))
    if "pyfuse3" in sys.modules:
        raise Unavailable("pyfuse3 was imported before the operation table was loaded")
    return OperationTable(_open(path, ctypes.RTLD_GLOBAL))


def _is_loaded() -> bool:
    return load.cache_info().currsize > 0


def _find() -> Path:
    found = importlib.util.find_spec(_NAME)
    if found is None or found.origin is None:
        raise Unavailable("the operation table (azfilesfs/fuse/optable.c) was not built")
    return Path(found.origin)


def _open(path: Path, mode: int) -> ctypes.PyDLL:
    """Load the object; a second time with RTLD_GLOBAL lifts the same one into the global scope."""
    try:
        library = ctypes.PyDLL(os.fspath(path), mode=mode)
        library.optable_interface.restype = ctypes.c_uint32
        interface = library.optable_interface()
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the operation table does not load: {error}") from None
    if interface != _INTERFACE << 16 | ctypes.sizeof(_Record):
        raise Unavailable("the operation table was built from another version; install again")
    _declare(library)
    return library


def _declare(library: ctypes.PyDLL) -> None:
    token, record = ctypes.c_uint64, ctypes.POINTER(_Record)
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "resolve": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]),
        "sessions": (ctypes.c_uint, []),
        "agreed": (ctypes.c_uint64, []),
        "register": (None, [ctypes.c_uint32, ctypes.c_int]),
        "background": (None, [ctypes.c_uint]),
        "granularity": (None, [ctypes.c_uint]),
        "stop": (ctypes.c_uint, [ctypes.c_int]),
        "take": (ctypes.c_int, [record]),
        "closing": (ctypes.c_int, [record]),
        "reply_err": (ctypes.c_int, [token, ctypes.c_int]),
        "reply_lock": (ctypes.c_int, [token, record]),
        "reply_write": (ctypes.c_int, [token, ctypes.c_size_t]),
        "reply_lseek": (ctypes.c_int, [token, ctypes.c_int64]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"optable_{name}")
        function.restype = result
        function.argtypes = arguments


def _resolve(library: ctypes.PyDLL, libfuse: Path | None = None) -> None:
    """Find libfuse's constructors, in the library that is linked or in a given one.

    Raises:
        Unavailable: there is none that we know how to call.
    """
    reason = ctypes.create_string_buffer(_REASON_BYTES)
    name = None if libfuse is None else os.fsencode(libfuse)
    if library.optable_resolve(name, reason, _REASON_BYTES) != 0:
        raise Unavailable(reason.value.decode(errors="replace"))
