"""``--close=async``: what a close promises then, who is told of what, and what a crash leaves."""

import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from azfilesfs.client import ShareClient
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs import behind
from azfilesfs.vfs.types import CloseMode, ExclusiveCreate, SetAttr
from tests.semantics.harness import Host, World, refused

ASYNC: dict[str, Any] = {"close": CloseMode.ASYNC}
UNSENT = pytest.mark.expect_log("is not on the service")
EARLIER = pytest.mark.expect_log("an earlier process left", "acknowledged file")


async def content(share: ShareClient, name: str) -> bytes | None:
    """Return what the service has, None for nothing."""
    path = SharePath((name,))
    try:
        size = (await share.get_file_properties(path)).size
    except Exception:  # noqa: BLE001  # whatever says that it is not there
        return None
    return bytes((await share.get_file(path)).data) if size else b""


@asynccontextmanager
async def held(world: World, *, questions: bool = False) -> AsyncIterator[trio.Event]:
    """Hold every upload back until the event that is yielded, or the end of the block; with
    ``questions`` everything else, too.
    """
    go = trio.Event()

    async def wait(scope) -> None:
        if questions or scope["method"] == "PUT":
            await go.wait()

    world.front.before.append(wait)
    try:
        yield go
    finally:
        go.set()
        world.front.before.remove(wait)


async def eventually(share: ShareClient, name: str, data: bytes) -> None:
    """Wait until the service has a file."""
    with trio.fail_after(20):
        while await content(share, name) != data:
            await trio.sleep(0.005)


@asynccontextmanager
async def killed(world: World, state: str, copy: Path) -> AsyncIterator[Host]:
    """Mount, and end as ``kill -9`` would: what the staging area was in the block's last moment is
    all that the next mount finds.
    """
    live = world.folder / state / "state" / "staging" / "live"
    async with world.mount(state, **ASYNC) as here:
        yield here
        shutil.copytree(live, copy)
        here.fs._context.nursery.cancel_scope.cancel()
    for left in (live, live.parent / "kept"):
        shutil.rmtree(left)
    shutil.copytree(copy, live)
    live.chmod(0o700)


@pytest.mark.semantics("S2.17")
@pytest.mark.parametrize("size", [0, 5, 100_000, 9 * MIB])
async def test_close_does_not_wait(world: World, size: int):
    """close returns while the service has nothing yet; the file arrives by itself."""
    data = os.urandom(size)
    async with world.mount(**ASYNC) as here, world.client() as share:
        async with held(world):
            await here.write(b"file", data)
            assert await content(share, "file") is None
            assert await here.read(b"file") == data
        await eventually(share, "file", data)
        seen = await share.get_file_properties(SharePath(("file",)))
        assert (await here.stat(b"file")).mtime_ns == seen.last_write_time_ns


@pytest.mark.semantics("S2.17")
async def test_fsync_waits_as_ever(world: World):
    """fsync is what it is without the option."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(b"data")
        await file.fsync()
        assert await content(share, "file") == b"data"
        await file.close()


@pytest.mark.semantics("S2.17")
@pytest.mark.parametrize("bound", ["BEHIND_FILES", "BEHIND_BYTES", "BEHIND_SECONDS"])
async def test_the_bound(world: World, monkeypatch: pytest.MonkeyPatch, bound: str):
    """With so many files, bytes or seconds behind a close waits for the service."""
    monkeypatch.setattr(behind, bound, {"BEHIND_FILES": 1, "BEHIND_BYTES": 3}.get(bound, 0.0))
    async with world.mount(**ASYNC) as here, world.client() as share:
        async with held(world) as go, trio.open_nursery() as nursery:
            waits = bound == "BEHIND_SECONDS"
            with trio.move_on_after(0.3 if waits else 30) as first:
                await here.write(b"a", b"12")
            assert first.cancelled_caught is waits
            with trio.move_on_after(0.3) as second:
                await here.write(b"b", b"12")
            assert second.cancelled_caught
            nursery.start_soon(here.write, b"c", b"12")
            await trio.testing.wait_all_tasks_blocked(0.01)
            go.set()
        for name in ("a", "b", "c"):
            await eventually(share, name, b"12")


@pytest.mark.semantics("S2.18")
async def test_this_mount_sees_it_at_once(world: World):
    """Names, sizes, directories and removals are those of what was closed."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        await here.mkdir(b"d")
        async with held(world):
            await here.write(b"d/file", b"data")
            assert await here.listdir(b"d") == [b"file"]
            assert (await here.stat(b"d/file")).size == 4
            with refused(errno.ENOTEMPTY):
                await here.rmdir(b"d")
            with refused(errno.EEXIST):
                await here.create(b"d/file", os.O_EXCL)
        await here.rename(b"d/file", b"moved")
        assert await content(share, "moved") == b"data"
        await here.rmdir(b"d")
        await here.unlink(b"moved")
        assert await content(share, "moved") is None


