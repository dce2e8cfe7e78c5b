"""The dirty bytes of one file in the staging area, and what its journal says of them.

All methods are synchronous and quick, and change state in one step: no lock is needed between
tasks. Layout, journal and guarantees: docs/internals/staging.md.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import kept
from azfilesfs.vfs.disk import Descriptors, punch_hole, read_whole, read_whole_into, write_whole
from azfilesfs.vfs.journal import (
    Acknowledgement,
    FileState,
    Kind,
    acknowledged_record,
    content_record,
    extent_record,
    header_record,
    rebased_record,
    relocated_record,
    truncated_record,
    unlinked_record,
)
from azfilesfs.vfs.journal_file import Journal
from azfilesfs.vfs.kept import KeptRecord, Layout
from azfilesfs.vfs.staging_directory import DATA_FLAGS, StagingDirectories, StagingDirectory

_log = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview

_INLINE_BYTES: Final = 16 * 1024
"""Dirty bytes up to which an acknowledgement holds them itself: one file less to wait for."""


class Area(Protocol):
    """The staging area that a file is in."""

    layout: Layout
    descriptors: Descriptors
    directories: StagingDirectories
    used_bytes: int
    acknowledged: dict[StagedFile, float]

    def check_room(self, count: int) -> None:
        """Check that ``count`` more dirty bytes fit; OSError where they do not."""

    def forget(self, file: StagedFile) -> None:
        """Take a file that ends off the lists."""


class StagedFile:
    """The dirty bytes of one inode, from ``StagingArea.create`` until ``keep`` or ``discard``.

    Invariant: ``dirty`` lies in ``present``, and ``present`` below ``size``. What the journal says
        is never less than what a
    returned call has promised.
    """

    __slots__ = ("_area", "_directory", "_has_clean", "_journal", "_state", "changes", "present")

    def __init__(self, area: Area, directory: StagingDirectory, state: FileState) -> None:
        """Begin the journal in an empty directory.

        Raises:
            OSError: the disk refused.
        """
        self._area = area
        self._directory = directory
        self._state = state
        self._has_clean = False
        self.changes = 0
        """Counts writes and truncations."""
        self._journal = Journal(directory, area.descriptors, state)
        self.present = ExtentMap()
        """Bytes that the staging file holds, dirty or already uploaded; read them with ``read``."""
        self._journal.append(header_record(state))

    @property
    def id(self) -> str:
        """The name of the staging directory, and of the kept record if it comes to that."""
        return self._directory.path.name

    @property
    def dirty(self) -> ExtentMap:
        """Bytes not yet on the service. For reading only."""
        return self._state.dirty

    @property
    def size(self) -> int:
        """The local size of the file."""
        return self._state.size

    @property
    def path(self) -> SharePath:
        """Where the file is on the share."""
        return self._state.path

    @property
    def base(self) -> Validator | None:
        """The remote version that the dirty bytes stand on; None: there is none yet."""
        return self._state.base

    @property
    def base_limit(self) -> int:
        """Up to where the base still belongs to the file: the smallest size that it was cut to.

        From here on, what is neither dirty nor present is zeros, whatever the service still holds
        there.
        """
        return self._state.base_limit

    @property
    def is_unsent(self) -> bool:
        """Whether the service lacks anything of this file: bytes, its size, or its existence."""
        return self._state.is_unsent

    def write(self, offset: int, data: Buffer) -> None:
        """Take bytes over: they are dirty, and the size grows with them.

        Raises:
            OSError: ENOSPC over the area's limit or on a full disk, or what the disk said; dirty
                and size are unchanged. (Where the disk fails in the middle of bytes that were dirty
                before, those may be a mix of old and new.)
        """
        self.changes += 1
        view = memoryview(data).cast("B")
        window = ByteRange(offset, offset + len(view))
        fresh = list(self._state.dirty.gaps(window))
        if fresh:
            self._write_fresh(window, view, fresh)
        elif view:
            # Every byte is dirty already, in the journal too: there is nothing to record, unless
            # that a close before was not answered on these bytes.
            if self._state.acknowledged is not None:
                self._journal.append(extent_record(Kind.WRITTEN, window))
                self._state.written(window)
                self._area.acknowledged.pop(self, None)
            write_whole(self._descriptor(), view, offset)

    def _write_fresh(self, window: ByteRange, view: memoryview, fresh: list[ByteRange]) -> None:
        count = sum(extent.stop - extent.start for extent in fresh)
        self._area.check_room(count)
        is_recorded = False
        try:
            # Bytes before their record, so that the journal never claims what was not written;
            # bytes that are dirty already come last, so that a full disk is met before they are
            # touched.
            self._put(window.start, view, fresh)
            self._journal.append(extent_record(Kind.WRITTEN, window))
            is_recorded = True
            self._put(window.start, view, list(self._state.dirty.within(window)))
        except BaseException:
            for extent in fresh:
                self.present.remove(extent)
            if is_recorded:
                self._journal.catch_up()
            raise
        self._state.written(window)
        self._area.acknowledged.pop(self, None)
        self.present.add(window)
        self._area.used_bytes += count

    def _put(self, start: int, view: memoryview, extents: list[ByteRange]) -> None:
        descriptor = self._descriptor()
        for extent in extents:
            piece = view[extent.start - start : extent.stop - start]
            write_whole(descriptor, piece, extent.start)

    def read(self, byte_range: ByteRange) -> bytes:
        """Return bytes of the staging file; only those in ``present`` mean anything.

        Raises:
            OSError: the disk refused.
        """
        return read_whole(self._descriptor(), byte_range.start, byte_range.stop)

    def read_into(self, byte_range: ByteRange, buffer: memoryview) -> None:
        """Fill a buffer of the same length, as ``read``.

        Raises:
            OSError: the disk refused.
        """
        read_whole_into(self._descriptor(), byte_range.start, buffer)

    def truncate(self, size: int) -> None:
        """Set the size: nothing past it is dirty or present any more; growth leaves a hole.

        Raises:
            OSError: the journal could not be written; nothing is changed.
        """
        self.changes += 1
        self._journal.append(truncated_record(size))
        self._area.acknowledged.pop(self, None)
        end = self._state.size
        self._area.used_bytes -= _length_within(self._state.dirty, ByteRange(size, end))
        self._state.truncated(size)
        if next(self.present.within(ByteRange(size, max(end, size))), None) is None:
            return
        self.present.truncate(size)
        # Space only: the maps decide which bytes count.
        with suppress(OSError):
            os.ftruncate(self._descriptor(), size)

    def mark_uploaded(self, byte_range: ByteRange) -> None:
        """Note that the service has these bytes: no longer dirty, present until ``drop_clean``.

        A full disk does not stop this: the journal then names more than is dirty until the next
            record can be written.
        """
        count = _length_within(self._state.dirty, byte_range)
        if count:
            self._area.used_bytes -= count
            self._has_clean = True
            self._state.uploaded(byte_range)
            self._note(extent_record(Kind.UPLOADED, byte_range))

    def drop_clean(self, most: int | None = None) -> None:
        """Free the disk space of what is present and not dirty; it is no longer present.

        Some 50 microseconds for a MiB: ``most`` says how many bytes are freed now.
        """
        if not self._has_clean:
            return
        dirty = self._state.dirty
        left = self.size if most is None else most
        clean = [gap for extent in self.present for gap in dirty.gaps(extent)]
        self._has_clean = sum(gap.length for gap in clean) > left
        with suppress(OSError):
            if clean and not dirty and not self._has_clean:
                self.present.clear()
                os.ftruncate(self._descriptor(), 0)
                return
            for gap in clean:
                extent = ByteRange(gap.start, min(gap.stop, gap.start + left))
                left -= extent.length
                if not extent.length:
                    return
                self.present.remove(extent)
                punch_hole(self._descriptor(), extent.start, extent.stop)

    def relocate(self, path: SharePath) -> None:
        """Note that the file was renamed. A full disk does not stop this, as in ``rebase``."""
        self._state.path = path
        self._note(relocated_record(path))

    def unlink(self) -> None:
        """Note that the file has lost its name: its bytes end with the process, and are not kept.

        A full disk does not stop this, as in ``rebase``.
        """
        self._state.is_unlinked = True
        self._note(unlinked_record())

    def rebase(self, base: Validator | None, base_limit: int | None = None) -> None:
        """Note the remote version that the dirty bytes now stand on.

        ``base_limit`` says up to where that version belongs to the file; left out, as far as it
        reaches: right unless the file was cut while the request was under way. A full disk does not
            stop this; the journal follows with the next record.
        """
        if base_limit is None:
            base_limit = min(base.size, self._state.size) if base is not None else 0
        self._state.rebased(base, base_limit)
        self._note(rebased_record(base, base_limit))

    def _note(self, record: bytes) -> None:
        if not self._journal.note(record):
            _log.warning(
                "the journal of %s cannot be written now; its next record will catch up", self.id
            )

    @property
    def is_acknowledged(self) -> bool:
        """Whether a close was answered on the bytes as they are now."""
        return self._state.acknowledged is not None

    def is_inlined(self) -> bool:
        """Tell whether an acknowledgement would hold the dirty bytes itself."""
        return self._state.dirty.total <= _INLINE_BYTES

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Record that a close is answered on what is dirty now.

        Where that is more than ``is_inlined`` takes, the data must have been brought to the disk
        before; the journal and its directories must be brought there after it.

        Raises:
            OSError: the disk refused; nothing is changed.
        """
        records = [acknowledged_record(acknowledgement)]
        if self.is_inlined():
            contents = ((extent.start, self.read(extent)) for extent in self._state.dirty)
            records = [*(content_record(start, data) for start, data in contents), *records]
        self._journal.append(b"".join(records))
        self._state.acknowledged = acknowledgement
        self._area.acknowledged[self] = time.monotonic()

    def data_to_sync(self) -> tuple[Path, ...]:
        """Return what must be on the disk before ``acknowledge``."""
        return () if self.is_inlined() else (Path(self._directory.data),)

    def journal_to_sync(self) -> tuple[Path, ...]:
        """Return what must be on the disk after ``acknowledge``."""
        return self._directory.to_sync()

    def journal_synced(self) -> None:
        """Note that the disk has what ``journal_to_sync`` told."""
        self._directory.synced()

    def keep(self, reason: str, *, given_up: bool = True) -> KeptRecord:
        """Move it to the kept records for ``azfilesfs recover``; the object is dead afterwards.

        What was given up is not sent by itself at the next mount, even if a close was answered on
        it.

        Raises:
            OSError: the disk refused; the file is still live.
        """
        if given_up:
            self._state.acknowledged = None
        record = kept.keep(self._area.layout, self._directory.path, self._state, reason)
        self._area.descriptors.close(self._directory.data)
        self._area.descriptors.close(self._directory.journal)
        self._detach()
        return record

    def discard(self) -> None:
        """Remove everything; the object is dead afterwards."""
        is_done = not self.is_unsent and not self._journal.is_behind
        self._detach()
        journal_bytes = self._journal.length if is_done else None
        self._area.directories.give_back(self._directory, journal_bytes)

    def _detach(self) -> None:
        self._area.forget(self)
        self._area.used_bytes -= self._state.dirty.total
        self._state.dirty.clear()
        self.present.clear()

    def _descriptor(self) -> int:
        return self._area.descriptors.get(self._directory.data, DATA_FLAGS)

    def __repr__(self) -> str:
        return f"<StagedFile {self.id} size={self.size} dirty={self.dirty.total}>"


def _length_within(extents: ExtentMap, window: ByteRange) -> int:
    return sum(extent.stop - extent.start for extent in extents.within(window))
