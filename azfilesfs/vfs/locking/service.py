"""The requests of the lock protocol as operations of a share, and their answers as it wants them.

The one place that says what a failure means: refused for certain, failed for good, or nobody knows.
Nothing here passes the fence: these requests are what the fence rests on.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import trio

from azfilesfs import errors as e
from azfilesfs.client import ListPage, Priority, ShareClient, prioritised
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.vfs.locks.names import SESSIONS
from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Break,
    Change,
    Create,
    Delete,
    Done,
    Entry,
    Failed,
    Found,
    Head,
    List,
    Listed,
    Move,
    Probe,
    Refusal,
    Refused,
    Release,
    Request,
    Unanswered,
)
from azfilesfs.vfs.types import PRIVATE_DIRECTORY

_ROOT: Final = SharePath((PRIVATE_DIRECTORY,))
_MISSING: Final = (e.FileNotFound, e.DirectoryNotFound, e.ParentNotFound, e.ResourceTypeMismatch)
_UNKNOWN: Final = (e.NetworkError, e.ServerError)
_HOPELESS: Final = (e.AuthenticationError, e.ConfigurationError, e.ShareError)


class Reply(NamedTuple):
    """An answer, and the properties that a look at the locked file brought along."""

    answer: Answer
    properties: Properties | None = None


class LockService:
    """Sends the protocol's requests; one of them never begins a second attempt at a lease."""

    def __init__(self, share: ShareClient, about: Callable[[], Mapping[str, str]]) -> None:
        """Stand on a share without a fence.

        ``about`` returns the metadata that the session's file shall carry.
        """
        self._share = share
        self._about = about

    def is_in_doubt(self, lease_id: str) -> bool:
        """Tell whether a change that carried this id may still arrive at the service."""
        return self._share.is_in_doubt(lease_id)

    def forget_doubt(self, lease_id: str) -> None:
        """Drop what is remembered of an id that is not used again."""
        self._share.forget_doubt(lease_id)

    async def send(self, request: Request, path: SharePath | None, seconds: float) -> Reply:
        """Send a request and wait for its answer that long at most.

        Args:
            request: what the protocol asks for.
            path: where the locked file is at this moment, for requests about it.
            seconds: after this time it counts as unanswered: it may arrive later.

        A cancellation leaves the request on its way.
        """
        with trio.move_on_after(seconds), prioritised(Priority.URGENT):
            try:
                return await self._dispatch(request, path or SharePath.ROOT)
            except e.AzureFilesError as error:
                return Reply(_meaning(error))
        return Reply(Unanswered())

    async def send_by_text(self, request: Request, path: str, seconds: float) -> Reply:
        """Send a request about a file whose path was noted as text, ``a/b/c``."""
        return await self.send(request, SharePath(tuple(path.split("/"))), seconds)

    async def _dispatch(self, request: Request, path: SharePath) -> Reply:
        share = self._share
        match request:
            case Head():
                found = await share.get_file_properties(path, lease_id=request.lease_id)
                return Reply(_found(found), found)
            case Acquire():
                lease = await share.acquire_file_lease(path, request.lease_id, retry=False)
                return Reply(Done(lease.etag))
            case Change():
                lease = await share.change_file_lease(
                    path, request.lease_id, request.proposed_id, retry=False
                )
                return Reply(Done(lease.etag))
            case Release():
                await share.release_file_lease(path, request.lease_id)
            case Break():
                await share.break_file_lease(path)
            case _:
                return Reply(await self._private(request))
        return Reply(Done())

    async def _private(self, request: Create | Delete | Move | Probe | List) -> Answer:
        """Act on a file of the protocol's own."""
        share = self._share
        match request:
            case List():
                return await self._list(request)
            case Probe():
                return _found(await share.get_file_properties(_place(request)))
            case Delete():
                await share.delete_file(_place(request))
            case Create():
                await self._with_directory(request.directory, lambda: self._create(request))
            case Move():
                await self._with_directory(request.to_directory, lambda: self._move(request))
        return Done()

    async def _create(self, request: Create) -> None:
        await self._share.create_file(_place(request), metadata=self._metadata(request.directory))

    async def _move(self, request: Move) -> None:
        beats = request.directory == request.to_directory
        await self._share.rename_file(
            _place(request),
            _ROOT.child(request.to_directory).child(request.to_name),
            metadata=self._metadata(request.to_directory) if beats else None,
        )

    def _metadata(self, directory: str) -> Mapping[str, str] | None:
        return self._about() if directory == SESSIONS else None

    async def _with_directory(self, directory: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do something in a directory of ours; once more, where that is not there yet."""
        try:
            await act()
        except e.ParentNotFound:
            for path in (_ROOT, _ROOT.child(directory)):
                try:
                    await self._share.create_directory(path, attributes=FileAttributes.HIDDEN)
                except e.FileAlreadyExists:
                    continue
            await act()

    async def _list(self, request: List) -> Answer:
        entries: list[Entry] = []
        service_ns: int | None = None
        page: ListPage | None = None
        while page is None or page.next_marker is not None:
            marker = page.next_marker if page is not None else None
            try:
                page = await self._share.list_page(
                    _ROOT.child(request.directory), marker=marker, prefix=request.prefix or None
                )
            except _MISSING:
                break
            service_ns = page.service_time_ns if service_ns is None else service_ns
            entries.extend(
                Entry(listed.name, changed_ns(listed.properties)) for listed in page.entries
            )
        prefix = request.prefix.lower()
        kept = (one for one in entries if one.name.lower().startswith(prefix))
        return Listed(tuple(kept), service_ns or 0)


def changed_ns(properties: Properties) -> int:
    """Return when a private file was made or renamed, by the service's clock."""
    exact = properties.change_time_ns
    return exact if exact is not None else properties.last_modified_ns or 0


def _place(request: Create | Delete | Move | Probe) -> SharePath:
    return _ROOT.child(request.directory).child(request.name)


def _found(properties: Properties) -> Found:
    return Found(str(properties.file_id), properties.etag or "", properties.lease.is_leased)


def _meaning(error: e.AzureFilesError) -> Answer:
    """Say what a failure tells about the request's effect."""
    if error.may_have_been_applied or isinstance(error, _UNKNOWN):
        return Unanswered()
    if isinstance(error, _MISSING):
        return Refused(Refusal.MISSING)
    if isinstance(error, e.LeaseError):
        return Refused(_lease_refusal(error))
    if isinstance(error, e.FileAlreadyExists | e.FileLocked):
        return Refused(Refusal.CONFLICT)
    number = errno.EACCES if isinstance(error, _HOPELESS) else errno.EIO
    return Failed(number, str(error))


def _lease_refusal(error: e.LeaseError) -> Refusal:
    if error.status == 409:
        return Refusal.CONFLICT
    if isinstance(error, e.LeaseNotPresent | e.LeaseExpired):
        return Refusal.UNLEASED
    return Refusal.MISMATCH