@pytest.mark.semantics("S2.18")
async def test_opening_for_writing_waits(world: World):
    """What was closed is not mixed with what nobody has closed yet."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        async with held(world):
            await here.write(b"file", b"data")
            reader = await here.open(b"file")
            assert await reader.read() == b"data"
            await reader.close()
            with trio.move_on_after(0.2) as waiting:
                await here.open(b"file", os.O_WRONLY)
            assert waiting.cancelled_caught
        file = await here.open(b"file", os.O_WRONLY | os.O_APPEND)
        assert await content(share, "file") == b"data"
        await file.pwrite(b"more")
        await file.close()
        await eventually(share, "file", b"datamore")


@UNSENT
@pytest.mark.semantics("S2.19")
async def test_a_later_failure_is_told(world: World):
    """The next open for writing, close or fsync of the file tells it; closes of it wait then."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        with world.faults(
            {"operation": "CreateFile", "status": 403, "code": "AuthorizationFailure"}
        ):
            other = await here.create(b"file")
            await here.write(b"file", b"data", 0)
            with trio.fail_after(10):
                while here.unsent(other).error is None:
                    await trio.sleep(0.005)
            with refused(errno.EACCES):
                await here.open(b"file", os.O_WRONLY)
            with refused(errno.EACCES):
                await other.fsync()
            with refused(errno.EACCES):
                await other.flush()
            assert await here.read(b"file") == b"data"
        await other.close()
        assert await content(share, "file") == b"data"


@pytest.mark.expect_log("conflict on")
@pytest.mark.semantics("S2.19")
async def test_another_writer_in_between(world: World):
    """A conflict found after the close is logged; the bytes are kept and not sent by themselves."""
    state = "host"
    async with world.mount(state, **ASYNC) as here, world.client() as share:
        await share.create_file(SharePath(("file",)), 4, data=b"base")
        async with held(world):
            await here.write(b"file", b"mine", 0)
            await share.put_range(SharePath(("file",)), 0, b"THEM")
        with trio.fail_after(10):
            while not here.kept():
                await trio.sleep(0.005)
        (record,) = here.kept()
        assert record.acknowledged is None
        assert await here.read(b"file") == await content(share, "file")


@pytest.mark.expect_log("conflict on")
@pytest.mark.semantics("S2.19")
async def test_exclusive_creation_by_the_mount(world: World):
    """A name that appeared elsewhere cannot be told any more: logged, and the bytes are kept."""
    options: dict[str, Any] = {**ASYNC, "exclusive_create": ExclusiveCreate.MOUNT, "attr_ttl": 0.0}
    async with world.mount(**options) as here, world.client() as share:
        file = await here.create(b"file", os.O_EXCL)
        async with held(world, questions=True):
            await share.create_file(SharePath(("file",)), 4, data=b"them")
            await file.pwrite(b"mine")
            await file.close()
        with trio.fail_after(10):
            while not here.kept():
                await trio.sleep(0.005)
        assert await content(share, "file") == b"them"


@EARLIER
@pytest.mark.semantics("S2.20")
@pytest.mark.parametrize("size", [0, 5, 100_000, 9 * MIB])
async def test_after_a_kill_the_next_mount_sends(world: World, tmp_path: Path, size: int):
    """What was closed arrives with its times; what was only written is kept."""
    data = os.urandom(size)
    async with world.client() as share:
        async with held(world), killed(world, "host", tmp_path / "left") as here:
            await here.write(b"file", data)
            mtime = (await here.stat(b"file")).mtime_ns
            file = await here.create(b"unclosed")
            await file.pwrite(b"data")
        assert await content(share, "file") is None
        async with world.mount("host", **ASYNC) as again:
            await again.fs.check()
            assert await again.read(b"file") == data
            assert (await again.stat(b"file")).mtime_ns == mtime
            (record,) = again.kept()
            assert str(record.path) == "unclosed"


