"""When dirty files go to the service, in which task, and what is told to whom when they cannot.

Uploads run in tasks of their own, one pass a file at a time under ``inode.lock``; a FUSE request
only waits for a job. A request that is cancelled leaves the job running. Jobs of one file that have
not begun are shared.
"""

from __future__ import annotations

import errno
import logging

import trio

from azfilesfs.cache import BLOCK_BYTES
from azfilesfs.client import Priority, Urgency, prioritised
from azfilesfs.errors import AzureFilesError
from azfilesfs.model.limits import MIB, RANGE_BYTES
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.behind import WriteBehind
from azfilesfs.vfs.conflicts import ConflictResolver
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import LOST_LOCK, VfsError, to_vfs_error
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.patience import with_patience
from azfilesfs.vfs.plan import Plan
from azfilesfs.vfs.upload import Conflict, Uploader, carried

RETRY_SECONDS = 15.0
BACKGROUND_BYTES = 32 * MIB
"""Dirty bytes of one file from which on full ranges are uploaded while it is still being written.
"""

_PASS_BYTES = 256 * MIB
"""What one background pass sends at most: so much is held until it is known to be there."""

_AHEAD_TIMES = 2
"""So many times as much as begins a background upload, not sent yet, has its writers wait."""

_AHEAD_TIMES_MEANWHILE = 4
"""The same while few ranges are under way: between two passes a writer goes on."""

_FREED_BYTES = 16 * MIB
"""What is freed of the local disk with one answer: more would keep others waiting."""

_PATIENCE_SECONDS = 5.0
"""What one write waits at most, where there is room."""

_CACHED_AFTER_UPLOAD_BYTES = 16 * MIB
_LOG = logging.getLogger(__name__)


class _Job:
    """One pass that somebody waits for."""

    __slots__ = ("done", "error", "inode", "moved", "only_full_ranges", "sent", "urgency")

    def __init__(self, inode: Inode, *, only_full_ranges: bool) -> None:
        self.inode = inode
        self.urgency = Urgency(Priority.BACKGROUND)
        self.done = trio.Event()
        # Stays where the filesystem ends before the upload does.
        self.error: VfsError | None = VfsError(errno.EIO, "the mount ended", logging.ERROR)
        self.only_full_ranges = only_full_ranges
        self.sent = 0
        self.moved = trio.Event()

    def note_answer(self, count: int) -> None:
        """Note that the service has taken so many more bytes; wakes up who waits for that."""
        self.sent += count
        self.moved.set()
        self.moved = trio.Event()

    def end(self) -> None:
        """Wake up everybody who waits."""
        self.done.set()
        self.moved.set()


