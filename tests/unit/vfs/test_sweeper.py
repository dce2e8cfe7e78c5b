"""The number of inodes stays bounded, by asking the kernel to forget."""

import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs import sweeper
from azfilesfs.vfs.sweeper import SWEEP_SECONDS
from tests.unit.vfs import harness


async def test_least_recently_asked_names_are_dropped_above_the_limit(mount, autojump_clock):
    """Above the limit the oldest idle names go, and the inodes with the FORGET that follows."""
    async with mount(max_cached_names=4) as program:
        for number in range(8):
            await program.write(f"f{number}", b"x")
            await program.stat(f"f{number}")
            await trio.sleep(0.01)
        open_file = await program.open("f0")
        program.kernel.clear()
        await trio.sleep(SWEEP_SECONDS * 1.5)

        dropped = program.kernel.entries
        assert (harness.ROOT, b"f0") not in dropped
        assert {(harness.ROOT, b"f1"), (harness.ROOT, b"f2")} <= set(dropped)
        assert len(dropped) == program.fs.statistics().inodes - 4
        await open_file.close()


async def test_nothing_is_dropped_within_the_limit(mount, autojump_clock):
    """Within the limit the kernel keeps what it knows."""
    async with mount(max_cached_names=100) as program:
        await program.write("f", b"x")
        await trio.sleep(SWEEP_SECONDS * 2)
        assert program.kernel.entries == []


async def test_much_too_many_go_in_a_hurry(mount, host, autojump_clock, monkeypatch):
    """A full batch is followed by the next one at once, as soon as the kernel has done the first.

    Inodes that were looked at go to the end, so that each sweep looks at a few only.
    """
    monkeypatch.setattr(sweeper, "BATCH", 4)
    monkeypatch.setattr(sweeper, "_WINDOW", 8)
    for number in range(20):
        await host.create_file(SharePath((f"f{number:02}",)))
    async with mount(max_cached_names=4) as program:
        await program.entries()
        program.kernel.clear()
        program.kernel.backlog = 1
        await trio.sleep(sweeper.SWEEP_SECONDS + sweeper.HURRY_SECONDS * 1.5)
        assert len(program.kernel.entries) == 2 * 3
        program.kernel.backlog = 4
        await trio.sleep(1)
        assert len(program.kernel.entries) == 2 * 3
        program.kernel.backlog = 0
        await trio.sleep(sweeper.HURRY_SECONDS * 1.5)
        names = [name for _, name in program.kernel.entries]
        assert len(names) == len(set(names)) == 2 * 3 + 4
