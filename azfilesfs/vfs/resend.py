"""Sending a kept record to the service.

Nothing is overwritten unasked, and the record stays until all of it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from azfilesfs.client import PRESERVE, ShareClient, Times
from azfilesfs.errors import (
    AzureFilesError,
    ChangedDuringRead,
    ConditionNotMet,
    FileAlreadyExists,
    FileNotFound,
    InvalidPath,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs import kept, recovery
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.private import PrivateDirectory
from azfilesfs.vfs.recovery import dirty_map, needs_base, read_extent

_MISSING: Final = (FileNotFound, ParentNotFound, ResourceTypeMismatch)
_CLEANUP_SECONDS: Final = 15.0
_NAMELESS: Final = "the record does not say where the file was; give --to PATH"


class BaseMoved(ConditionNotMet):
    """The remote file is not the version that the kept bytes stand on."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a record: where it is now, and whether a newer version showed through."""

    path: SharePath
    over_newer: bool


class MergedFile:
    """The whole file of a record: its dirty bytes over the remote version, zeros elsewhere."""

    def __init__(self, share: ShareClient, record: KeptRecord, remote: Properties | None) -> None:
        """Merge with the version that ``remote`` describes; None: no byte of it is needed."""
        self._share = share
        self._record = record
        self._remote = remote
        self._dirty = dirty_map(record)
        self._limit = min(record.base_limit, record.size, remote.size if remote is not None else 0)

    def windows(self) -> Iterator[ByteRange]:
        """Yield the ranges in which something may be other than zero."""
        for window in ByteRange(0, self._record.size).split(RANGE_BYTES):
            if window.start < self._limit or next(self._dirty.within(window), None) is not None:
                yield window

    async def read(self, window: ByteRange) -> bytes:
        """Return the bytes of a window.

        Raises:
            ChangedDuringRead: the remote file is not the same version any more.
            IntegrityError: the staged bytes are not complete.
            AzureFilesError: the remote bytes could not be read.
        """
        content = bytearray(window.length)
        shown = ByteRange(window.start, min(window.stop, self._limit))
        gaps = list(self._dirty.gaps(shown)) if shown.start < shown.stop else []
        if gaps:
            span = ByteRange(gaps[0].start, gaps[-1].stop)
            below = await self._remote_bytes(span)
            for gap in gaps:
                piece = below[gap.start - span.start : gap.stop - span.start]
                content[gap.start - window.start : gap.stop - window.start] = piece
        for extent in self._dirty.within(window):
            piece = read_extent(self._record, extent)
            content[extent.start - window.start : extent.stop - window.start] = piece
        return bytes(content)

    async def _remote_bytes(self, span: ByteRange) -> bytes | memoryview:
        answer = await self._share.get_file(self._record.path, span)
        if self._remote is None or answer.properties.etag != self._remote.etag:
            raise ChangedDuringRead(f"{self._record.path} changed while it was being read")
        return answer.data


async def look(share: ShareClient, record: KeptRecord) -> Properties | None:
    """Return the remote file that a record belongs to, None where there is none."""
    if record.path.is_root:
        return None
    try:
        return await share.get_file_properties(record.path)
    except _MISSING:
        return None


def is_base(record: KeptRecord, remote: Properties | None) -> bool:
    """Tell whether the remote file is the version that the record stands on."""
    return remote is not None and remote.validator() == record.base


async def write_merged(share: ShareClient, record: KeptRecord, path: Path) -> bool:
    """Write the whole file into a new local one; True: the remote file has changed since.

    Raises:
        BaseMoved: bytes of the remote file are needed, and it is gone.
        FileExistsError: there is a local file of that name.
        AzureFilesError: the remote bytes could not be read.
        OSError: the disk refused.
    """
    remote, is_newer = await _below(share, record)
    merged = MergedFile(share, record, remote)
    with recovery.new_file(path, record.size) as file:
        for window in merged.windows():
            file.write(window.start, await merged.read(window))
    return is_newer


async def _below(share: ShareClient, record: KeptRecord) -> tuple[Properties | None, bool]:
    """Return the remote version that shows through, and whether it is newer than the base."""
    if not needs_base(record):
        return None, False
    remote = await look(share, record)
    if remote is None:
        raise BaseMoved(
            f"{record.path} is gone from the share, and only parts of it were kept; "
            f"'azfilesfs recover show {record.id} --extents-only --output FILE' writes those"
        )
    return remote, not is_base(record, remote)


