"""Our own directory in the share, ``/.azfilesfs``.

Temp files for exclusive creation, and parked files that are still open.

It is made on first need, with the Hidden attribute; a mount that only reads never makes it. Names
carry the session's id, so that the next mount with the same state directory can sweep what a crash
left behind.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import trio

from azfilesfs.client import ShareClient
from azfilesfs.errors import (
    AzureFilesError,
    DirectoryNotFound,
    FileAlreadyExists,
    FileNotFound,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.vfs.types import PRIVATE_DIRECTORY

_ROOT = SharePath((PRIVATE_DIRECTORY,))
_TEMPORARY = _ROOT.child("tmp")
_DELETED = _ROOT.child("deleted")
_SPARE_FILES = 2
_MISSING = (FileNotFound, DirectoryNotFound, ParentNotFound, ResourceTypeMismatch)
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class PrivateDirectory:
    """Makes unique paths below ``/.azfilesfs`` and keeps a few empty temp files ready.

    Cancellation may leave an unused temp file; ``sweep`` removes those of a session.
    """

    def __init__(self, share: ShareClient, record: Path) -> None:
        """``record`` is a local file that lists the sessions whose leftovers are not swept yet."""
        self._share = share
        self._record = record
        self._session = uuid.uuid4().hex
        self._counter = itertools.count()
        self._made: set[SharePath] = set()
        self._making = trio.Lock()
        self._spare: list[tuple[SharePath, Properties]] = []

    async def parking_place(self) -> SharePath:
        """Return a new path for a file whose name goes away while it is open."""
        await self._ensure(_DELETED)
        return _DELETED.child(self._unique())

    async def empty_file(self) -> tuple[SharePath, Properties]:
        """Return an empty temp file that is the caller's to rename or delete."""
        if self._spare:
            return self._spare.pop()
        await self._ensure(_TEMPORARY)
        path = _TEMPORARY.child(self._unique())
        return path, await self._share.create_file(path)

    def give_back(self, path: SharePath, properties: Properties) -> None:
        """Return a temp file that was not used after all; it must still be empty."""
        self._spare.append((path, properties))

    async def attempt(self, use: Callable[[], Awaitable[_T]]) -> _T:
        """Run what uses a path of ours; once more, with all made anew, where it met nothing: our
        directory may have been removed by other hands.
        """
        try:
            return await use()
        except (FileNotFound, ParentNotFound):
            self._made.clear()
            self._spare.clear()
            return await use()

    async def restock(self) -> None:
        """Make temp files ahead, so that the next exclusive creation waits for one request only."""
        while len(self._spare) < _SPARE_FILES:
            await self._ensure(_TEMPORARY)
            path = _TEMPORARY.child(self._unique())
            self._spare.append((path, await self._share.create_file(path)))

    async def sweep(self, *, earlier_only: bool = False) -> None:
        """Remove what this session and earlier ones of this mount left behind.

        With ``earlier_only`` this session's own files stay. Failures are logged.
        """
        recorded = self._sessions()
        sessions = [one for one in recorded if not earlier_only or one != self._session]
        if not sessions:
            return
        if not earlier_only:
            self._spare.clear()
        try:
            for directory in (_TEMPORARY, _DELETED):
                await self._sweep_directory(directory, sessions)
        except AzureFilesError as error:
            _LOG.info("leftovers in %s are swept later: %s", _ROOT, error)
            return
        async with self._making:
            await trio.to_thread.run_sync(self._forget_sessions, sessions)
            if not earlier_only:
                self._made.clear()

    async def _sweep_directory(self, directory: SharePath, sessions: Iterable[str]) -> None:
        try:
            for session in sessions:
                marker, is_last = None, False
                while not is_last:
                    page = await self._share.list_page(directory, marker=marker, prefix=session)
                    for listed in page.entries:
                        if not listed.properties.is_directory:
                            await self._remove(directory.child(listed.name))
                    marker, is_last = page.next_marker, page.next_marker is None
        except _MISSING:
            return

    async def _remove(self, path: SharePath) -> None:
        try:
            await self._share.delete_file(path)
        except _MISSING:
            return

    def _unique(self) -> str:
        return f"{self._session}.{next(self._counter)}"

    def _sessions(self) -> list[str]:
        try:
            return self._record.read_text("ascii").split()
        except (FileNotFoundError, UnicodeDecodeError):
            return []

    async def _ensure(self, directory: SharePath) -> None:
        """Make a directory of ours, noting this session first so that a crash cannot hide its
        files.
        """
        if directory in self._made:
            return
        async with self._making:
            if directory in self._made:
                return
            await trio.to_thread.run_sync(self._note_session)
            for path in (_ROOT, directory):
                try:
                    await self._share.create_directory(path, attributes=FileAttributes.HIDDEN)
                except FileAlreadyExists:
                    continue
            self._made.add(directory)

    def _forget_sessions(self, swept: list[str]) -> None:
        left = [session for session in self._sessions() if session not in swept]
        if left:
            self._record.write_text("\n".join(left) + "\n", "ascii")
        else:
            self._record.unlink(missing_ok=True)

    def _note_session(self) -> None:
        sessions = self._sessions()
        if self._session not in sessions:
            self._record.write_text("\n".join([*sessions, self._session]) + "\n", "ascii")
