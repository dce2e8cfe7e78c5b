"""The dirty state of one file.

Local changes that are not on the service yet, shared by all handles of this mount.
"""

from __future__ import annotations

from azfilesfs.errors import AzureFilesError
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.times import floor_to_tick
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.staged import StagedFile


class DirtyFile:
    """Local changes of one file.

    Attributes:
        staged: the bytes, their extents and the local size; survives a crash of the daemon.
        base: the remote version that the changes stand on; None where the file does not exist there
            yet.
        remote_size: size of the file on the service, as far as our own requests made it.
        mtime_ns, ctime_ns: local time of the last change, sent with the closing request; None where
            nothing changed it.
        resized: whether the local size was set explicitly since the last upload.
        absent_since: for a file that is not created yet: trio clock at which its absence was last
            seen.
        error: why the last upload failed; None after a success.
        exclusive: whether the file was opened with O_EXCL and decided here, so that a collision is
            EEXIST.
        under_lock: whether anything was written while this mount held locks: what those protect is
            not sent once they are lost.
        started: whether requests of an upload that failed may have changed the remote file already.
        blank: where the service has zeros for certain: where our own requests made the file longer
            and no range was sent since.
        sent_write_ns: the last-write times that such uploads sent. base_write_ns: last-write time
            of the base, which tells our own unfinished upload from a foreign change.
        confirmed_at: trio clock at which a background pass saw the base on the service.
    """

    __slots__ = (
        "_passes", "_rewritten", "absent_since", "base", "base_write_ns", "blank", "confirmed_at",
        "ctime_ns", "error", "exclusive", "metadata_changed",
        "mtime_ns", "remote_size", "resized", "sent_write_ns", "staged", "started", "under_lock",
    )  # fmt: skip

    def __init__(self, staged: StagedFile, base: Validator | None, remote_size: int) -> None:
        self.staged = staged
        self.base = base
        self.remote_size = remote_size
        self.mtime_ns: int | None = None
        self.ctime_ns: int | None = None
        self.metadata_changed = False
        self.resized = False
        self.absent_since = float("-inf")
        self.error: VfsError | AzureFilesError | None = None
        self.exclusive = False
        self.started = False
        self.under_lock = False
        self.base_write_ns: int | None = None
        self.sent_write_ns: set[int] = set()
        self.blank = ExtentMap()
        self.confirmed_at = float("-inf")
        self._rewritten = ExtentMap()
        self._passes = 0

    @property
    def size(self) -> int:
        """Local size of the file in bytes."""
        return self.staged.size

    @property
    def is_clean(self) -> bool:
        """Whether everything is on the service: bytes, size and times."""
        return (
            self.base is not None
            and not self.staged.dirty
            and self.remote_size == self.staged.size
            and not self.resized
            and not self.metadata_changed
        )

    @property
    def needs_a_flush(self) -> bool:
        """Whether no upload of it is to be expected: none has failed, and none was promised."""
        return self.error is None and not self.staged.is_acknowledged

    def touch(self, now_ns: int) -> None:
        """Note a change of the content at a local time (cut to 100 ns)."""
        self.mtime_ns = self.ctime_ns = floor_to_tick(now_ns)
        self.metadata_changed = True

    def set_times(self, mtime_ns: int | None, ctime_ns: int) -> None:
        """Note times set by a program; they go out with the closing request."""
        if mtime_ns is not None:
            self.mtime_ns = floor_to_tick(mtime_ns)
        self.ctime_ns = floor_to_tick(ctime_ns)
        self.metadata_changed = True

    def write(self, offset: int, data: bytes, now_ns: int, *, is_late: bool = False) -> None:
        """Stage bytes; ``is_late`` where the kernel has collected them, and tells the time of the
        change by itself, be it before or after this.

        Raises:
            OSError: no space left for staging; nothing has changed then.
        """
        self.staged.write(offset, data)
        if self._passes:
            self._rewritten.add(ByteRange(offset, offset + len(data)))
        if not is_late or self.mtime_ns is None:
            self.touch(now_ns)
        self.metadata_changed = True

    def truncate(self, size: int, now_ns: int) -> None:
        """Set the local size; bytes beyond it are gone, a growth reads as zeros."""
        self.staged.truncate(size)
        self.resized = True
        self.touch(now_ns)

    def is_ours(self, remote: Properties) -> bool:
        """Tell whether a remote version is the base, or the base under our own upload that did not
        end well.

        Our ranges preserve the last-write time and our closing request sets one of our own, to 100
        ns; a foreign writer leaves another.
        """
        if self.base is not None and remote.validator() == self.base:
            return True
        if not self.started:
            return False
        if self.base is not None and remote.file_id != self.base.file_id:
            return False
        written_ns = remote.last_write_time_ns
        return written_ns is not None and written_ns in {self.base_write_ns, *self.sent_write_ns}

    def begin_sending(self, mtime_ns: int | None) -> None:
        """Note that requests go out that leave the last-write time of the base, or this one."""
        self.started = True
        if mtime_ns is not None:
            self.sent_write_ns.add(mtime_ns)

    def is_our_time(self, written_ns: int | None) -> bool:
        """Tell whether a last-write time can be one that our own requests left, or is not told."""
        if written_ns is None or (self.base is not None and self.base_write_ns is None):
            return True
        return written_ns in {self.base_write_ns, *self.sent_write_ns}

    def settle(self) -> None:
        """Note that an upload ended well."""
        self.error, self.started = None, False
        self.sent_write_ns.clear()

    def sent(self, size: int, times: tuple[int | None, int | None]) -> None:
        """Note a size and the times that the service has; they may have changed here since."""
        if self.size == size:
            self.resized = False
        if (self.mtime_ns, self.ctime_ns) == times:
            self.metadata_changed = False

    def begin_pass(self) -> None:
        """Start watching which bytes are written again while an upload is under way."""
        if not self._passes:
            self._rewritten.clear()
        self._passes += 1

    def take_on(self, unit: ByteRange) -> None:
        """Note that the pass under way sends a unit too, as it is from now on."""
        self._rewritten.remove(unit)

    def end_pass(self) -> None:
        """Stop watching."""
        self._passes -= 1

    def uploaded(self, extent: ByteRange) -> None:
        """Note that the service has the bytes of an extent as they were when they were read for the
        upload.
        """
        for untouched in list(self._rewritten.gaps(extent)):
            self.staged.mark_uploaded(untouched)
