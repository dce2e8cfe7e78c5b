"""Cancellation at every checkpoint and a fault at every request: nothing is held, nothing is lost.

One history creates a file, writes it, syncs it, renames it over an open one, and unlinks that.
Wherever it is broken off, the tables must agree, the filesystem must go on, the mount and the
service must show the same, and every acknowledged byte must be on one of them.
"""

import errno
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from azfilesfs.client import NO_RETRIES
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from tests.unit.vfs.harness import (
    FAST_RETRIES,
    ROOT,
    CancelAt,
    OpenFile,
    Program,
    check_tables,
    get,
    idle,
    make_app,
    mounted,
    other_client,
    put,
)

QUIET = pytest.mark.expect_log(
    "is not on the service", "after its last close", "could not be sent", "conflict on"
)
EXPECTED = {errno.EIO, errno.ETIMEDOUT, errno.EACCES, errno.ENOENT}
TARGET = b"target" * 1000
SIZES = {"small": 3000, "large": 5 * MIB}


def in_steps(app):
    """Let a request take several steps: before the effect, after it, and for each message."""

    async def stepping(scope, receive, send):
        async def slow_receive():
            await trio.lowlevel.checkpoint()
            return await receive()

        async def slow_send(message):
            await trio.lowlevel.checkpoint()
            await send(message)
            await trio.lowlevel.checkpoint()

        await app(scope, slow_receive, slow_send)

    return stepping


@dataclass
class History:
    """How far the history has come, and what it holds."""

    program: Program
    data: bytes
    flags: int
    written: int = 0
    done: list[str] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    file: OpenFile | None = None
    reader: OpenFile | None = None

    async def run(self) -> None:
        """Go through all of it."""
        for step in (self.open, self.create, self.write, self.sync, self.read, self.rename,
                     self.read, self.unlink, self.read, self.close):  # fmt: skip
            try:
                await step()
            except VfsError as error:
                if error.errno not in EXPECTED:
                    raise
                self.failed.append(error.errno)
                if step not in (self.read, self.sync):
                    return
            else:
                self.done.append(step.__name__)

    async def open(self) -> None:
        """Open the file that will be replaced."""
        self.reader = await self.program.open("target")

    async def create(self) -> None:
        """Create the new file."""
        self.file = await self.program.create(ROOT, b"new", self.flags)

    async def write(self) -> None:
        """Write it."""
        assert self.file is not None
        for start in range(0, len(self.data), MIB):
            piece = self.data[start : start + MIB]
            await self.program.fs.write(self.file.handle, start, piece)
            self.written += len(piece)

    async def sync(self) -> None:
        """Bring it to the service."""
        assert self.file is not None
        await self.file.fsync()

    async def rename(self) -> None:
        """Replace the open file by it."""
        await self.program.fs.rename(ROOT, b"new", ROOT, b"target", 0)

    async def read(self) -> None:
        """Read through the handle of the file that was there first."""
        assert self.reader is not None
        assert await self.reader.read() == TARGET

    async def unlink(self) -> None:
        """Remove what has the name now."""
        await self.program.fs.unlink(ROOT, b"target")

    async def close(self) -> None:
        """Close the new file."""
        assert self.file is not None
        await self.program.fs.flush(self.file.handle)

    def check_content(self, name: str, content: bytes | None) -> None:
        """Check that a content is one that the history can have led to."""
        if content is None:
            reached = {"new": "rename", "target": "unlink"}[name]
            assert name == "new" or reached not in self.pending()
            return
        if content == TARGET and name == "target":
            return
        # A write that was broken off is staged or not, so one piece more may be there.
        assert content == self.data[: len(content)]
        assert len(content) in {self.written, min(self.written + MIB, len(self.data))}

    def pending(self) -> list[str]:
        """Return the steps that were neither done nor begun."""
        steps = ["open", "create", "write", "sync", "rename", "unlink", "close"]
        return steps[steps.index(self.last()) + 2 :]

    def last(self) -> str:
        """Return the last step that was done, of those that change something."""
        return next((step for step in reversed(self.done) if step != "read"), "open")


@asynccontextmanager
async def world(directory, size: str, flags: int, retry) -> AsyncIterator[tuple]:
    """Run a mount with a file on it, and a history to go."""
    app = make_app()
    directory.mkdir()
    async with other_client(app) as host:
        await put(host, "target", TARGET)
        async with mounted(app, directory, retry=retry, wrap=in_steps) as program:
            yield app, host, program, History(program, os.urandom(SIZES[size]), flags)
    shutil.rmtree(directory)


