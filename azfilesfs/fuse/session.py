"""The life of one FUSE mount: mount, serve, close. There is one session per process, as pyfuse3
wants it.

Facts that shape this (measured; docs/internals/architecture.md):
``max_read`` as a mount option ends the mount, so it is never passed; the kernel's readahead of 128
KiB halves cold sequential reads, so it is raised through sysfs where that is allowed; 99 requests
under way, and 12 in the background, are few where each may wait for the network; libfuse
writes its complaints to file descriptor 2 itself, so they are caught there and become part of the
error.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyfuse3
import trio

from azfilesfs.fuse import optable
from azfilesfs.fuse.detach import detach
from azfilesfs.fuse.dispatcher import Dispatcher
from azfilesfs.fuse.mountinfo import mount_at
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.model.times import TICK_NS

_log = logging.getLogger(__name__)

READAHEAD_KIB: Final = 1024
"""Enough for large requests; more would make every fault of a mapping read that much around it."""

_REQUESTS: Final = 1024
"""Requests of the kernel that may be under way at once; pyfuse3 takes 99 if nobody says otherwise,
and whoever comes then waits for one of these to end."""

_BACKGROUND_REQUESTS: Final = 512
"""How many of them may be reads through the page cache; the rest is for whoever lists or opens."""

_SUBTYPE: Final = "azfilesfs"
_BDI: Final = Path("/sys/class/bdi")
_CLOSE_SECONDS: Final = 2.0
_COMPLAINT_BYTES: Final = 4096


class MountFailed(Exception):
    """The kernel or libfuse refused the mount; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """What the kernel is told about the mount.

    Attributes:
        checks_permissions: whether the kernel checks owners and modes; where it need not, it does
            not ask for a directory's attributes again after each creation and removal in it. Where
            others are allowed it always does: modes are all that holds them back.
        collect_writes: whether the kernel may keep what programs write until a flush or fsync, and
            keep sizes and times itself.
    """

    mountpoint: Path
    source: str
    allow_other: bool = False
    checks_permissions: bool = True
    read_only: bool = False
    no_exec: bool = False
    collect_writes: bool = False
    readahead_kib: int = READAHEAD_KIB

    def flags(self) -> set[str]:
        """Return the options for libfuse; permissions are the kernel's to check, or nobody's."""
        # libfuse splits at commas, pyfuse3 encodes as ASCII.
        source = quote(self.source, safe="/:@.-_ ~+")
        flags = {f"fsname={source}", f"subtype={_SUBTYPE}"}
        if self.checks_permissions or self.allow_other:
            flags.add("default_permissions")
        if self.allow_other:
            flags.add("allow_other")
        if self.read_only:
            flags.add("ro")
        if self.no_exec:
            flags.add("noexec")
        return flags


class Session:
    """A mounted session; made by ``mounted``."""

    def __init__(
        self,
        operations: Operations,
        options: MountOptions,
        notifier: PyfuseNotifier,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """Keep the parts; nothing happens yet."""
        self._dispatcher = dispatcher
        self._operations = operations
        self._options = options
        self._notifier = notifier
        self._ready = trio.Event()
        self._device: str | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the kernel until the filesystem is unmounted or ``terminate`` is called.

        Reports started once the kernel has spoken to us. A cancellation leaves requests without an
        answer; ``mounted`` then unmounts.

        Raises:
            MountFailed: the kernel hung up before it had spoken.
        """
        self._operations.on_init = self._ready.set
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notifier.run)
            nursery.start_soon(self._announce, task_status)
            if self._dispatcher is not None:
                nursery.start_soon(self._dispatcher.run)
            await pyfuse3.main(max_tasks=_REQUESTS)
            self._notifier.detach()
            nursery.cancel_scope.cancel()
        if not self._ready.is_set():
            raise MountFailed("the kernel closed the connection at once")

    async def _announce(self, task_status: trio.TaskStatus[None]) -> None:
        await self._ready.wait()
        self._notifier.attach()
        found = mount_at(self._options.mountpoint)
        self._device = found.device if found is not None else None
        raise_readahead(self._options.mountpoint, self._options.readahead_kib)
        task_status.started()

    def terminate(self) -> None:
        """Make ``serve`` return; requests in flight are answered first."""
        pyfuse3.terminate()

    def close(self) -> None:
        """Unmount what is still mounted and free the session; requests that wait get ENOTCONN."""
        if not self._notifier.wait_idle(_CLOSE_SECONDS):
            # A thread is still inside the kernel with this session: freeing it would crash the
            # process, which ends soon anyway.
            _log.warning("an invalidation is stuck in the kernel; the mount is detached")
            detach(self._options.mountpoint)
            return
        pyfuse3.close(unmount=self._is_in_place())

    def _is_in_place(self) -> bool:
        """Tell whether it is our mount that stands at the mountpoint.

        After a detachment another may stand there, and unmounting goes by the path.
        """
        if self._device is None:
            return True
        found = mount_at(self._options.mountpoint)
        return found is not None and found.device == self._device


@contextmanager
def mounted(
    operations: Operations,
    options: MountOptions,
    notifier: PyfuseNotifier,
    dispatcher: Dispatcher | None = None,
) -> Iterator[Session]:
    """Mount, and unmount at the end whatever happened; what nobody serves any more would only hang.

    With a dispatcher (see ``dispatching``) the session also has the operations of its handlers.

    Raises:
        MountFailed: libfuse or the kernel refused.
    """
    _settle_connection(operations, collect_writes=options.collect_writes)
    with _stderr_caught() as complaint:
        try:
            pyfuse3.init(operations, os.fspath(options.mountpoint), options.flags())
        except RuntimeError as error:
            raise MountFailed(_one_line(complaint(), str(error))) from error
    session = Session(operations, options, notifier, dispatcher)
    try:
        if dispatcher is not None and not dispatcher.is_interposed:
            raise MountFailed("pyfuse3 made its session without the operation table")
        yield session
    finally:
        notifier.detach()
        session.close()


def _settle_connection(operations: Operations, *, collect_writes: bool) -> None:
    """Choose what the kernel and we are going to agree on."""
    operations.enable_writeback_cache = collect_writes
    try:
        table = optable.load()
    except optable.Unavailable as error:
        if collect_writes:
            # It would show times with digits that the service does not keep.
            raise MountFailed(f"the kernel cannot collect writes here: {error}") from None
        return
    table.allow_background(_BACKGROUND_REQUESTS)
    table.round_times(TICK_NS if collect_writes else 1)


def raise_readahead(mountpoint: Path, kib: int) -> None:
    """Let the kernel read further ahead, if we may; only root may write there."""
    found = mount_at(mountpoint)
    if found is None:
        return
    setting = _BDI / found.device / "read_ahead_kb"
    try:
        if int(setting.read_text()) < kib:
            setting.write_text(str(kib))
    except (OSError, ValueError) as error:
        _log.debug("the kernel's readahead stays as it is: %s", error)


@contextmanager
def _stderr_caught() -> Iterator[Callable[[], str]]:
    """Give file descriptor 2 to libfuse's complaints for a moment; the result reads them."""
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield lambda: os.pread(sink.fileno(), _COMPLAINT_BYTES, 0).decode(errors="replace")
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _one_line(complaint: str, otherwise: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return "; ".join(lines) or otherwise
