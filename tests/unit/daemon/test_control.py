"""What the control socket of a mount answers, and what it does not let anybody do."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from azfilesfs.daemon import control
from azfilesfs.daemon.control import (
    CONTROL,
    KernelLocks,
    LockSource,
    MountLocks,
    NotAnswering,
    ask_locks,
    serve_control,
)
from azfilesfs.vfs.locks.about import LockRow

ROW = LockRow("a/ü", "17", "fcntl", "exclusive", 0, 10, 4, "sh", 99, waiting=False, remote="held")
SESSION = "0" * 32


class Source:
    """Some locks."""

    def __init__(self, *rows: LockRow, session: str | None = SESSION) -> None:
        self.rows = list(rows)
        self.session = session

    def lock_rows(self) -> list[LockRow]:
        """Return them."""
        return self.rows

    def lock_session(self) -> str | None:
        """Return the session."""
        return self.session


class Broken(Source):
    """A source with a defect."""

    def lock_rows(self) -> list[LockRow]:
        """Fail."""
        raise ZeroDivisionError


@asynccontextmanager
async def serving(directory: Path, source: LockSource) -> AsyncIterator[None]:
    """Serve while the block runs."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, directory, source)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def impostor(directory: Path, answer: bytes) -> AsyncIterator[None]:
    """Give one connection an answer, whatever was asked."""
    with trio.socket.socket(socket.AF_UNIX) as made:
        await made.bind(str(directory / CONTROL))
        made.listen()

        async def answering() -> None:
            peer, _ = await made.accept()
            async with trio.SocketStream(peer) as stream:
                with suppress(trio.BrokenResourceError):
                    await stream.receive_some()
                    await stream.send_all(answer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answering)
            yield


async def exchange(directory: Path, data: bytes) -> bytes:
    """Send bytes, end, and return what comes back."""
    async with await trio.open_unix_socket(directory / CONTROL) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([piece async for piece in stream])


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """Make a directory whose path is longer than an address of a socket may be."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    return directory


async def test_the_locks_are_told(far: Path):
    """They come as they are, by any length of path, and as often as asked."""
    source = Source(ROW)
    async with serving(far, source):
        assert await ask_locks(far) == MountLocks(SESSION, (ROW,))
        source.rows, source.session = [], None
        assert await ask_locks(far) == MountLocks(None, ())


async def test_a_mount_whose_locks_the_kernel_keeps(tmp_path: Path):
    """It has none to tell of."""
    async with serving(tmp_path, KernelLocks()):
        assert await ask_locks(tmp_path) == MountLocks(None, ())


async def test_only_the_first_of_very_many_are_told(tmp_path: Path):
    """The rest is counted."""
    async with serving(tmp_path, Source(*[ROW] * 10_003)):
        found = await ask_locks(tmp_path)

    assert (len(found.rows), found.omitted) == (10_000, 3)


async def test_it_is_private_and_goes_with_the_mount(tmp_path: Path):
    """Nobody else may connect; what a dead process left is replaced; afterwards nothing is left."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / CONTROL))
    with pytest.raises(NotAnswering, match="Connection refused"):
        await ask_locks(tmp_path)

    async with serving(tmp_path, Source()):
        mode = (tmp_path / CONTROL).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert (await ask_locks(tmp_path)).rows == ()
    assert os.listdir(tmp_path) == []
    with pytest.raises(NotAnswering, match="No such file"):
        await ask_locks(tmp_path)
    with pytest.raises(NotAnswering, match="No such file"):
        await ask_locks(tmp_path / "gone")


async def test_other_users_get_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who is neither the mount's user nor root is not answered."""
    async with serving(tmp_path, Source(ROW)):
        # Whoever this test runs as is root or not that user.
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        monkeypatch.setattr(control, "_CREDENTIALS", Credentials())
        with pytest.raises(NotAnswering):
            await ask_locks(tmp_path)


class Credentials:
    """Says that the peer is user 4711."""

    size = 12

    def unpack(self, data: bytes) -> tuple[int, int, int]:
        """Take the kernel's answer for another's."""
        assert len(data) == self.size
        return 1, 4711, 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"no json\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
        b'{"request": "shutdown"}\n',
        b'{"request": ["locks"]}\n',
        b"x" * 3_000_000,
    ],
    ids=["nothing", "blank", "text", "list", "bytes", "nested", "unknown", "kind", "endless"],
)
async def test_what_is_no_request(tmp_path: Path, data: bytes):
    """It is answered with an error, or cut off; the next one is served all the same."""
    async with serving(tmp_path, Source(ROW)):
        try:
            answer = await exchange(tmp_path, data)
        except trio.BrokenResourceError:
            answer = b""
        if answer:
            assert list(json.loads(answer)) == ["error"]
        assert (await ask_locks(tmp_path)).rows == (ROW,)


async def test_who_says_nothing_is_cut_off(tmp_path: Path, autojump_clock: trio.testing.MockClock):
    """A connection has some seconds; one that is silent does not keep the others waiting."""
    async with serving(tmp_path, Source(ROW)):
        silent = [await trio.open_unix_socket(tmp_path / CONTROL) for _ in range(4)]
        assert (await ask_locks(tmp_path)).rows == (ROW,)
        for stream in silent:
            assert await stream.receive_some(10) == b""
            await stream.aclose()


async def test_too_many_at_once_are_turned_away(tmp_path: Path):
    """The number of connections is bounded, and those turned away leave room for others later."""
    async with serving(tmp_path, Source(ROW)):
        silent = [await trio.open_unix_socket(tmp_path / CONTROL) for _ in range(16)]
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NotAnswering):
            await ask_locks(tmp_path)
        for stream in silent:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask_locks(tmp_path)).rows == (ROW,)


@pytest.mark.expect_log("the locks of this mount cannot be told")
async def test_a_defect_does_not_end_the_mount(tmp_path: Path):
    """It is logged, and told in a line."""
    async with serving(tmp_path, Broken()):
        for _ in range(2):
            with pytest.raises(NotAnswering, match="the mount's log says more"):
                await ask_locks(tmp_path)


@pytest.mark.expect_log("cannot be made: ")
async def test_a_mount_without_a_socket(tmp_path: Path):
    """Where none can be made, the mount goes on without."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, tmp_path / "gone", Source())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no JSON"),
        (b"[]", "none that is known"),
        (b"{}", "none that is known"),
        (b'{"session": 5, "rows": [], "omitted": 0}', "none that is known"),
        (b'{"session": null, "rows": [], "omitted": true}', "none that is known"),
        (b"[" * 9000, "no JSON"),
        (b"x" * (17 << 20), "too long"),
    ],
    ids=["nothing", "list", "empty", "session", "omitted", "nested", "endless"],
)
async def test_what_is_no_answer(tmp_path: Path, answer: bytes, said: str):
    """It is not believed, and read to a bound only."""
    async with impostor(tmp_path, answer):
        with pytest.raises(NotAnswering, match=said):
            await ask_locks(tmp_path)


async def test_rows_that_are_not_understood_are_counted(tmp_path: Path):
    """A newer mount may say more than this program knows."""
    document = {"session": SESSION, "rows": [{"path": "a", "newer": 1}], "omitted": 2}
    async with impostor(tmp_path, json.dumps(document).encode()):
        assert await ask_locks(tmp_path) == MountLocks(SESSION, (), 3)
