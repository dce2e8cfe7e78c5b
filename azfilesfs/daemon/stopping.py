"""The end of a mount: out of the tree, nothing more to serve, everything sent, said how it went."""

from __future__ import annotations

import logging
import math
from typing import Final

import trio

from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.config.mount import MountConfig
from azfilesfs.daemon.notify import ServiceManager
from azfilesfs.daemon.registry import StatusFile
from azfilesfs.daemon.shutdown import Shutdown
from azfilesfs.fuse.detach import detach, unmount
from azfilesfs.fuse.session import Session
from azfilesfs.vfs.filesystem import FileSystem

_log = logging.getLogger(__name__)

_SENDING_SHARE: Final = 1 / 3
_SENDING_SECONDS: Final = 20.0
"""Of the time for stopping at most this is kept for sending after open files were served."""

_PROGRESS_SECONDS: Final = 0.5
_LOCKS_SECONDS: Final = 10.0
"""For giving locks back at the service; what is left then, the next to want them finds out."""


class Stopping:
    """The end of one mount, from the first request or the unmounting to the exit status.

    The time for it runs from the first of them and covers both serving what is still open and
    sending.
    """

    def __init__(
        self,
        config: MountConfig,
        filesystem: FileSystem,
        shutdown: Shutdown,
        status: StatusFile,
        manager: ServiceManager,
    ) -> None:
        """Keep the parts."""
        self._mountpoint = config.mountpoint
        self._timeout = config.drain_timeout
        self._filesystem = filesystem
        self._shutdown = shutdown
        self._status = status
        self._manager = manager
        self._deadline = math.inf

    def serving(self) -> None:
        """Note that the mount works."""
        self._status.update(phase="serving")

    def _begin(self) -> None:
        if self._deadline == math.inf:
            self._deadline = trio.current_time() + self._timeout
            self._manager.stopping("unmounting")

    async def end_session_when_asked(self, session: Session) -> None:
        """Take the mount out of the tree when somebody asks, and end its session in time.

        A mount that nobody uses ends by the unmounting itself. Files that are open are served on
        until they are closed, the time is nearly up, or somebody asks again.
        """
        await self._shutdown.requested.wait()
        self._begin()
        self._status.update(phase="stopping")
        if await trio.to_thread.run_sync(unmount, self._mountpoint, abandon_on_cancel=True):
            await trio.sleep_forever()  # the session notices, and its end cancels this
        _log.info("files are open on %s: they are served on", self._mountpoint)
        self._manager.status("serving files that are still open")
        await trio.to_thread.run_sync(detach, self._mountpoint, abandon_on_cancel=True)
        kept_back = min(_SENDING_SECONDS, self._timeout * _SENDING_SHARE)
        with trio.move_on_at(self._deadline - kept_back):
            async with trio.open_nursery() as nursery:
                # What is dirty now may as well be on its way while others finish their work.
                nursery.start_soon(self._filesystem.drain)
                await self._shutdown.hurried.wait()
                nursery.cancel_scope.cancel()
        session.terminate()

    async def drain(self) -> int:
        """Send what is unsent until the deadline and return the exit status."""
        self._begin()
        self._status.update(phase="draining")
        self._manager.status("sending what is unsent")
        left = await self._send()
        statistics = self._filesystem.statistics()
        if left is None:
            left = statistics.dirty_files
        code = ExitCode.UNSENT_DATA if left else ExitCode.OK
        if left:
            _log.error("%d file(s) could not be sent; see 'azfilesfs recover list'", left)
        self._status.update(
            phase="ended", dirty_files=left, dirty_bytes=statistics.dirty_bytes, exit_code=int(code)
        )
        return int(code)

    async def _send(self) -> int | None:
        """Send until the deadline; None if that or somebody's impatience ended it."""
        left: int | None = None
        # The nursery as well: its own end must not be cut short by a cancellation from outside.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._show_progress)
                with trio.CancelScope(deadline=self._deadline) as sending:
                    nursery.start_soon(self._cancel_when_abandoned, sending)
                    left = await self._filesystem.drain()
                    with trio.move_on_after(_LOCKS_SECONDS):
                        await self._filesystem.end_locks()
                nursery.cancel_scope.cancel()
        return left

    async def _cancel_when_abandoned(self, sending: trio.CancelScope) -> None:
        await self._shutdown.abandoned.wait()
        sending.cancel()

    async def _show_progress(self) -> None:
        while True:
            now = self._filesystem.statistics()
            self._status.update(dirty_files=now.dirty_files, dirty_bytes=now.dirty_bytes)
            await trio.sleep(_PROGRESS_SECONDS)
