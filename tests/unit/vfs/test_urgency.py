"""How urgent uploads are: what a program waits for, and what it does not."""

import os
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from azfilesfs import errors
from azfilesfs.client import Priority
from azfilesfs.client.priority import current_urgency
from azfilesfs.model.limits import MIB
from azfilesfs.vfs.flusher import RETRY_SECONDS
from tests.unit.vfs.harness import Program, idle

CREATE = os.O_CREAT | os.O_RDWR
SMALL = {"staging_limit": 64 * MIB}


@contextmanager
def held_uploads(program: Program, monkeypatch: pytest.MonkeyPatch):
    """Note the urgency of each Put Range, and let it go when the event is set."""
    share = program.fs._context.share
    seen = []
    go = trio.Event()
    put_range = share.put_range

    async def noted(*args, **named):
        seen.append(current_urgency())
        await go.wait()
        return await put_range(*args, **named)

    monkeypatch.setattr(share, "put_range", noted)
    yield seen, go


@pytest.mark.semantics("S16.2")
async def test_uploads_while_a_file_is_written(mount, monkeypatch):
    """They are of the background, until somebody waits for them: then fsync hurries all of them."""
    async with mount(**SMALL) as program:
        file = await program.open("a", CREATE)
        with held_uploads(program, monkeypatch) as (seen, go):
            for number in range(12):
                await program.fs.write(file.handle, number * MIB, b"x" * MIB)
            await trio.testing.wait_all_tasks_blocked()
            before = {urgency.priority for urgency in seen}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(file.fsync)
                await trio.testing.wait_all_tasks_blocked()
                during = {urgency.priority for urgency in seen}
                go.set()
        await file.close()

    assert before == {Priority.BACKGROUND}
    assert during == {Priority.FOREGROUND}
    assert {urgency.priority for urgency in seen} == {Priority.FOREGROUND}


@contextmanager
def stuck_uploads(program: Program, monkeypatch: pytest.MonkeyPatch, *names: str):
    """Let no Put Range of these files be answered before the event is set."""
    share = program.fs._context.share
    go = trio.Event()
    put_range = share.put_range

    async def perhaps(path, *args, **named):
        if str(path) in names:
            await go.wait()
        return await put_range(path, *args, **named)

    monkeypatch.setattr(share, "put_range", perhaps)
    yield go


@pytest.mark.semantics("S16.1")
async def test_a_file_without_answers_does_not_hold_up_others(mount, monkeypatch):
    """However much of it is under way, another large file is sent."""
    async with mount() as program:
        slow = await program.open("slow", CREATE)
        with stuck_uploads(program, monkeypatch, "slow") as go:
            for number in range(10):
                await program.fs.write(slow.handle, number * 4 * MIB, b"x" * 4 * MIB)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(slow.fsync)
                await trio.testing.wait_all_tasks_blocked()
                await program.write("other", b"y" * 9 * MIB)
                assert await program.read("other") == b"y" * 9 * MIB
                go.set()
        await slow.close()


@pytest.mark.semantics("S16.1")
async def test_large_files_without_answers_do_not_hold_up_small_ones(mount, monkeypatch):
    """New files, and small changes of others, have a way of their own."""
    async with mount() as program:
        await program.write("old", b"o" * 9 * MIB)
        names = [f"slow{number}" for number in range(3)]
        files = [await program.open(name, CREATE) for name in names]
        with stuck_uploads(program, monkeypatch, *names) as go:
            async with trio.open_nursery() as nursery:
                for file in files:
                    await program.fs.write(file.handle, 0, b"x" * 40 * MIB)
                    nursery.start_soon(file.fsync)
                await trio.testing.wait_all_tasks_blocked()
                await program.write("new", b"y" * 4096)
                async with program.opened("old", os.O_WRONLY) as old:
                    await old.write(b"z" * 10, offset=MIB)
                assert await program.read("new") == b"y" * 4096
                go.set()
        for file in files:
            await file.close()


@pytest.mark.expect_log("is not on the service")
async def test_uploads_that_are_repeated(mount, clock, monkeypatch):
    """Trying again after a failure is of the background; close is not."""
    async with mount(**SMALL) as program:
        file = await program.open("a", CREATE)
        await file.write(b"x" * 5 * MIB)
        share = program.fs._context.share
        seen = []
        put_range = share.put_range

        async def failing(*args, **named):
            seen.append(current_urgency().priority)
            if len(seen) <= 2:
                raise errors.ServerBusy("busy")
            return await put_range(*args, **named)

        monkeypatch.setattr(share, "put_range", failing)
        with pytest.raises(Exception, match="busy"):
            await file.fsync()
        first = set(seen)
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(RETRY_SECONDS + 1)
        await trio.testing.wait_all_tasks_blocked()
        await idle(program)
        later = set(seen[2:])
        await file.close()

    assert first == {Priority.FOREGROUND}
    assert later == {Priority.BACKGROUND}
