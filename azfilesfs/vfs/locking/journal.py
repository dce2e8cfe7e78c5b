"""The file of the held-lease journal: appended and synced before the request that a record is for.

One line a record (``vfs/locks/journal.py``). It is rewritten when it was read, so it does not grow
over the years. A disk that refuses makes the lock fail, not the mount.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio

from azfilesfs.vfs.locks.journal import (
    HeldLease,
    Record,
    Started,
    Taken,
    decode,
    encode,
    replay,
)

_COMPACT_BYTES: Final = 256 * 1024
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class LockJournal:
    """The journal of one mount; whoever holds the lock of the state directory owns it.

    One task appends at a time; a cancellation leaves the records written, or not written and still
    the caller's.
    """

    def __init__(self, path: Path) -> None:
        """Stand on a file that need not exist."""
        self._path = path
        self._writing = trio.Lock()
        self._records: list[Record] = []
        self._written = 0

    def read(self) -> dict[str, tuple[HeldLease, ...]]:
        """Return the sessions that earlier processes left, each with the leases it may have left.

        Blocks; for the start.
        """
        try:
            data = self._path.read_bytes()
        except OSError:
            return {}
        left = replay(decode(data))
        self._records = [record for session, held in left.items() for record in _of(session, held)]
        self._written = len(data)
        return left

    async def append(self, records: Iterable[Record]) -> None:
        """Bring records to the disk.

        Raises:
            OSError: the disk refused; nothing may be sent then that the records are about.
        """
        added = list(records)
        if not added:
            return
        async with self._writing:
            await trio.to_thread.run_sync(self._append, added)

    def _append(self, added: list[Record]) -> None:
        self._records.extend(added)
        if self._written > _COMPACT_BYTES:
            self._compact()
            return
        data = b"".join(encode(record) for record in added)
        descriptor = os.open(self._path, _FLAGS, 0o600)
        try:
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._written += len(data)

    def _compact(self) -> None:
        """Write only what still counts, beside the old file, and put it in its place."""
        left = replay(self._records)
        self._records = [record for session, held in left.items() for record in _of(session, held)]
        data = b"".join(encode(record) for record in self._records)
        fresh = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(fresh, _FLAGS | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, self._path)
        self._written = len(data)


def _of(session: str, held: tuple[HeldLease, ...]) -> list[Record]:
    taken = [Taken(session, one.path, one.file_id, one.number) for one in held]
    return [Started(session), *taken]