async def check_world(host, program: Program, history: History) -> None:
    """Check everything that must hold whatever happened."""
    with trio.fail_after(20):
        await idle(program)
    check_tables(program)
    # The mount shows what the history can have led to, and so does the service after a drain.
    for name in ("new", "target"):
        if await program.exists(name):
            history.check_content(name, await program.read(name))
    if history.reader is not None:
        assert await history.reader.read() == TARGET
    assert await program.fs.drain() == 0
    for name in ("new", "target"):
        content = await get(host, name)
        history.check_content(name, content)
        assert await program.exists(name) == (content is not None), name
        if content is not None:
            assert await program.read(name) == content
    page = await host.list_page(SharePath.ROOT)
    shown = sorted(entry.name.encode() for entry in page.entries if entry.name[0] != ".")
    assert await program.names() == shown
    # It still works.
    await program.write("after", b"after")
    assert await get(host, "after") == b"after"
    assert program.staging.kept() == []


@QUIET
@pytest.mark.parametrize(
    ("size", "flags"),
    [("small", os.O_RDWR), ("small", os.O_RDWR | os.O_EXCL), ("large", os.O_RDWR)],
    ids=["plain", "exclusive", "large"],
)
async def test_cancelled_at_every_checkpoint(tmp_path, size, flags):
    """The history is given up at its k-th checkpoint, for every k."""
    for count in itertools.count(1):
        async with world(tmp_path / f"{count}", size, flags, FAST_RETRIES) as made:
            _, host, program, history = made
            task = trio.lowlevel.current_task()
            with trio.CancelScope() as scope:
                instrument = CancelAt(task, scope, count)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await history.run()
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            assert history.failed == []
            await check_world(host, program, history)
            if not scope.cancelled_caught:
                assert history.last() == "close"
                break
    assert count > 30


@QUIET
@pytest.mark.parametrize("size", SIZES)
async def test_the_end_of_the_mount_at_every_checkpoint(tmp_path, size):
    """The mount ends at the k-th checkpoint of the history: what was written is sent or kept."""
    for count in itertools.count(1):
        app = make_app()
        directory = tmp_path / f"{count}"
        directory.mkdir()
        async with other_client(app) as host:
            await put(host, "target", TARGET)
            with trio.CancelScope() as scope:
                async with mounted(app, directory, check=False, wrap=in_steps) as program:
                    history = History(program, os.urandom(SIZES[size]), os.O_RDWR)
                    instrument = CancelAt(trio.lowlevel.current_task(), scope, count)
                    trio.lowlevel.add_instrument(instrument)
                    try:
                        await history.run()
                    finally:
                        trio.lowlevel.remove_instrument(instrument)
            kept = program.staging.kept()
            if "unlink" in history.pending() and history.written:
                found = [await get(host, name) for name in ("new", "target")]
                is_sent = history.data[: history.written] in found
                assert is_sent or [record.size for record in kept] in (
                    [history.written],
                    [history.written + MIB],
                    [history.written + len(history.data) % MIB],
                )
            if "sync" in history.done:
                assert kept == []
        shutil.rmtree(directory)
        if not scope.cancelled_caught:
            break
    assert count > 30


FAULTS: dict[str, dict[str, Any]] = {
    "error": {"status": 500},
    "error after the effect": {"status": 500, "effect": True},
    "throttled": {"status": 503, "code": "ServerBusy"},
    "refused": {"status": 403, "code": "AuthorizationFailure"},
    "cut before": {"cut": "before"},
    "cut in the request": {"cut": "request"},
    "cut after": {"cut": "after"},
    "cut in the answer": {"cut": "body"},
    "truncated": {"operation": "GetFile", "truncate": 1},
}


@QUIET
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("size", "flags", "retry"),
    [
        ("small", os.O_RDWR, NO_RETRIES),
        ("small", os.O_RDWR, FAST_RETRIES),
        ("small", os.O_RDWR | os.O_EXCL, NO_RETRIES),
        ("small", os.O_RDWR | os.O_EXCL, FAST_RETRIES),
        ("large", os.O_RDWR, NO_RETRIES),
    ],
    ids=["plain", "plain repeated", "exclusive", "exclusive repeated", "large"],
)
async def test_a_fault_at_every_request(tmp_path, fault, size, retry, flags):
    """The k-th request of the history goes wrong, for every k; what fails is told."""
    for count in itertools.count(1):
        async with world(tmp_path / f"{count}", size, flags, retry) as made:
            app, host, program, history = made
            app.faults.add(nth=count, **FAULTS[fault])
            await history.run()
            fired = app.faults.state()["rules"][0]["fired"]
            app.faults.clear()
            if not history.failed:
                assert history.last() == "close"
            await check_world(host, program, history)
            if not fired:
                assert history.failed == []
                break
    assert count > 1
