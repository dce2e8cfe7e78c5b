"""Stopping in steps: asked once, the mount ends in order; asked again, it hurries."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable

import trio

_log = logging.getLogger(__name__)


class Shutdown:
    """How urgently somebody wants us to stop.

    Attributes:
        requested: stop in order: serve files that are open until they are closed or time is up.
        hurried: serve no longer, send what is unsent.
        abandoned: send nothing any more; what is unsent stays in the staging area.
    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.requested = trio.Event()
        self.hurried = trio.Event()
        self.abandoned = trio.Event()

    def ask(self) -> None:
        """Ask one step more urgently than before."""
        for step in (self.requested, self.hurried, self.abandoned):
            if not step.is_set():
                step.set()
                return


async def receive_signals(
    shutdown: Shutdown,
    reload: Callable[[], Awaitable[object]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Turn SIGTERM and SIGINT into requests to stop and SIGHUP into ``reload``, until cancelled."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as arrived:
        task_status.started()
        async for number in arrived:
            _log.info("received %s", signal.Signals(number).name)
            if number == signal.SIGHUP:
                await reload()
            else:
                shutdown.ask()
