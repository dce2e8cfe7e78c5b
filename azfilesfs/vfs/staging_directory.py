"""Directories of live staged files, used again: making and removing one costs more than all that a
small file needs besides.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from azfilesfs.vfs import kept
from azfilesfs.vfs.disk import Descriptors

_log = logging.getLogger(__name__)

DATA_FLAGS: Final = os.O_RDWR | os.O_CREAT
JOURNAL_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_SPARE: Final = 64
"""Empty directories that wait for the next file, at most."""

_JOURNAL_BYTES: Final = 64 * 1024
"""How long the journals of some files after another get, before one is begun anew."""


class StagingDirectory:
    """The directory of one live file.

    Attributes:
        path: where it is.
        data, journal: its files, for ``Descriptors``; they exist from their first use on.
        is_durable: whether the disk is known to have the names of both files, so that syncing a
            file is enough to find it again after a power cut.
        journal_bytes: how long the journal is that the next file goes on with.
    """

    __slots__ = ("_is_complete", "data", "is_durable", "journal", "journal_bytes", "path")

    def __init__(self, path: Path) -> None:
        """Name the files of a directory."""
        self.path = path
        self.data = str(path / kept.DATA)
        self.journal = str(path / kept.JOURNAL)
        self.is_durable = False
        self.journal_bytes = 0
        self._is_complete = False

    def to_sync(self) -> tuple[Path, ...]:
        """Return what makes the journal durable; ``synced`` is to be called after it."""
        journal = Path(self.journal)
        if self.is_durable:
            return (journal,)
        self._is_complete = Path(self.data).exists()
        return (journal, self.path, self.path.parent)

    def synced(self) -> None:
        """Note that the disk has what ``to_sync`` told."""
        self.is_durable |= self._is_complete


class StagingDirectories:
    """The directories of one staging area: new ones, and those that have become empty."""

    def __init__(self, layout: kept.Layout, descriptors: Descriptors) -> None:
        """Begin without any; the caller owns the area."""
        self._layout = layout
        self._descriptors = descriptors
        self._spare: list[StagingDirectory] = []

    def take(self) -> StagingDirectory:
        """Return an empty directory.

        Raises:
            OSError: the disk refused.
        """
        if self._spare:
            return self._spare.pop()
        return StagingDirectory(self._layout.new_directory())

    def give_back(self, directory: StagingDirectory, journal_bytes: int | None) -> None:
        """Empty a directory that nobody uses any more, or remove it.

        ``journal_bytes`` is the length of a journal that says that nothing is unsent, None for any
        other: such a directory is removed. The next journal is appended to the old one, for its
        header makes all before it void; so an interruption at any point leaves nothing that looks
        like a file.
        """
        if journal_bytes is not None and len(self._spare) < _SPARE:
            directory.journal_bytes = journal_bytes
            try:
                self._empty(directory)
            except OSError as error:
                _log.debug("%s is not used again: %s", directory.path, error)
            else:
                self._spare.append(directory)
                return
        self._remove(directory)

    def _empty(self, directory: StagingDirectory) -> None:
        os.ftruncate(self._descriptors.get(directory.data, DATA_FLAGS), 0)
        if directory.journal_bytes > _JOURNAL_BYTES:
            os.ftruncate(self._descriptors.get(directory.journal, JOURNAL_FLAGS), 0)
            directory.journal_bytes = 0

    def close(self) -> None:
        """Remove the empty ones."""
        while self._spare:
            self._remove(self._spare.pop())

    def _remove(self, directory: StagingDirectory) -> None:
        self._descriptors.close(directory.data)
        self._descriptors.close(directory.journal)
        try:
            kept.remove(directory.path)
        except OSError as error:
            _log.warning("could not remove the staged file %s: %s", directory.path, error)
