"""A real mount of a filesystem in memory, served inside the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.fuse.session import MountOptions, Session, mounted
from tests.unit.fuse.memory import MemoryFilesystem


class Served:
    """What a test may use while the mount is there."""

    def __init__(self, mountpoint: Path, session: Session, notifier: PyfuseNotifier) -> None:
        """Keep the parts."""
        self.path = mountpoint
        self.session = session
        self.notifier = notifier
        self.measured: list[tuple[str, int]] = []
        self.ended = trio.Event()


@asynccontextmanager
async def serve(
    filesystem: MemoryFilesystem, mountpoint: Path, **settings: Any
) -> AsyncIterator[Served]:
    """Mount, serve in the background, and end by ``terminate`` if nothing ended it before."""
    measured: list[tuple[str, int]] = []
    guard = Guard(Deadlines(10, 10), lambda name, _, number: measured.append((name, number)))
    notifier = PyfuseNotifier()
    options = MountOptions(mountpoint=mountpoint, source="account/share", **settings)
    with mounted(Operations(filesystem, guard), options, notifier) as session:
        served = Served(mountpoint, session, notifier)
        served.measured = measured
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                await session.serve(task_status=task_status)
                served.ended.set()

            await nursery.start(run)
            try:
                yield served
            finally:
                if not served.ended.is_set():
                    session.terminate()