class Flusher:
    """Starts upload passes, retries failed ones, and empties everything at the end."""

    def __init__(
        self,
        context: Context,
        uploader: Uploader,
        conflicts: ConflictResolver,
    ) -> None:
        self._context = context
        self._uploader = uploader
        self._conflicts = conflicts
        self._queued: dict[Inode, _Job] = {}
        self._background: dict[Inode, _Job] = {}
        self._running: set[_Job] = set()
        self._behind = WriteBehind(context, self)
        self._passes: dict[Inode, trio.CancelScope] = {}
        self._aborted: set[Inode] = set()

    async def flush(self, inode: Inode) -> None:
        """Wait until everything that is dirty in a file now is on the service.

        Raises:
            VfsError: why it is not; the bytes stay dirty, or are kept for recovery after a
                conflict.
        """
        if inode.dirty is None or inode.place is Place.UNLINKED:
            return
        job = self._queued.get(inode)
        if job is None or job.only_full_ranges:
            job = self._start(inode, only_full_ranges=False)
        self._hurry(inode, job)
        await job.done.wait()
        if job.error is not None:
            # The pass has logged it.
            raise VfsError(job.error.errno, job.error.reason)

    async def close(self, inode: Inode) -> None:
        """Answer a close: what is dirty is on the service, or promised under ``--close=async``.

        Raises:
            VfsError: as ``flush``.
        """
        await self._behind.close(inode)

    async def keep_pace(self, inode: Inode) -> None:
        """Upload what is complete of a file that is being written, and hold a fast writer back.

        Waits only while uploads succeed, and never for long: where the network is slow or gone,
        the staging area takes the rest.
        """
        dirty = inode.dirty
        if dirty is None or inode.place is Place.UNLINKED or not self._is_much(dirty, 1):
            return
        self._upload_full_ranges(inode)
        with trio.move_on_after(_PATIENCE_SECONDS):
            while (job := self._background.get(inode)) is not None and dirty.error is None:
                is_busy = self._uploader.is_busy
                times = _AHEAD_TIMES if is_busy else _AHEAD_TIMES_MEANWHILE
                if not self._is_much(dirty, times, job.sent):
                    break
                await job.moved.wait()

    async def make_room(self, inode: Inode) -> None:
        """Send what a file has, or else wait for an upload that is under way; for a full area.

        Raises:
            VfsError: why the file could not be sent.
        """
        if inode.dirty is not None and inode.dirty.staged.dirty:
            await self.flush(inode)
        elif self._running:
            job = next(iter(self._running))
            job.urgency.promote()
            await job.done.wait()

    def _hurry(self, inode: Inode, job: _Job) -> None:
        """Raise the urgency of a pass that somebody waits for, and of those that it waits for."""
        for earlier in (job, self._background.get(inode), *self._running):
            if earlier is not None and earlier.inode is inode:
                earlier.urgency.promote()

    def _is_much(self, dirty: DirtyFile, times: int, sent: int = 0) -> bool:
        """Tell whether a file has dirty bytes for an upload; a small area is used sparingly.

        ``sent`` of them are on the service already, which is not confirmed yet.
        """
        share = max(RANGE_BYTES, self._context.staging.limit_bytes // 16)
        return dirty.staged.dirty.total - sent >= times * min(BACKGROUND_BYTES, share)

    def _upload_full_ranges(self, inode: Inode) -> None:
        if inode not in self._background and inode not in self._queued:
            self._background[inode] = self._start(inode, only_full_ranges=True)

    def start(self, inode: Inode) -> None:
        """Start an upload that nobody waits for."""
        if inode.dirty is not None and inode not in self._queued:
            self._start(inode, only_full_ranges=False)

    def abort(self, inode: Inode) -> bool:
        """End an upload that is under way because the lock that protected it is lost.

        No further request of it is sent, and its bytes are kept for recovery. False: there is none.
        """
        scope = self._passes.get(inode)
        if scope is None:
            return False
        self._aborted.add(inode)
        scope.cancel()
        return True

    def _start(self, inode: Inode, *, only_full_ranges: bool) -> _Job:
        job = _Job(inode, only_full_ranges=only_full_ranges)
        self._queued[inode] = job
        self._context.nursery.start_soon(self._run, inode, job)
        return job

    async def retry_failed(self) -> None:
        """Try files whose upload failed again and again, until cancelled."""
        while True:
            await trio.sleep(RETRY_SECONDS)
            self._uploader.trim()
            for inode in self._context.inodes:
                if inode.dirty is not None and inode.dirty.error is not None:
                    self.start(inode)

    async def drain(self) -> int:
        """Flush every dirty file; return how many could not be sent."""
        unsent: list[Inode] = []

        async def drain_one(inode: Inode) -> None:
            try:
                await self.flush(inode)
            except VfsError as error:
                _LOG.error("%r could not be sent: %s", _shown(inode), error)
                unsent.append(inode)

        async with trio.open_nursery() as nursery:
            for inode in self._context.inodes:
                if inode.dirty is not None:
                    nursery.start_soon(drain_one, inode)
        return len(unsent)

    async def _run(self, inode: Inode, job: _Job) -> None:
        try:
            async with inode.lock:
                if self._queued.get(inode) is job:
                    del self._queued[inode]
                self._running.add(job)
                if inode.dirty is not None and inode.place is not Place.UNLINKED:
                    with prioritised(job.urgency):
                        await self._pass(inode, inode.dirty, job)
            job.error = None
        except VfsError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001  # one upload must not end all others
            _LOG.exception("uploading %r failed unexpectedly", _shown(inode))
            job.error = VfsError(errno.EIO, f"unexpected: {error}", logging.ERROR)
        finally:
            self._running.discard(job)
            if self._queued.get(inode) is job:
                del self._queued[inode]
            if self._background.get(inode) is job:
                del self._background[inode]
            job.end()
            self._context.inodes.drop_if_unused(inode)
        if job.only_full_ranges and job.error is None:
            self._go_on(inode)

    def _go_on(self, inode: Inode) -> None:
        """Start the next background pass where the last one has left enough for it."""
        dirty = inode.dirty
        if dirty is not None and inode.place is not Place.UNLINKED and self._is_much(dirty, 1):
            self._upload_full_ranges(inode)

    async def _pass(self, inode: Inode, dirty: DirtyFile, job: _Job) -> None:
        if dirty.is_clean:
            self._finish(inode, dirty)
            return
        if job.only_full_ranges:
            most = min(_PASS_BYTES, self._context.staging.limit_bytes // 4)

            def on_answer(count: int) -> None:
                job.note_answer(count)
                dirty.staged.drop_clean(_FREED_BYTES)

            plan = Plan.of_full_ranges(
                dirty, most, on_answer, lambda: not self._is_waited_for(inode)
            )
            if not plan.extents:
                return
        else:
            plan = Plan.of(dirty)
        dirty.begin_pass()
        try:
            with trio.fail_after(self._deadline(plan)) as scope:
                self._passes[inode] = scope
                properties = await with_patience(
                    self._context, inode, lambda: self._upload(inode, dirty, plan)
                )
        except VfsError:
            if inode.dirty is dirty and inode.place is Place.GONE:
                raise self._conflicts.give_up(inode, dirty, None) from None
            raise
        except (AzureFilesError, trio.TooSlowError, OSError) as error:
            if inode in self._aborted:
                raise self._conflicts.give_up(inode, dirty, None, lost_lock=LOST_LOCK) from error
            dirty.error = failure = _as_vfs_error(error)
            _LOG.log(
                failure.log_level, "%r is not on the service: %s", _shown(inode), failure.reason
            )
            raise failure from error
        finally:
            self._passes.pop(inode, None)
            self._aborted.discard(inode)
            dirty.end_pass()
        if inode.dirty is dirty:
            self._uploaded(inode, dirty, plan, properties)

    async def _upload(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        try:
            return await self._uploader.run(inode, dirty, plan)
        except Conflict as conflict:
            return await self._conflicts.resolve(inode, dirty, plan, conflict.remote)

    def _is_waited_for(self, inode: Inode) -> bool:
        """Tell whether anybody but the next pass waits for the one under way to end."""
        return inode.lock.statistics().tasks_waiting > (inode in self._queued)

    def _deadline(self, plan: Plan) -> float:
        options = self._context.options
        return options.transfer_deadline + plan.longest() / options.slowest_upload

    def _uploaded(self, inode: Inode, dirty: DirtyFile, plan: Plan, properties: Properties) -> None:
        """Take over what a pass achieved: one synchronous step."""
        old, new = dirty.base, properties.validator()
        if new is not None and old is not None:
            stale = carried(old, plan, properties.size, dirty.staged.base_limit)
            self._context.cache.carry_over(old, new, stale)
        if inode.pages_of == old:
            inode.pages_of = new
        self._context.inodes.learn_id(inode, properties)
        inode.place, inode.outdated = Place.LINKED, None
        inode.created_here = plan.size == 0 and (old is None or inode.created_here)
        inode.checked_at = self._context.now()
        inode.changes += 1
        dirty.base, dirty.remote_size = new, properties.size
        dirty.base_write_ns = properties.last_write_time_ns
        dirty.settle()
        if plan.is_partial:
            dirty.confirmed_at = inode.compared_at
        else:
            dirty.sent(plan.size, (plan.mtime_ns, plan.ctime_ns))
        for extent in plan.extents:
            dirty.uploaded(extent)
        dirty.staged.rebase(new, plan.size)
        self._context.tree.added(inode)
        if dirty.is_clean:
            self._finish(inode, dirty)
        elif inode not in self._queued and not self._is_much(dirty, 1):
            # A pass that follows at once must not wait for this: it does it by and by.
            dirty.staged.drop_clean()

    def _finish(self, inode: Inode, dirty: DirtyFile) -> None:
        """End the dirty state of a file that is wholly on the service.

        Small content goes to the read cache.
        """
        validator = inode.validator
        if validator is not None and dirty.size <= _CACHED_AFTER_UPLOAD_BYTES:
            for index, block in enumerate(ByteRange(0, dirty.size).split(BLOCK_BYTES)):
                if dirty.staged.present.covers(block):
                    self._context.cache.put(validator, index, dirty.staged.read(block))
        inode.dirty = None
        dirty.staged.discard()


def _as_vfs_error(error: AzureFilesError | trio.TooSlowError | OSError) -> VfsError:
    if isinstance(error, AzureFilesError):
        return to_vfs_error(error)
    if isinstance(error, trio.TooSlowError):
        return VfsError(
            errno.ETIMEDOUT, "the upload did not end within its deadline", logging.ERROR
        )
    return VfsError(errno.EIO, f"the staging area: {error.strerror or error}", logging.ERROR)


def _shown(inode: Inode) -> str:
    return str(inode.path()) if inode.is_named else inode.name
