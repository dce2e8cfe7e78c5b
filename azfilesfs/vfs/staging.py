"""The staging area: dirty bytes of a mount, on local disk, until the service has them.

Owned by the filesystem, one area a mount. All methods are synchronous and quick, and change state
in one step: no lock is needed between tasks. Layout, journal and guarantees:
docs/internals/staging.md.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azfilesfs.model.paths import SharePath
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import kept
from azfilesfs.vfs.disk import Descriptors, boot_id, owned
from azfilesfs.vfs.journal import FileState, Origin
from azfilesfs.vfs.kept import KeptRecord, Layout
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging_directory import StagingDirectories

_log = logging.getLogger(__name__)

_ENDED: Final = "the mount ended before it was sent"


class StagingArea:
    """The staged files of one mount and the room that they may take. Made by ``open``.

    Attributes:
        used_bytes: dirty bytes of all live files; kept records do not count.
        limit_bytes: what ``used_bytes`` may reach.
        layout: the directories.
        descriptors: the open files below them.
        directories: where live files get theirs from.
        acknowledged: files whose close was answered before they were sent, the oldest first, and
            when (``time.monotonic``).
    """

    def __init__(self, layout: Layout, limit_bytes: int, share: str) -> None:
        """Begin empty; the caller owns the directories."""
        self.layout = layout
        self.limit_bytes = limit_bytes
        self.descriptors = Descriptors()
        self.directories = StagingDirectories(layout, self.descriptors)
        self.used_bytes = 0
        self.acknowledged: dict[StagedFile, float] = {}
        self._share = share
        self._live: set[StagedFile] = set()
        self._host = socket.gethostname()

    @classmethod
    @contextmanager
    def open(cls, directory: Path, limit_bytes: int, *, share: str) -> Iterator[StagingArea]:
        """Own the area below a mount's state directory while the block runs.

        Leftovers of a dead owner become kept records first. At the end unsent files become kept
        records, the others are removed.

        Args:
            directory: the mount's state directory, which exists.
            limit_bytes: room for dirty bytes.
            share: ``account/share``, written into records.

        Raises:
            StagingInUse: another live process owns the area.
            UnsafeDirectory: a directory is a link, of another owner or open to others.
            OSError: the disk refused.
        """
        layout = Layout(directory)
        layout.prepare()
        with owned(layout.lock):
            leftovers = kept.adopt_leftovers(layout)
            if leftovers:
                _log.warning(
                    "an earlier process left %d unsent file(s); see 'azfilesfs recover list'",
                    len(leftovers),
                )
            area = cls(layout, limit_bytes, share)
            try:
                yield area
            finally:
                area._close()

    def _close(self) -> None:
        for file in list(self._live):
            if not file.is_unsent:
                file.discard()
                continue
            try:
                file.keep(_ENDED, given_up=False)
            except OSError as error:
                # It stays where it is, and the next owner of the area makes a record of it.
                _log.warning("could not keep the staged file %s: %s", file.id, error)
        self.directories.close()
        self.descriptors.close_all()

    def create(self, path: SharePath, base: Validator | None, base_size: int) -> StagedFile:
        """Begin to stage a file of ``base_size`` bytes; base None: it is not on the service yet.

        Raises:
            OSError: the disk refused; nothing is left.
        """
        origin = Origin(self._share, self._host, os.getpid(), boot_id(), time.time_ns())
        state = FileState(origin, path, base, base_size, base_size)
        directory = self.directories.take()
        try:
            file = StagedFile(self, directory, state)
        except OSError:
            self.directories.give_back(directory, None)
            raise
        self._live.add(file)
        return file

    def kept(self) -> list[KeptRecord]:
        """Read the kept records of this area, oldest first."""
        return kept.load_all(self.layout)

    def check_room(self, count: int) -> None:
        """Check that ``count`` more dirty bytes fit.

        Raises:
            OSError: ENOSPC: they do not.
        """
        if self.used_bytes + count > self.limit_bytes:
            raise OSError(errno.ENOSPC, "the staging area is full")

    def forget(self, file: StagedFile) -> None:
        """Take a file that ends off the list of the live ones."""
        self._live.discard(file)
        self.acknowledged.pop(file, None)

    def __len__(self) -> int:
        return len(self._live)
