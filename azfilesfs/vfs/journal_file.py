"""The journal file of one live staged file: whole records or nothing, compacted as it grows."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from azfilesfs.vfs.disk import Descriptors, sync_path, write_private
from azfilesfs.vfs.journal import EXTENT_RECORD_BYTES, FileState
from azfilesfs.vfs.staging_directory import JOURNAL_FLAGS, StagingDirectory

# Rewriting costs about 0.2 ms; at this length, and then at each doubling over what is needed, that
# is nothing per record.
_COMPACT_BYTES: Final = 64 * 1024
_COMPACT_FACTOR: Final = 4


class Journal:
    """The journal file of one live staged file. Appends whole records or nothing.

    The caller appends a record first and changes the state after it, so that the journal is never
    behind.
    """

    __slots__ = (
        "_descriptors", "_directory", "_is_behind", "_length", "_next_compaction", "_state",
    )  # fmt: skip

    def __init__(
        self, directory: StagingDirectory, descriptors: Descriptors, state: FileState
    ) -> None:
        """Stand for the journal of ``state``, in a directory that no file uses."""
        self._directory = directory
        self._descriptors = descriptors
        self._state = state
        self._length = directory.journal_bytes
        self._next_compaction = self._length + _COMPACT_BYTES
        self._is_behind = False

    @property
    def length(self) -> int:
        """Bytes of the whole records, those of earlier files in the same directory among them."""
        return self._length

    @property
    def is_behind(self) -> bool:
        """Whether the file says less than the state."""
        return self._is_behind

    def append(self, record: bytes) -> None:
        """Append one record with one ``write(2)``.

        Raises:
            OSError: the disk refused; the journal is as before.
        """
        if self._is_behind:
            self.rewrite()
        elif self._length >= self._next_compaction and self._state.acknowledged is None:
            self._compact()
        descriptor = self._descriptors.get(self._directory.journal, JOURNAL_FLAGS)
        written = os.write(descriptor, record)
        if written != len(record):
            # Whatever came next would stand behind a torn record and be lost with it.
            os.ftruncate(descriptor, self._length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._length += written

    def note(self, record: bytes) -> bool:
        """Append a record of what has happened anyway; False: the next append catches up."""
        try:
            self.append(record)
        except OSError:
            self._is_behind = True
            return False
        return True

    def catch_up(self) -> None:
        """Have the journal say what the state says, now or before the next record."""
        self._is_behind = True
        with suppress(OSError):
            self.rewrite()

    def _compact(self) -> None:
        # A disk too full for the shorter journal only puts compaction off.
        with suppress(OSError):
            self.rewrite()
        needed = len(self._state.dirty) * EXTENT_RECORD_BYTES
        self._next_compaction = max(_COMPACT_BYTES, self._length * 2, needed * _COMPACT_FACTOR)

    def rewrite(self) -> None:
        """Replace the journal by the shortest one that rebuilds the state, atomically.

        Raises:
            OSError: the disk refused; the journal is as before.
        """
        content = b"".join(self._state.records())
        path, data = Path(self._directory.journal), Path(self._directory.data)
        is_promised = self._state.acknowledged is not None
        if is_promised and data.exists():
            # The old journal may hold the bytes itself.
            sync_path(data)
        self._directory.is_durable &= is_promised
        write_private(path, content, durable=is_promised)
        self._descriptors.close(self._directory.journal)
        self._length = len(content)
        self._is_behind = False
