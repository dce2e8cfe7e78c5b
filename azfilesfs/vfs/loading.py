"""Listings under way: a directory is listed once at a time, by a task of its own.

Whoever wants the names waits for pages, not for the whole; a program that reads a large directory
sees its first entries while the others are still arriving. A caller that is cancelled leaves the
listing to the others.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from azfilesfs.client import Priority, prioritised
from azfilesfs.errors import (
    AzureFilesError,
    DirectoryNotFound,
    FileNotFound,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.listings import DirectoryLoad, DirectoryView

MISSING = (FileNotFound, DirectoryNotFound, ParentNotFound, ResourceTypeMismatch)
_LOG = logging.getLogger(__name__)


class DirectoryLoader:
    """Starts listings, and finds those under way.

    ``on_missing`` is called with a directory that is not there any more.
    """

    def __init__(self, context: Context, on_missing: Callable[[Inode], None]) -> None:
        self._context = context
        self._on_missing = on_missing
        self._loads: dict[Inode, DirectoryLoad] = {}

    def under_way(self, directory: Inode) -> DirectoryLoad | None:
        """Return the listing of a directory that is under way, None where there is none."""
        return self._loads.get(directory)

    def start(self, directory: Inode, *, whole: bool, is_wanted: bool = True) -> DirectoryLoad:
        """Return the listing of a directory that is under way, or a new one."""
        load = self._loads.get(directory)
        if load is None:
            priority = Priority.FOREGROUND if is_wanted else Priority.READAHEAD
            load = DirectoryLoad(self._context.now(), whole=whole, priority=priority)
            self._loads[directory] = load
            self._context.nursery.start_soon(self._run, directory, load)
        if is_wanted:
            load.want()
        load.whole = load.whole or whole
        return load

    async def _run(self, directory: Inode, load: DirectoryLoad) -> None:
        load.error = _unfinished()
        try:
            with (
                prioritised(load.priority) as load.urgency,
                self._context.inodes.held(directory),
                self._context.tree.listings.loading(directory) as view,
            ):
                view.load = load
                try:
                    await self._list(directory, load, view)
                finally:
                    view.load = None
                load.own = dict(view.own)
            load.error = None
        except (AzureFilesError, VfsError) as error:
            load.error = error
        except Exception as error:  # noqa: BLE001  # a task of its own must not end the filesystem
            _LOG.warning("listing %r failed: %r", directory, error)
            load.error = _unfinished()
        finally:
            del self._loads[directory]
            load.ended = True
            load.tell()

    async def _list(self, directory: Inode, load: DirectoryLoad, view: DirectoryView) -> None:
        marker: str | None = None
        while load.whole or not load.pages:
            try:
                async with self._context.gate.path(directory) as path:
                    page = await self._context.share.list_page(path, marker=marker)
            except MISSING:
                self._on_missing(directory)
                raise
            load.add(page.entries, self._context.now())
            marker = page.next_marker
            if marker is None:
                load.is_complete = True
                self._context.tree.listings.take_over(directory, view, load)
                return
            view.pages = max(view.pages, load.pages + 1)


def _unfinished() -> VfsError:
    return VfsError(errno.EIO, "the listing was not finished", logging.WARNING)
