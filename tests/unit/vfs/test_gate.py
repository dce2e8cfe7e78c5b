"""The path gate: requests and moves never overlap, nothing waits for ever, cancellation leaves
nothing.
"""

import errno
import random

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given, settings
from trio.testing import MockClock, wait_all_tasks_blocked

from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, Properties
from azfilesfs.vfs.gate import PathGate
from azfilesfs.vfs.inodes import Inode, InodeTable, Place
from tests.unit.vfs.harness import expect


def tree() -> tuple[InodeTable, dict[str, Inode]]:
    """Return a table with two directories, one in the other, and files in each."""
    table = InodeTable(SharePath.ROOT)
    nodes = {"": table.root}
    for count, path in enumerate(["a", "a/b", "a/b/f", "a/g", "c", "c/h"]):
        parent, _, name = path.rpartition("/")
        kind = EntryKind.FILE if name in "fgh" else EntryKind.DIRECTORY
        shown = Properties(kind=kind, file_id=100 + count, etag="e", change_time_ns=1)
        nodes[path] = table.add(nodes[parent], name, kind, shown)
    return table, nodes


async def hold(gate: PathGate, inode: Inode, entered: trio.Event, leave: trio.Event) -> None:
    """Hold a path until told otherwise."""
    async with gate.path(inode):
        entered.set()
        await leave.wait()


async def test_a_move_waits_for_requests_below_it_and_holds_new_ones_back():
    """Requests elsewhere go on."""
    table, nodes = tree()
    gate = PathGate()
    log: list[str] = []
    entered, leave = trio.Event(), trio.Event()

    async def move() -> None:
        async with gate.moving(nodes["a"]):
            log.append("moving")
            table.move(nodes["a"], table.root, "z")
            await trio.testing.wait_all_tasks_blocked()
            log.append("moved")

    async def late() -> None:
        async with gate.path(nodes["a/g"]) as path:
            log.append(str(path))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, gate, nodes["a/b/f"], entered, leave)
        await entered.wait()
        nursery.start_soon(move)
        await wait_all_tasks_blocked()
        nursery.start_soon(late)
        await wait_all_tasks_blocked()
        assert log == []
        assert gate.requests_in_flight == 1
        async with gate.path(nodes["c/h"]) as path:
            assert str(path) == "c/h"
        leave.set()
    assert log == ["moving", "moved", "z/g"]
    assert gate.requests_in_flight == 0


async def test_a_move_of_a_file_holds_only_that_file():
    """Its neighbours and its directory are free."""
    _, nodes = tree()
    gate = PathGate()
    async with gate.moving(nodes["a/g"]):
        for path in ("a", "a/b/f", ""):
            async with gate.path(nodes[path]):
                assert gate.requests_in_flight == 1


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a", "a"), ("a/b/f", "a")]
)
async def test_overlapping_moves_come_one_after_the_other(first, second):
    """Two moves in one subtree never run at the same time."""
    _, nodes = tree()
    gate = PathGate()
    running: list[str] = []

    async def move(path: str) -> None:
        async with gate.moving(nodes[path]):
            running.append(path)
            assert len(running) == 1
            await wait_all_tasks_blocked()
            running.remove(path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move, first)
        nursery.start_soon(move, second)
    assert running == []


async def test_a_move_of_several_is_one_step():
    """Both are held, and both are given back."""
    _, nodes = tree()
    gate = PathGate()
    async with gate.moving(nodes["a/g"], nodes["c/h"]):
        for path in ("a/g", "c/h"):
            with trio.move_on_after(0.01) as scope:
                async with gate.path(nodes[path]):
                    pytest.fail("held")
            assert scope.cancelled_caught
    async with gate.path(nodes["c/h"]), gate.path(nodes["a/g"]):
        assert gate.requests_in_flight == 2


async def test_a_path_that_is_nowhere():
    """A lost inode has no path, and the gate is left as it was."""
    table, nodes = tree()
    gate = PathGate()
    nodes["c/h"].lookups = 1
    table.detach(nodes["c/h"], Place.GONE)
    with expect(errno.ESTALE):
        async with gate.path(nodes["c/h"]):
            pytest.fail("it has no path")
    assert gate.requests_in_flight == 0


async def test_cancelled_while_waiting():
    """A move or a request that is given up leaves the gate as if it had never come."""
    _, nodes = tree()
    gate = PathGate()
    async with gate.path(nodes["a/g"]):
        with trio.move_on_after(0.01):
            async with gate.moving(nodes["a"]):
                pytest.fail("a request is in flight")
        async with gate.path(nodes["a/b/f"]):
            assert gate.requests_in_flight == 2
    async with gate.moving(nodes["a"]):
        with trio.move_on_after(0.01):
            async with gate.path(nodes["a/g"]):
                pytest.fail("it is being moved")
        with trio.move_on_after(0.01):
            async with gate.moving(nodes["a/b"]):
                pytest.fail("it is being moved")
    assert gate.requests_in_flight == 0
    assert not gate._moving


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), moves=st.integers(1, 5), requests=st.integers(1, 8))
def test_random_work(seed, moves, requests):
    """Whatever comes and is cancelled when: a moving subtree has no request in it, and all ends."""
    chance = random.Random(seed)

    async def main() -> None:
        _, nodes = tree()
        gate = PathGate()
        active: list[Inode] = []
        moving: list[Inode] = []
        paths = sorted(nodes.keys() - {""})

        def check() -> None:
            for moved in moving:
                assert not any(moved in inode.ancestors() for inode in active)
                others = [other for other in moving if other is not moved]
                assert not any(moved in other.ancestors() for other in others)

        async def request() -> None:
            for _ in range(3):
                inode = nodes[chance.choice(paths)]
                with trio.move_on_after(chance.choice([0.5, 2, 50])):
                    async with gate.path(inode) as path:
                        active.append(inode)
                        try:
                            check()
                            assert path == inode.path()
                            await trio.sleep(chance.random())
                            check()
                        finally:
                            active.remove(inode)

        async def move() -> None:
            for _ in range(3):
                inode = nodes[chance.choice(paths)]
                with trio.move_on_after(chance.choice([0.5, 2, 50])):
                    async with gate.moving(inode):
                        moving.append(inode)
                        try:
                            check()
                            await trio.sleep(chance.random())
                            check()
                        finally:
                            moving.remove(inode)

        with trio.fail_after(10_000):
            async with trio.open_nursery() as nursery:
                for _ in range(moves):
                    nursery.start_soon(move)
                for _ in range(requests):
                    nursery.start_soon(request)
        assert gate.requests_in_flight == 0
        assert not gate._moving

    trio.run(main, clock=MockClock(autojump_threshold=0))