async def send(
    share: ShareClient, record: KeptRecord, *, to: SharePath | None = None, force: bool = False
) -> Sent:
    """Bring a record to the service and remove it; the caller has claimed it.

    Without ``to`` the dirty bytes go into the file that they belong to, if it is still their base
    version. A new file, and anything sent ``to`` another path, is built aside and put in place by
    one rename that replaces nothing. ``force`` sends over whatever is there. After a failure or a
    cancellation the record is still there.

    Raises:
        BaseMoved: the remote file changed or is gone.
        FileAlreadyExists: something has the name that a new file should get.
        InvalidPath: the record does not say where the file was, and ``to`` neither.
        IntegrityError: the staged bytes are not complete.
        AzureFilesError: a request failed.
        OSError: the disk refused.
    """
    target = to if to is not None else record.path
    if target.is_root:
        raise InvalidPath(_NAMELESS)
    target.check()
    if record.base is not None and target == record.path:
        remote = await look(share, record)
        if remote is not None or needs_base(record) or not force:
            sent = await _Update(share, record, remote).run(force=force)
            kept.remove(record.directory)
            return sent
    sent = await _send_whole(share, record, target, force=force)
    kept.remove(record.directory)
    return sent


async def _send_whole(
    share: ShareClient, record: KeptRecord, target: SharePath, *, force: bool
) -> Sent:
    remote, is_newer = await _below(share, record)
    merged = MergedFile(share, record, remote)
    private = PrivateDirectory(share, record.directory.parent.parent / "recover.sessions")
    try:
        aside, made = await private.empty_file()
        if record.size:
            await share.set_file_properties(aside, size=record.size)
        for window in merged.windows():
            await share.put_range(aside, window.start, await merged.read(window))
        await share.rename_file(aside, target, replace=force, expected_file_id=made.file_id)
    except FileAlreadyExists as error:
        raise FileAlreadyExists(
            f"{target} exists; --force replaces it, --to PATH sends to another name"
        ) from error
    finally:
        with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
            await private.sweep()
    return Sent(target, is_newer)


class _Update:
    """The dirty bytes of a record going into the remote file, in place."""

    def __init__(self, share: ShareClient, record: KeptRecord, remote: Properties | None) -> None:
        self._share = share
        self._record = record
        self._remote = remote
        self._etag = remote.etag if remote is not None else None
        self._limit = record.base_limit

    async def run(self, *, force: bool) -> Sent:
        record, remote = self._record, self._remote
        is_newer = not is_base(record, remote)
        if remote is None or (is_newer and not force):
            what = "changed on the share since" if remote is not None else "is gone from the share"
            raise BaseMoved(
                f"{record.path} {what}; nothing was sent. --to PATH saves the kept bytes under "
                "another name, --force sends them over what is there"
            )
        try:
            await self._resize(remote)
            for extent in record.dirty:
                for piece in extent.split(RANGE_BYTES):
                    written = await self._share.put_range(
                        record.path, piece.start, read_extent(record, piece)
                    )
                    self._etag = written.etag
        except BaseException:
            await self._note_progress()
            raise
        await self._check_end()
        return Sent(record.path, is_newer)

    async def _resize(self, remote: Properties) -> None:
        """Cut and grow the remote file; drop a stored MD5, keep the other headers."""
        record = self._record
        content = None
        if remote.content.content_md5 is not None:
            content = replace(remote.content, content_md5=None)
            if content == ContentHeaders():
                content = ContentHeaders(content_type="application/octet-stream")
        sizes = []
        if record.base_limit < min(remote.size, record.size):
            sizes.append(record.base_limit)
        if record.size != (sizes[-1] if sizes else remote.size):
            sizes.append(record.size)
        for size in sizes or ([remote.size] if content is not None else []):
            answer = await self._share.set_file_properties(
                record.path, size=size, content=content, times=Times(last_write_ns=PRESERVE)
            )
            self._etag = answer.etag
            content = None
        # Nothing of what was cut off is left there now.
        self._limit = record.size

    async def _check_end(self) -> None:
        end = await look(self._share, self._record)
        if end is None or end.etag != self._etag or end.size != self._record.size:
            raise BaseMoved(
                f"{self._record.path} was changed by another client while it was being sent; the "
                "record was kept. Send it again with --to PATH or --force"
            )

    async def _note_progress(self) -> None:
        """Have the record stand on what our own requests made, to be sent again unforced."""
        if self._remote is None or self._etag == self._remote.etag:
            return
        with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
            try:
                now = await look(self._share, self._record)
            except AzureFilesError:
                return
            if now is not None and now.etag == self._etag:
                base = now.validator()
                kept.rewrite(replace(self._record, base=base, base_limit=self._limit))
