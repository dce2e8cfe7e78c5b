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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import kept
from azfilesfs.vfs.disk import (
    Descriptors,
    boot_id,
    owned,
    punch_hole,
    read_whole,
    read_whole_into,
    write_whole,
)
from azfilesfs.vfs.journal import (
    FileState,
    Journal,
    Kind,
    Origin,
    extent_record,
    header_record,
    rebased_record,
    relocated_record,
    truncated_record,
    unlinked_record,
)
from azfilesfs.vfs.kept import KeptRecord, Layout

_log = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview

_DATA_FLAGS: Final = os.O_RDWR | os.O_CREAT
_ENDED: Final = "the mount ended before it was sent"


class StagedFile:
    """The dirty bytes of one inode, from ``StagingArea.create`` until ``keep`` or ``discard``.

    Invariant: ``dirty`` lies in ``present``, and ``present`` below ``size``. What the journal says
        is never less than what a
    returned call has promised.
    """

    __slots__ = ("_area", "_data", "_directory", "_journal", "_state", "present")

    def __init__(self, area: StagingArea, directory: Path, state: FileState) -> None:
        """Begin the journal in an empty directory.

        Raises:
            OSError: the disk refused.
        """
        self._area = area
        self._directory = directory
        self._data = str(directory / kept.DATA)
        self._state = state
        self._journal = Journal(directory / kept.JOURNAL, area.descriptors, state)
        self.present = ExtentMap()
        """Bytes that the staging file holds, dirty or already uploaded; read them with ``read``."""
        self._journal.append(header_record(state))

    @property
    def id(self) -> str:
        """The name of the staging directory, and of the kept record if it comes to that."""
        return self._directory.name

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
        view = memoryview(data).cast("B")
        window = ByteRange(offset, offset + len(view))
        fresh = list(self._state.dirty.gaps(window))
        if fresh:
            self._write_fresh(window, view, fresh)
        elif view:
            # Every byte is dirty already, in the journal too: there is nothing to record.
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
        self._journal.append(truncated_record(size))
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
            self._state.uploaded(byte_range)
            self._note(extent_record(Kind.UPLOADED, byte_range))

    def drop_clean(self) -> None:
        """Free the disk space of what is present and not dirty; it is no longer present."""
        dirty = self._state.dirty
        clean = [gap for extent in self.present for gap in dirty.gaps(extent)]
        if not clean:
            return
        self.present = dirty.copy()
        with suppress(OSError):
            if not dirty:
                os.ftruncate(self._descriptor(), 0)
                return
            for extent in clean:
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

    def keep(self, reason: str) -> KeptRecord:
        """Move it to the kept records for ``azfilesfs recover``; the object is dead afterwards.

        Raises:
            OSError: the disk refused; the file is still live.
        """
        record = kept.keep(self._area.layout, self._directory, self._state, reason)
        self._detach()
        return record

    def discard(self) -> None:
        """Remove everything; the object is dead afterwards."""
        self._detach()
        try:
            kept.remove(self._directory)
        except OSError as error:
            _log.warning("could not remove the staged file %s: %s", self._directory, error)

    def _detach(self) -> None:
        self._area.forget(self)
        self._area.descriptors.close(self._data)
        self._journal.close()
        self._area.used_bytes -= self._state.dirty.total
        self._state.dirty.clear()
        self.present.clear()

    def _descriptor(self) -> int:
        return self._area.descriptors.get(self._data, _DATA_FLAGS)

    def __repr__(self) -> str:
        return f"<StagedFile {self.id} size={self.size} dirty={self.dirty.total}>"


class StagingArea:
    """The staged files of one mount and the room that they may take. Made by ``open``.

    Attributes:
        used_bytes: dirty bytes of all live files; kept records do not count.
        limit_bytes: what ``used_bytes`` may reach.
        layout: the directories.
        descriptors: the open files below them.
    """

    def __init__(self, layout: Layout, limit_bytes: int, share: str) -> None:
        """Begin empty; the caller owns the directories."""
        self.layout = layout
        self.limit_bytes = limit_bytes
        self.descriptors = Descriptors()
        self.used_bytes = 0
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
                file.keep(_ENDED)
            except OSError as error:
                # It stays where it is, and the next owner of the area makes a record of it.
                _log.warning("could not keep the staged file %s: %s", file.id, error)
        self.descriptors.close_all()

    def create(self, path: SharePath, base: Validator | None, base_size: int) -> StagedFile:
        """Begin to stage a file of ``base_size`` bytes; base None: it is not on the service yet.

        Raises:
            OSError: the disk refused; nothing is left.
        """
        origin = Origin(self._share, self._host, os.getpid(), boot_id(), time.time_ns())
        state = FileState(origin, path, base, base_size, base_size)
        directory = self.layout.new_directory()
        try:
            file = StagedFile(self, directory, state)
        except OSError:
            with suppress(OSError):
                kept.remove(directory)
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

    def __len__(self) -> int:
        return len(self._live)


def _length_within(extents: ExtentMap, window: ByteRange) -> int:
    return sum(extent.stop - extent.start for extent in extents.within(window))
