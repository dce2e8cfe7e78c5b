"""Files that several writers share: exclusive creation, conditional update, appending.

Specification 10.2. The service has no conditional requests. What is exclusive here rests on rename
without replace; what is guarded rests on a lease, which is infinite: a process that dies while it
holds one leaves the file leased until somebody breaks the lease (``break_file_lease``).
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from azfilesfs.client.jitter import jitter
from azfilesfs.client.requests import Buffer
from azfilesfs.client.responses import FileLease
from azfilesfs.client.service import ShareClient
from azfilesfs.errors import (
    AzureFilesError,
    ConditionNotMet,
    FileAlreadyExists,
    FileNotFound,
    LeaseAlreadyPresent,
    LeaseExpired,
    NetworkError,
    ParentNotFound,
    ServerError,
)
from azfilesfs.model.limits import INFINITE_LEASE, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator, has_create_with_data

_CLEANUP_SECONDS: Final = 10.0
_FIRST_WAIT_SECONDS: Final = 0.1
_LAST_WAIT_SECONDS: Final = 2.0


async def create_exclusively(share: ShareClient, path: SharePath, data: Buffer = b"") -> Properties:
    """Create a file with its content in one visible step, unless the name is taken.

    A temporary file beside it is written and then renamed without replace: of several that try, one
    succeeds, and nobody sees the file incomplete. A cancellation or a failure removes the temporary
    file where it still can; a crash leaves it (``.NAME.HEX.tmp``).

    Raises:
        FileAlreadyExists: the name is taken.
        ParentNotFound: its directory does not exist.
        AzureFilesError: with ``may_have_been_applied`` set, the file may be there all the same.
    """
    temporary = path.parent.child(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    size = memoryview(data).nbytes
    try:
        if size <= RANGE_BYTES and has_create_with_data(share.service_version):
            made = await share.create_file(temporary, size, data=data)
        else:
            made = await share.create_file(temporary, size)
            await _write(share, temporary, data, lease_id=None)
        renamed = await share.rename_file(temporary, path, expected_file_id=made.file_id)
    except BaseException:
        await _remove(share, temporary)
        raise
    return dataclasses.replace(renamed, size=size)


async def _remove(share: ShareClient, path: SharePath) -> None:
    with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
        try:
            await share.delete_file(path)
        except AzureFilesError:
            # The failure that led here is the one to report.
            return


@asynccontextmanager
async def held_lease(
    share: ShareClient, path: SharePath, *, wait_seconds: float = 30.0
) -> AsyncIterator[FileLease]:
    """Hold the lease on a file for the block, waiting for it as long as allowed.

    It is released at the end, also after a cancellation; a crash leaves it on the file.

    Raises:
        LeaseAlreadyPresent: another held it for all that time.
        FileNotFound: the file does not exist.
    """
    proposed = str(uuid.uuid4())
    try:
        lease = await _acquired(share, path, proposed, wait_seconds)
    except (LeaseAlreadyPresent, FileNotFound, ParentNotFound):
        raise
    except BaseException:
        # It may have been granted all the same.
        await _release(share, path, proposed)
        raise
    try:
        yield lease
    finally:
        await _release(share, path, proposed)


async def _acquired(
    share: ShareClient, path: SharePath, proposed_id: str, wait_seconds: float
) -> FileLease:
    deadline = trio.current_time() + wait_seconds
    delay = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await share.acquire_file_lease(path, proposed_id)
        except LeaseAlreadyPresent:
            pause = delay * jitter(0.5, 1)
            if trio.current_time() + pause > deadline:
                raise
        await trio.sleep(pause)
        delay = min(delay * 2, _LAST_WAIT_SECONDS)


async def _release(share: ShareClient, path: SharePath, lease_id: str) -> None:
    with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
        try:
            await share.release_file_lease(path, lease_id)
        except AzureFilesError:
            # Broken by another, or the file is gone: there is nothing left to release.
            return


@asynccontextmanager
async def held_share_lease(share: ShareClient, duration: int = 60) -> AsyncIterator[FileLease]:
    """Hold the lease on the share for the block, renewing it in time.

    Unlike a file's lease it ends by itself ``duration`` seconds after a crash. It is a mutex among
    those who take it; of the service's operations it blocks only those on the share itself. A
    renewal that does not succeed before the lease runs out cancels the block.

    Args:
        share: whose lease to hold.
        duration: 15 to 60 seconds.

    Raises:
        LeaseAlreadyPresent: another holds it.
        LeaseExpired: it was lost inside the block, which was cancelled.
        ValueError: the duration is out of range.
    """
    if duration == INFINITE_LEASE:
        raise ValueError("an infinite lease has nothing to renew")
    asked = trio.current_time()
    lease = await share.acquire_share_lease(duration)
    is_lost = False
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:

            async def keep() -> None:
                nonlocal is_lost
                is_lost = await _renew_until_lost(share, lease.lease_id, duration, asked)
                nursery.cancel_scope.cancel()

            nursery.start_soon(keep)
            try:
                yield lease
            except Exception as error:  # noqa: BLE001 - raised below, outside the nursery's group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(_CLEANUP_SECONDS, shield=True), suppress(AzureFilesError):
            await share.release_share_lease(lease.lease_id)
    if is_lost:
        raise LeaseExpired("the lease on the share was lost") from failure
    if failure is not None:
        raise failure


async def _renew_until_lost(
    share: ShareClient, lease_id: str, duration: int, renewed: float
) -> bool:
    """Renew at every third of the duration until it is refused, or would come too late."""
    while True:
        await trio.sleep_until(renewed + duration / 3)
        with trio.move_on_at(renewed + duration) as scope:
            while True:
                asked = trio.current_time()
                try:
                    await share.renew_share_lease(lease_id)
                    break
                except (NetworkError, ServerError):
                    await trio.sleep(1)
                except AzureFilesError:
                    return True
        if scope.cancelled_caught:
            return True
        renewed = asked


async def update_if_unchanged(
    share: ShareClient,
    path: SharePath,
    validator: Validator,
    data: Buffer,
    *,
    hold_lease: bool = True,
) -> Properties:
    """Replace the content of a file if it is still the version that the caller knows.

    With ``hold_lease`` this is prevention: from the check to the last byte nobody without the
    lease's id can change the file. Without it, it is detection only, because the service has no
    conditional write: a foreign change between the check and our first byte is overwritten unseen,
    one between our first and last byte is reported after the fact. In neither form is the
    replacement atomic for readers, and a failure half-way leaves the file half-way.

    Returns:
        The properties of the new version.

    Raises:
        ConditionNotMet: the file was another version; with ``may_have_been_applied`` set the
            content was written and somebody else wrote too.
        LeaseAlreadyPresent: the file is leased by another.
        FileNotFound: it does not exist.
    """
    if hold_lease:
        async with held_lease(share, path) as lease:
            return await _update(share, path, validator, data, lease.lease_id)
    return await _update(share, path, validator, data, None)


async def _update(
    share: ShareClient,
    path: SharePath,
    validator: Validator,
    data: Buffer,
    lease_id: str | None,
) -> Properties:
    found = await share.get_file_properties(path, lease_id=lease_id)
    if found.validator() != validator:
        raise ConditionNotMet("the file is another version than the expected one", path=str(path))
    size = memoryview(data).nbytes
    content = found.content.after_change()
    resized = await share.set_file_properties(path, size=size, content=content, lease_id=lease_id)
    last = resized.etag
    last = await _write(share, path, data, lease_id=lease_id) or last
    after = await share.get_file_properties(path, lease_id=lease_id)
    if after.etag != last or after.size != size or after.file_id != validator.file_id:
        raise ConditionNotMet(
            "another writer changed the file at the same time",
            path=str(path),
            may_have_been_applied=True,
        )
    return after


async def _write(
    share: ShareClient, path: SharePath, data: Buffer, *, lease_id: str | None, start: int = 0
) -> str | None:
    """Write bytes range by range and return the ETag of the last."""
    view = memoryview(data).cast("B")
    etag: str | None = None
    for piece in ByteRange(start, start + len(view)).split(RANGE_BYTES):
        part = view[piece.start - start : piece.stop - start]
        etag = (await share.put_range(path, piece.start, part, lease_id=lease_id)).etag
    return etag


async def append(
    share: ShareClient, path: SharePath, data: Buffer, *, wait_seconds: float = 30.0
) -> int:
    """Add bytes at the end of a file and return the offset where they went; creates a missing file.

    The lease on the file is held meanwhile, so that appenders of this kind never overwrite each
    other and others cannot write between. Readers can see the file grown before the bytes are
    there. Where writing fails the file is cut back if it still can be.

    Args:
        share: where.
        path: the file.
        data: what to add.
        wait_seconds: how long to wait while another holds the lease.

    Raises:
        LeaseAlreadyPresent: another held the lease for all that time.
        ParentNotFound: its directory does not exist.
        AzureFilesError: with ``may_have_been_applied`` set, the bytes may be there all the same.
    """
    try:
        return await _append(share, path, data, wait_seconds)
    except FileNotFound:
        await _make_empty(share, path)
    return await _append(share, path, data, wait_seconds)


async def _make_empty(share: ShareClient, path: SharePath) -> None:
    try:
        await create_exclusively(share, path)
    except FileAlreadyExists:
        # Another appender was first.
        return


async def _append(share: ShareClient, path: SharePath, data: Buffer, wait_seconds: float) -> int:
    async with held_lease(share, path, wait_seconds=wait_seconds) as lease:
        found = await share.get_file_properties(path, lease_id=lease.lease_id)
        size, content = found.size, found.content.after_change()
        length = memoryview(data).nbytes
        if not length:
            return size
        try:
            await share.set_file_properties(
                path, size=size + length, content=content, lease_id=lease.lease_id
            )
            await _write(share, path, data, lease_id=lease.lease_id, start=size)
        except BaseException:
            await _cut_back(share, path, size, lease.lease_id)
            raise
        return size


async def _cut_back(share: ShareClient, path: SharePath, size: int, lease_id: str) -> None:
    with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
        try:
            await share.set_file_properties(path, size=size, lease_id=lease_id)
        except AzureFilesError:
            # The failure that led here is the one to report.
            return
