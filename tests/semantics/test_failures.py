"""S12: what programs see when the network or the service fails."""

import errno
import os
import time

import pytest
from trio.testing import MockClock

from azfilesfs.client import ClientOptions, TimeoutPolicy
from azfilesfs.model.limits import MIB
from tests.semantics.harness import World, get, put, refused

QUICK = ClientOptions(timeouts=TimeoutPolicy(small=0.3, transfer=0.3, connect=0.2, idle=0.2))
LOST = (errno.EIO, errno.ETIMEDOUT)


@pytest.mark.semantics("S12.1")
@pytest.mark.expect_log("is not on the service")
async def test_lost_network(world: World):
    """Each kind of call fails with an errno, soon, and none returns less than there is."""
    async with (
        world.mount(client=QUICK, attr_ttl=0.0, dir_ttl=0.0) as here,
        world.client() as share,
    ):
        await put(share, "file", bytes(5 * MIB))
        reader = await here.open(b"file")
        writer = await here.create(b"dirty")
        await writer.pwrite(b"x")
        started = time.monotonic()

        with world.unreachable():
            for attempt in (
                here.stat(b"file"),
                here.stat(b"other"),
                here.listdir(),
                here.open(b"file2"),
                here.create(b"new", os.O_EXCL),
                here.mkdir(b"folder"),
                here.unlink(b"file2"),
                here.rename(b"file2", b"other"),
                reader.pread(MIB, 4 * MIB),
                writer.fsync(),
            ):
                with refused(*LOST):
                    await attempt

        assert time.monotonic() - started < 30
        await reader.release()
        await writer.release()


@pytest.mark.semantics("S12.1")
async def test_service_that_does_not_answer(world: World):
    """A service that takes the request and stays silent is ETIMEDOUT within the deadline."""
    async with world.mount(client=QUICK) as here, world.client() as share:
        await put(share, "file", b"content")
        started = time.monotonic()
        with world.faults({"operation": "Get*", "delay": 5}), refused(errno.ETIMEDOUT):
            await here.read(b"file")
        assert time.monotonic() - started < 5


@pytest.mark.semantics("S12.2")
async def test_listing_that_breaks_off(world: World):
    """A listing whose second page fails is an error, not the first page."""
    async with world.mount() as here, world.client() as share:
        for number in range(3):
            await put(share, f"file{number}", b"")
        fault = {"operation": "ListDirectoriesAndFiles", "status": 500}
        with world.faults(fault), refused(errno.EIO):
            await here.listdir()
        fault = {"operation": "ListDirectoriesAndFiles", "cut": "body"}
        with world.faults(fault), refused(errno.EIO):
            await here.listdir()

        assert len(await here.listdir()) == 3


@pytest.mark.semantics("S12.3")
@pytest.mark.expect_log("is not on the service")
async def test_everything_goes_on(world: World):
    """After the outage the same descriptors and names work, and what was written is sent."""
    async with world.mount(attr_ttl=0.0, dir_ttl=0.0) as here, world.client() as share:
        await here.write(b"file", b"content")
        reader = await here.open(b"file")
        writer = await here.create(b"new")
        await writer.pwrite(b"written before")
        with world.unreachable():
            for attempt in (here.stat(b"file"), here.listdir(), writer.fsync()):
                with refused(*LOST):
                    await attempt

        assert await reader.read() == b"content"
        assert sorted(await here.listdir()) == [b"file", b"new"]
        await writer.pwrite(b"WRITTEN")
        await writer.close()
        assert await get(share, "new") == b"WRITTEN before"
        await reader.close()


CONTRADICTIONS = pytest.mark.parametrize(
    "fault",
    [
        {"truncate": 1},
        {"cut": "body"},
        {"answer_headers": {"content-range": "bytes 1-7/7"}},
        {"answer_headers": {"content-range": "rubbish"}},
    ],
    ids=str,
)


@pytest.mark.semantics("S12.4")
@CONTRADICTIONS
async def test_answer_that_contradicts_itself(world: World, fault: dict[str, object]):
    """It is EIO and returns nothing; the next read is asked for anew."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"content")
        await here.listdir()
        with world.faults({"operation": "GetFile", **fault}), refused(errno.EIO):
            await here.read(b"file")

        assert await here.read(b"file") == b"content"


@pytest.mark.semantics("S12.4")
@CONTRADICTIONS
async def test_contradiction_is_asked_about_again(
    world: World, fault: dict[str, object], autojump_clock: MockClock
):
    """One such answer is not noticed by the program: the request is repeated."""
    async with world.mount(client=ClientOptions()) as here, world.client() as share:
        await put(share, "file", b"content")
        with world.faults({"operation": "GetFile", "nth": 1, **fault}):
            assert await here.read(b"file") == b"content"
