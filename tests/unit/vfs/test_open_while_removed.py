"""A file that loses its name while it is being opened."""

import os

import trio
import trio.testing

from tests.unit.vfs.harness import ROOT


async def test_a_file_unlinked_during_its_open_can_be_read(program, app):
    """The open under way counts: the content is parked for it, and gone after its close."""
    await program.write("file", b"content" * 100)
    ino = (await program.stat("file")).ino
    app.faults.add(operation="GetFile*", delay=0.05, times=1)
    results = []

    async def open_it() -> None:
        results.append(await program.fs.open_file(ino, os.O_RDONLY))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it)
        await trio.testing.wait_all_tasks_blocked()
        await program.fs.unlink(ROOT, b"file")

    handle = results[0].handle
    assert await program.fs.read(handle, 0, 1000) == b"content" * 100
    assert not await program.exists("file")
    await program.fs.flush(handle)
    await program.fs.release(handle)
    assert app.requests.counts()["operations"]["DeleteFile"] == {"202": 1}
