"""Mounts of one share in one process and in simulated time, whose connections a test can cut."""

import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from azfilesfs.emulator.app import EmulatorApp
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import END_OF_FILE, Span
from azfilesfs.vfs.types import LockOptions
from tests.unit.vfs.harness import OpenFile, Program, make_app, mounted

BASE_NS = 1_700_000_000_000_000_000
MODES = {fcntl.LOCK_SH: Mode.SHARED, fcntl.LOCK_EX: Mode.EXCLUSIVE, fcntl.LOCK_UN: Mode.NONE}


def now_ns() -> int:
    """Return the simulated time."""
    return BASE_NS + int(trio.current_time() * 1e9)


def locking_app() -> EmulatorApp:
    """Make a service whose clock is the simulated one."""
    return make_app(clock=now_ns, check_date=False)


class Line:
    """The connection of one host: cut, or watched.

    Attributes:
        before: what happens once before the next request with such a part in its line.
    """

    def __init__(self) -> None:
        """Begin connected."""
        self.is_cut = False
        self.requests: list[str] = []
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}

    def wrap(self, app):
        """Stand before the service."""

        async def through(scope, receive, send) -> None:
            if scope["type"] == "http":
                if self.is_cut:
                    raise OSError("cut")
                query = scope["query_string"].decode()
                line = f"{scope['method']} {scope['path']}?{query}"
                self.requests.append(line)
                for part in [part for part in self.before if part in line]:
                    await self.before.pop(part)()
            await app(scope, receive, send)

        return through


@dataclass
class Host:
    """One mount with its programs' open files."""

    program: Program
    line: Line
    ended: bool = False
    owner: int = 100
    handles: list[OpenFile] = field(default_factory=list)

    async def open(self, path: str = "file", flags: int = os.O_RDWR) -> OpenFile:
        """Open a file until the mount ends."""
        opened = await self.program.open(path, flags)
        self.handles.append(opened)
        return opened

    async def flock(self, file: OpenFile, operation: int, *, pid: int = 7) -> None:
        """Call flock(2)."""
        mode = MODES[operation & ~fcntl.LOCK_NB]
        wait = not operation & fcntl.LOCK_NB
        await self.program.fs.locks.flock(file.handle, mode, wait=wait, pid=pid)

    async def setlk(
        self, file: OpenFile, mode: Mode, start: int = 0, stop: int = END_OF_FILE, **more
    ) -> None:
        """Call fcntl(2) with F_SETLKW, or F_SETLK with ``wait=False``."""
        chosen = {"owner": self.owner, "wait": True, "pid": self.owner, **more}
        owner = chosen.pop("owner")
        await self.program.fs.locks.setlk(file.handle, owner, mode, Span(start, stop), **chosen)

    def session(self) -> str | None:
        """Return the id of the session that lives."""
        return self.program.fs.locks.lock_session()


@asynccontextmanager
async def host(
    app: EmulatorApp, folder: Path, *, end: bool = True, ttl: int = 60, **options
) -> AsyncIterator[Host]:
    """Mount on a host of its own; without ``end`` it dies at the end of the block."""
    line = Line()
    vfs = {name: options.pop(name) for name in list(options) if name in VFS_OPTIONS}
    locks = LockOptions(clock=now_ns, ttl=ttl, **options)
    async with mounted(app, folder, wrap=line.wrap, check=False, locks=locks, **vfs) as program:
        made = Host(program, line)
        try:
            yield made
        finally:
            if end and not made.ended:
                line.is_cut = False
                await program.end()
                await program.fs.end_locks()


VFS_OPTIONS = ("attr_ttl", "dir_ttl", "read_only", "operation_deadline", "transfer_deadline")


def lease_requests(line: Line) -> list[str]:
    """Return what was sent for locks: leases, and files of ours."""
    return [
        request for request in line.requests if "comp=lease" in request or "/.azfilesfs" in request
    ]
