"""Closes that are answered before their upload has ended (``--close=async``), within a bound.

A close is answered once the local disk has the bytes and a record of the promise; the upload has
begun by then. Where too much is behind, or for too long, or where the last upload of the file
failed, the close waits for the service as without the option.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from azfilesfs.model.limits import GIB
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.disk import sync_path
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.journal import Acknowledgement
from azfilesfs.vfs.types import CloseMode

BEHIND_FILES: Final = 256
"""Files whose close was answered before they were sent, at most."""

BEHIND_BYTES: Final = GIB
"""Their unsent bytes, at most; half of the staging area where that is less."""

BEHIND_SECONDS: Final = 10.0
"""How long the oldest of them may have waited."""

_LOG = logging.getLogger(__name__)


class Uploads(Protocol):
    """What starts uploads and waits for them."""

    def start(self, inode: Inode) -> None:
        """Start an upload that nobody waits for."""

    async def flush(self, inode: Inode) -> None:
        """Wait until everything that is dirty now is on the service; VfsError where it is not."""


class WriteBehind:
    """Decides which closes wait for the service, and makes the promise for those that do not."""

    def __init__(self, context: Context, flusher: Uploads) -> None:
        self._context = context
        self._flusher = flusher

    async def close(self, inode: Inode) -> None:
        """Answer a close: the bytes are on the service, or safely on their way to it.

        Raises:
            VfsError: why they are neither.
        """
        dirty = inode.dirty
        if dirty is None or not inode.is_named or not self._may_be_behind(dirty):
            await self._flusher.flush(inode)
            return
        self._flusher.start(inode)
        if not await self._is_promised(inode, dirty):
            await self._flusher.flush(inode)

    def _may_be_behind(self, dirty: DirtyFile) -> bool:
        options, area = self._context.options, self._context.staging
        if options.close is not CloseMode.ASYNC or dirty.error is not None or dirty.is_clean:
            return False
        others = [file for file in area.acknowledged if file is not dirty.staged]
        count = dirty.staged.dirty.total + sum(file.dirty.total for file in others)
        oldest = next(iter(area.acknowledged.values()), time.monotonic())
        return (
            len(others) < BEHIND_FILES
            and count <= min(BEHIND_BYTES, area.limit_bytes // 2)
            and time.monotonic() - oldest < BEHIND_SECONDS
        )

    async def _is_promised(self, inode: Inode, dirty: DirtyFile) -> bool:
        """Bring the bytes and the promise to the local disk; True as well where the upload of all
        of them was faster.
        """
        staged = dirty.staged
        changes = staged.changes
        try:
            await _synced(staged.data_to_sync())
            if inode.dirty is not dirty:
                return True
            if staged.changes != changes:
                return False  # somebody goes on writing: what is on the disk is not what is dirty
            staged.acknowledge(Acknowledgement(dirty.mtime_ns, dirty.ctime_ns, dirty.base_write_ns))
            await _synced(staged.journal_to_sync())
            if inode.dirty is dirty:
                staged.journal_synced()
        except OSError as error:
            if inode.dirty is not dirty:
                return True  # it was sent meanwhile, and its files are gone
            _LOG.warning("a close waits for the service, the local disk failed: %s", error)
            return False
        return True


async def _synced(paths: Sequence[Path]) -> None:
    """Wait until the disk has all of these; at once, for it does them in one go."""
    if len(paths) == 1:
        await trio.to_thread.run_sync(sync_path, paths[0])
        return
    failures: list[OSError] = []

    async def sync(path: Path) -> None:
        try:
            await trio.to_thread.run_sync(sync_path, path)
        except OSError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(sync, path)
    if failures:
        raise failures[0]