@EARLIER
@pytest.mark.semantics("S2.20")
@pytest.mark.parametrize("size", [5, 9 * MIB])
async def test_after_a_kill_in_the_middle_of_the_upload(world: World, tmp_path: Path, size: int):
    """What had arrived of the same file is no change of another client."""
    data = os.urandom(size)
    async with world.client() as share:
        await share.create_file(SharePath(("old",)), 10 * MIB)
        async with killed(world, "host", tmp_path / "left") as here:
            async with held(world) as go:
                await here.write(b"new", data)
                await here.write(b"old", b"changed", 0)
                shutil.copytree(
                    world.folder / "host" / "state" / "staging" / "live", tmp_path / "early"
                )
                go.set()
                await eventually(share, "new", data)
            with trio.fail_after(10):
                while here.fs.statistics().dirty_files:
                    await trio.sleep(0.005)
        live = world.folder / "host" / "state" / "staging" / "live"
        shutil.rmtree(live)
        shutil.copytree(tmp_path / "early", live)
        live.chmod(0o700)
        async with world.mount("host", **ASYNC) as again:
            await again.fs.check()
            assert again.kept() == []
            assert await again.read(b"new") == data
            assert (await again.read(b"old"))[:9] == b"changed\0\0"


@pytest.mark.expect_log("an earlier process left", "acknowledged file", "is kept, another client")
@pytest.mark.semantics("S2.20")
async def test_after_a_kill_another_writer_was_there(world: World, tmp_path: Path):
    """The next mount compares first: the other version stays, the bytes are kept for a person."""
    async with world.client() as share:
        await share.create_file(SharePath(("old",)), 4, data=b"base")
        async with held(world), killed(world, "host", tmp_path / "left") as here:
            await here.write(b"old", b"mine", 0)
            await here.write(b"new", b"mine")
        await share.put_range(SharePath(("old",)), 0, b"THEM")
        await share.create_file(SharePath(("new",)), 4, data=b"THEM")
        for _ in range(2):
            async with world.mount("host", **ASYNC) as again:
                await again.fs.check()
                assert len(again.kept()) == 2
        assert await content(share, "old") == await content(share, "new") == b"THEM"


@EARLIER
@pytest.mark.semantics("S2.20")
async def test_many_promises(world: World, tmp_path: Path):
    """They are sent several at once, one request a small file beyond the comparison."""
    async with world.client() as share:
        async with held(world), killed(world, "host", tmp_path / "left") as here:
            for number in range(30):
                await here.write(b"f%d" % number, b"data")
        async with world.mount("host", **ASYNC) as again:
            with world.counted() as counts:
                await again.fs.check()
            assert counts["CreateFile"] == counts["GetFileProperties"] == 30
            assert again.kept() == []
        for number in range(30):
            assert await content(share, f"f{number}") == b"data"


@EARLIER
@pytest.mark.semantics("S2.20")
async def test_written_again_after_its_close(world: World, tmp_path: Path):
    """A file that was changed after the promise is kept as a whole, and not sent by itself."""
    async with world.client() as share:
        async with held(world), killed(world, "host", tmp_path / "left") as here:
            file = await here.create(b"file")
            await file.pwrite(b"data")
            await file.flush()
            await file.pwrite(b"DA")
        async with world.mount("host", **ASYNC) as again:
            await again.fs.check()
            (record,) = again.kept()
            assert record.acknowledged is None
        assert await content(share, "file") is None


@pytest.mark.semantics("S2.17")
async def test_unmounting_sends(world: World):
    """The drain waits for all of it."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        for number in range(20):
            await here.write(b"f%d" % number, b"data")
        assert await here.fs.drain() == 0
        for number in range(20):
            assert await content(share, f"f{number}") == b"data"


@pytest.mark.semantics("S2.17")
async def test_times_by_path_after_the_close(world: World):
    """utimensat of a file that is on its way does not wait either, and its times arrive."""
    async with world.mount(**ASYNC) as here, world.client() as share:
        async with held(world):
            file = await here.create(b"file")
            await file.pwrite(b"data")
            await here.fs.setattr(file.ino, SetAttr(mtime_ns=10**18), file.handle)
            await file.close()
        await eventually(share, "file", b"data")
        seen = await share.get_file_properties(SharePath(("file",)))
        assert seen.last_write_time_ns == 10**18


@pytest.mark.expect_log("a close waits for the service")
@pytest.mark.semantics("S2.17")
async def test_a_local_disk_that_fails(world: World, monkeypatch: pytest.MonkeyPatch):
    """Where the promise cannot be written down the close waits for the service."""

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "bad disk")

    async with world.mount(**ASYNC) as here, world.client() as share:
        monkeypatch.setattr(behind, "sync_path", fail)
        async with held(world) as go, trio.open_nursery() as nursery:
            nursery.start_soon(here.write, b"file", b"data")
            await trio.testing.wait_all_tasks_blocked(0.05)
            go.set()
        assert await content(share, "file") == b"data"
