"""Large files while they are being written: what is sent when, and what a writer waits for."""

import os
import shutil

import pytest
import trio
import trio.testing

from azfilesfs.emulator.app import EmulatorApp
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs import plan, resend
from tests.unit.vfs.harness import OpenFile, Program, expect, get, idle, inode_of, operations

CREATE = os.O_CREAT | os.O_RDWR
FAILS = pytest.mark.expect_log("is not on the service")
SMALL = {"staging_limit": 64 * MIB}
"""An area of which 4 MiB begin a background upload, and 16 MiB go into one pass."""


def pattern(size: int) -> bytes:
    """Return bytes without a zero that differ from one MiB to the next."""
    return b"".join(bytes([1 + number % 255]) * MIB for number in range(size // MIB))


@pytest.mark.semantics("S2.15")
async def test_a_stream_larger_than_the_staging_area(mount, host, app):
    """Its blocks are freed while it is written, growth costs few requests, the size is exact."""
    data = pattern(96 * MIB)
    async with mount(**SMALL) as program:
        file = await program.open("a", CREATE)
        staged = inode_of(program, file.ino).dirty.staged
        most = held = 0
        for start in range(0, len(data), MIB):
            await program.fs.write(file.handle, start, data[start : start + MIB])
            most = max(most, program.fs.statistics().dirty_bytes)
            held = max(held, os.stat(staged._directory.data).st_blocks * 512)
        assert most <= 40 * MIB
        assert held <= 64 * MIB
        await file.close()
        assert await get(host, "a") == data
        counts = operations(app)
        assert counts["PutRange"] == 24
        assert counts["CreateFile"] == 1
        assert counts["SetFileProperties"] <= 3
        assert counts["GetFileProperties"] <= 2 * 24
        assert await program.read("a") == data


@pytest.mark.semantics("S2.15")
async def test_size_and_times_between(mount, host):
    """fsync in the middle of a stream leaves what was written, and fstat shows that throughout."""
    data = pattern(24 * MIB)
    async with mount(**SMALL) as program:
        file = await program.open("a", CREATE)
        await file.write(data[: 20 * MIB])
        await idle(program)
        grown = (await host.get_file_properties(SharePath(("a",)))).size
        assert grown > 20 * MIB
        assert (await file.stat()).size == 20 * MIB
        assert await file.read(20 * MIB - 1) == data[20 * MIB - 1 : 20 * MIB]
        await file.fsync()
        seen = await host.get_file_properties(SharePath(("a",)))
        shown = await file.stat()
        assert (seen.size, seen.last_write_time_ns) == (20 * MIB, shown.mtime_ns)
        await file.write(data[20 * MIB :], 20 * MIB)
        await file.truncate(22 * MIB)
        await file.close()
        assert await get(host, "a") == data[: 22 * MIB]


async def test_a_stream_that_leaves_holes(mount, host):
    """What lies between is zeros, though the file was grown ahead over it."""
    async with mount(**SMALL) as program:
        file = await program.open("a", CREATE)
        await file.write(pattern(8 * MIB))
        await idle(program)
        await file.write(b"end", 30 * MIB)
        await file.close()
        assert await get(host, "a") == pattern(8 * MIB) + bytes(22 * MIB) + b"end"


@pytest.mark.semantics("S2.15")
async def test_a_fast_writer_waits(mount, app):
    """While ranges are under way a writer gets no further ahead than some passes."""
    async with mount(**SMALL) as program:
        app.faults.add(operation="PutRange", delay=0.2)
        file = await program.open("a", CREATE)
        data = pattern(MIB)
        with trio.move_on_after(0.5):
            for start in range(63):
                await program.fs.write(file.handle, start * MIB, data)
        assert program.fs.statistics().dirty_bytes <= 34 * MIB
        app.faults.clear()
        await file.close()


@pytest.mark.semantics("S2.15")
async def test_a_fast_writer_waits_sooner_while_all_slots_are_taken(mount, app):
    """Twice what begins a pass is not sent then, and one pass is sent and not compared."""
    async with mount(upload_parallelism=1, **SMALL) as program:
        app.faults.add(operation="PutRange", delay=0.2)
        file = await program.open("a", CREATE)
        data = pattern(MIB)
        with trio.move_on_after(0.5):
            for start in range(63):
                await program.fs.write(file.handle, start * MIB, data)
        assert program.fs.statistics().dirty_bytes <= (8 + 16) * MIB
        app.faults.clear()
        await file.close()


@pytest.mark.semantics("S2.15")
async def test_a_writer_waits_for_a_range_that_gets_no_answer(mount, app):
    """With the slot taken for that long, a writer gets ahead by twice what begins a pass."""
    async with mount(upload_parallelism=1, **SMALL) as program:
        app.faults.add(operation="PutRange", delay=2.0, times=1)
        file = await program.open("a", CREATE)
        await file.write(pattern(5 * MIB))
        with trio.fail_after(20):
            while not program.fs._flusher._uploader.is_busy:
                await trio.sleep(0.001)

        async def write() -> None:
            for start in range(5, 20):
                await program.fs.write(file.handle, start * MIB, pattern(MIB))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            assert program.fs.statistics().dirty_bytes == 8 * MIB
        await file.close()


async def test_a_writer_goes_on_while_a_pass_is_compared(mount, app):
    """Between the last range of a pass and the first of the next the time is the writer's."""
    async with mount(upload_parallelism=1, **SMALL) as program:
        app.faults.add(operation="GetFileProperties", delay=0.5)
        file = await program.open("a", CREATE)
        data = pattern(MIB)

        async def write() -> None:
            for start in range(63):
                await program.fs.write(file.handle, start * MIB, data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            with trio.fail_after(20):
                while program.fs.statistics().dirty_bytes <= (8 + 16) * MIB:
                    await trio.sleep(0.001)
            app.faults.clear()
        await file.close()


@pytest.mark.semantics("S2.15")
async def test_a_pass_takes_on_what_is_written_meanwhile(mount, host, app):
    """It goes on with each range that becomes full, and compares once for all of them."""
    data = pattern(48 * MIB)
    async with mount(staging_limit=256 * MIB) as program:
        app.faults.add(operation="PutRange", delay=0.02)
        file = await program.open("a", CREATE)
        begins = 16 * MIB
        await program.fs.write(file.handle, 0, data[:begins])
        for start in range(begins, len(data), 4 * MIB):
            answered = operations(app).get("PutRange", 0)
            with trio.fail_after(10):
                while operations(app).get("PutRange", 0) == answered:
                    await trio.sleep(0.001)
            await program.fs.write(file.handle, start, data[start : start + 4 * MIB])
        await idle(program)
        assert operations(app)["PutRange"] == 12
        assert operations(app)["GetFileProperties"] == 1
        staged = inode_of(program, file.ino).dirty.staged
        assert not staged.dirty
        assert not staged.present
        app.faults.clear()
        await file.close()
        assert await get(host, "a") == data


@pytest.mark.semantics("S2.15")
async def test_what_a_pass_took_on_may_be_written_again(mount, host, app):
    """Bytes that change while their range is under way are sent again, in the end as they are."""
    data = bytearray(pattern(24 * MIB))
    async with mount(staging_limit=256 * MIB) as program:
        file = await program.open("a", CREATE)
        app.faults.add(operation="PutRange", delay=0.05)
        await program.fs.write(file.handle, 0, bytes(data[: 16 * MIB]))
        await program.fs.write(file.handle, 16 * MIB, bytes(data[16 * MIB :]))
        with trio.fail_after(10):
            while operations(app).get("PutRange", 0) < 5:
                await trio.sleep(0.001)
        for place in (0, 17 * MIB, 23 * MIB):
            data[place : place + 3] = b"new"
            await program.fs.write(file.handle, place, b"new")
        await idle(program)
        assert program.fs.statistics().dirty_bytes == 9
        app.faults.clear()
        await file.close()
        assert await get(host, "a") == data


async def stream_begun(program: Program, app: EmulatorApp, delay: float = 0.05) -> OpenFile:
    """Begin a file of which 16 MiB are written, and answered late."""
    file = await program.open("a", CREATE)
    app.faults.add(operation="PutRange", delay=delay)
    await program.fs.write(file.handle, 0, pattern(16 * MIB))
    return file


@pytest.mark.semantics("S3.1")
@pytest.mark.expect_log("conflict on")
async def test_another_writer_while_a_pass_goes_on(mount, host, app):
    """Who wrote before a range that the pass took on is seen by that range's answer."""
    async with mount(staging_limit=256 * MIB) as program:
        file = await stream_begun(program, app, delay=0.5)
        with trio.fail_after(10):
            while not operations(app).get("PutRange", 0):
                await trio.sleep(0.001)
            app.faults.clear()
            await host.put_range(SharePath(("a",)), 0, b"THEIRS")
            await program.fs.write(file.handle, 16 * MIB, pattern(8 * MIB))
            await idle(program)
        with expect(116):
            await file.fsync()
        (record,) = program.staging.kept()
        assert record.dirty_bytes == 24 * MIB
        with expect(116):
            await file.close()


ONE_BY_ONE = {"staging_limit": 256 * MIB, "upload_parallelism": 1}


async def write_on(program: Program, app: EmulatorApp, file: OpenFile, data: bytes) -> None:
    """Write on behind the 16 MiB of ``stream_begun``: a range while each one is under way."""
    for start in range(16 * MIB, len(data), 4 * MIB):
        begun = operations(app).get("PutRange", 0)
        dirty = inode_of(program, file.ino).dirty
        with trio.fail_after(10):
            while operations(app).get("PutRange", 0) == begun and dirty.error is None:
                await trio.sleep(0.001)
        await program.fs.write(file.handle, start, data[start : start + 4 * MIB])
    await idle(program)


@pytest.fixture
def little_ahead(monkeypatch):
    """Let files be grown by no more than they have."""
    monkeypatch.setattr(plan, "_AHEAD_BYTES", 4 * MIB)


@pytest.mark.semantics("S2.15")
@pytest.mark.usefixtures("little_ahead")
async def test_a_pass_grows_the_file_while_it_goes_on(mount, host, app):
    """What is written beyond the remote size is taken on too, and compared with the rest."""
    data = pattern(48 * MIB)
    async with mount(**ONE_BY_ONE) as program:
        file = await stream_begun(program, app)
        await write_on(program, app, file, data)
        counts = operations(app)
        assert counts["PutRange"] == 12
        assert counts["GetFileProperties"] == 1
        assert counts["SetFileProperties"] == 1
        assert (await host.get_file_properties(SharePath(("a",)))).size > 48 * MIB
        assert not inode_of(program, file.ino).dirty.staged.dirty
        app.faults.clear()
        await file.close()
        assert await get(host, "a") == data


@FAILS
@pytest.mark.usefixtures("little_ahead")
@pytest.mark.parametrize("fault", [{"status": 403}, {"cut": "before"}])
async def test_a_growth_that_fails(mount, host, app, fault):
    """The pass fails with it, nothing of it counts as sent: the next one sends everything."""
    data = pattern(48 * MIB)
    async with mount(**ONE_BY_ONE) as program:
        file = await stream_begun(program, app)
        app.faults.add(operation="SetFileProperties", **fault)
        await write_on(program, app, file, data)
        assert operations(app)["PutRange"] > 12
        app.faults.clear()
        await file.close()
        assert not program.staging.kept()
        assert await get(host, "a") == data


@pytest.mark.semantics("S3.1")
@pytest.mark.expect_log("conflict on")
@pytest.mark.usefixtures("little_ahead")
async def test_another_writer_while_a_pass_grows_the_file(mount, host, app):
    """Who wrote while the file was grown is seen by the next answer to a range."""
    data = pattern(48 * MIB)
    async with mount(**ONE_BY_ONE) as program:
        file = await stream_begun(program, app)
        app.faults.add(operation="SetFileProperties", delay=0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on, program, app, file, data)
            with trio.fail_after(20):
                while not operations(app).get("SetFileProperties", 0):
                    await trio.sleep(0.001)
            await host.put_range(SharePath(("a",)), 0, b"THEIRS")
        with expect(116):
            await file.fsync()
        (record,) = program.staging.kept()
        assert record.dirty_bytes == len(data)
        app.faults.clear()
        with expect(116):
            await file.close()
        assert (await get(host, "a"))[:6] == b"THEIRS"


async def test_who_waits_for_the_file_ends_a_pass(mount, host, app):
    """A pass takes on nothing more where a truncation waits for it."""
    async with mount(staging_limit=256 * MIB) as program:
        file = await stream_begun(program, app)
        with trio.fail_after(10):
            while not inode_of(program, file.ino).is_locked:
                await trio.sleep(0.001)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(file.truncate, 17 * MIB)
                await trio.testing.wait_all_tasks_blocked()
                await program.fs.write(file.handle, 16 * MIB, pattern(8 * MIB))
            assert operations(app)["PutRange"] == 4
        app.faults.clear()
        await file.close()
        assert await get(host, "a") == pattern(16 * MIB) + pattern(MIB)


@pytest.mark.semantics("S3.1")
async def test_the_comparison_of_a_background_pass_is_the_first_of_the_last(mount, host, app):
    """fsync right after it sends what is left, compares again and sets size and times."""
    data = pattern(18 * MIB)
    async with mount(staging_limit=256 * MIB, comparison_window=60.0) as program:
        file = await program.open("a", CREATE)
        await program.fs.write(file.handle, 0, data[: 16 * MIB])
        await idle(program)
        await program.fs.write(file.handle, 16 * MIB, data[16 * MIB :])
        app.requests.reset()
        await file.fsync()
        assert operations(app) == {"PutRange": 1, "SetFileProperties": 1}
        app.requests.reset()
        await program.fs.write(file.handle, 0, data[: 8 * MIB])
        await file.fsync()
        assert operations(app)["GetFileProperties"] == 2
        await file.close()
        assert await get(host, "a") == data


@FAILS
async def test_without_a_network_a_writer_does_not_wait(mount, app):
    """What cannot be sent now is taken as far as the area reaches, and sent later."""
    async with mount(**SMALL) as program:
        app.faults.add(operation="PutRange", cut="before")
        app.faults.add(operation="CreateFile", cut="before")
        file = await program.open("a", CREATE)
        with trio.fail_after(30):
            await file.write(pattern(60 * MIB))
        app.faults.clear()
        await file.close()
        assert (await file.program.stat("a")).size == 60 * MIB
        await idle(program)


@pytest.mark.semantics("S2.5")
async def test_a_full_area_waits_for_an_upload_under_way(mount, host, app):
    """A new file finds room as soon as that of another program has been sent."""
    async with mount(staging_limit=8 * MIB) as program:
        first = await program.open("a", CREATE)
        await first.write(pattern(8 * MIB)[: 8 * MIB - 1])
        app.faults.add(operation="PutRange", delay=0.1)
        second = await program.open("b", CREATE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.fs.flush, first.handle)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await second.write(b"x" * MIB)
        await second.close()
        await first.close()
        assert await get(host, "b") == b"x" * MIB


@pytest.mark.expect_log("an earlier process left")
async def test_a_process_that_ends_in_the_middle(mount, host, tmp_path, monkeypatch):
    """What earlier passes sent is there, the rest is kept, and sending it makes the file whole."""
    data = pattern(24 * MIB)
    state = tmp_path / "dies"
    async with mount(directory=state, check=False, **SMALL) as program:
        file = await program.open("a", CREATE)
        await file.write(data[: 20 * MIB])
        await idle(program)
        await file.write(data[20 * MIB : 21 * MIB], 20 * MIB)
        shutil.copytree(state / "state" / "staging" / "live", tmp_path / "as it was")
        await file.close()
    shutil.rmtree(state / "state" / "staging" / "live")
    shutil.copytree(tmp_path / "as it was", state / "state" / "staging" / "live")
    (state / "state" / "staging" / "live").chmod(0o700)
    async with mount(directory=state) as again:
        (record,) = again.staging.kept()
        assert (record.size, record.dirty[-1].stop) == (21 * MIB, 21 * MIB)
        await resend.send(host, record, force=True)
        assert await get(host, "a") == data[: 21 * MIB]
