"""Stopping in steps, told to systemd, logged and counted."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import LogConfig, MountConfig, build_mount
from azfilesfs.daemon import logs, stopping
from azfilesfs.daemon.logs import start_logging
from azfilesfs.daemon.notify import ServiceManager
from azfilesfs.daemon.registry import StatusFile, read_status
from azfilesfs.daemon.shutdown import Shutdown, receive_signals
from azfilesfs.daemon.stopping import Stopping
from azfilesfs.vfs.filesystem import FsStatistics


class FakeFilesystem:
    """Has some dirty files that take a while to send, or never get sent."""

    def __init__(self, seconds: float, left: int = 0) -> None:
        """Remember how long draining takes and what stays behind."""
        self.seconds = seconds
        self.left = left
        self.drains = 0

    async def drain(self) -> int:
        """Take the time."""
        self.drains += 1
        await trio.sleep(self.seconds)
        return self.left

    async def end_locks(self) -> None:
        """Hold none."""

    def statistics(self) -> FsStatistics:
        """Answer the gauges."""
        return FsStatistics(100, 3, 0, 1, 0)


class FakeSession:
    """Notes when it was terminated."""

    def __init__(self) -> None:
        """Begin alive."""
        self.terminated = trio.Event()

    def terminate(self) -> None:
        """Note it."""
        self.terminated.set()


@pytest.fixture
def config(tmp_path: Path) -> MountConfig:
    """Make a configuration with 60 seconds for stopping."""
    return build_mount("share", str(tmp_path / "m"), {}, {"HOME": str(tmp_path)})


@pytest.fixture
def make(
    config: MountConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Stopping, Shutdown]]:
    """Return what makes the end of a mount over a fake filesystem."""

    def make(filesystem: Any, *, busy: bool = True) -> tuple[Stopping, Shutdown]:
        monkeypatch.setattr(stopping, "unmount", lambda path: not busy)
        monkeypatch.setattr(stopping, "detach", lambda path: True)
        shutdown = Shutdown()
        status = StatusFile(tmp_path)
        return Stopping(config, filesystem, shutdown, status, ServiceManager({})), shutdown

    return make


async def test_open_files_are_served_until_time_is_nearly_up(make, autojump_clock):
    """A busy mount is served for the time that is not kept for sending."""
    filesystem, session = FakeFilesystem(1), FakeSession()
    end, shutdown = make(filesystem)
    shutdown.ask()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.end_session_when_asked, session)
        await session.terminated.wait()

    assert trio.current_time() == pytest.approx(40, abs=1)
    assert filesystem.drains == 1
    assert await end.drain() == 0
    assert trio.current_time() == pytest.approx(41, abs=1)


async def test_a_second_request_hurries(make, autojump_clock):
    """Asked again, the session is ended at once."""
    session = FakeSession()
    end, shutdown = make(FakeFilesystem(5))
    shutdown.ask()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.end_session_when_asked, session)
        await trio.sleep(3)
        assert not session.terminated.is_set()
        shutdown.ask()
        await session.terminated.wait()

    assert trio.current_time() == pytest.approx(3, abs=0.5)


async def test_a_mount_that_nobody_uses_ends_by_itself(make, autojump_clock):
    """After the unmounting nothing is left to do but to wait for the session's own end."""
    session = FakeSession()
    end, shutdown = make(FakeFilesystem(1), busy=False)
    shutdown.ask()
    with trio.move_on_after(500) as scope:
        await end.end_session_when_asked(session)

    assert scope.cancelled_caught
    assert not session.terminated.is_set()


@pytest.mark.expect_log("could not be sent")
async def test_draining_ends_in_time(make, autojump_clock, tmp_path):
    """What is not sent by the deadline is said in status and log and by the exit status."""
    end, _ = make(FakeFilesystem(1000))

    assert await end.drain() == ExitCode.UNSENT_DATA
    assert trio.current_time() == pytest.approx(60, abs=1)
    status = read_status(tmp_path)
    assert status is not None
    assert (status.phase, status.dirty_files, status.exit_code) == ("ended", 3, 10)


@pytest.mark.expect_log("2 file")
async def test_what_the_filesystem_could_not_send(make, autojump_clock, tmp_path):
    """Files that the service refused are counted."""
    end, _ = make(FakeFilesystem(1, left=2))

    assert await end.drain() == ExitCode.UNSENT_DATA
    status = read_status(tmp_path)
    assert status is not None
    assert status.dirty_files == 2


@pytest.mark.expect_log("could not be sent")
async def test_a_third_request_gives_sending_up(make, autojump_clock):
    """Asked a third time, nothing more is sent."""
    end, shutdown = make(FakeFilesystem(1000))
    async with trio.open_nursery() as nursery:

        async def impatient() -> None:
            for _ in range(4):
                await trio.sleep(1)
                shutdown.ask()

        nursery.start_soon(impatient)
        assert await end.drain() == ExitCode.UNSENT_DATA

    assert trio.current_time() == pytest.approx(4, abs=1.5)


async def test_draining_is_not_cancelled_from_outside(make, autojump_clock):
    """A cancellation does not tear an upload: draining takes its time and says how it went."""
    end, _ = make(FakeFilesystem(5))
    with trio.CancelScope() as scope:
        scope.cancel()
        code = await end.drain()

    assert code == 0
    assert trio.current_time() == pytest.approx(5, abs=0.5)


async def test_signals(nursery):
    """SIGTERM and SIGINT ask to stop, SIGHUP reads credentials again."""
    shutdown, reloaded = Shutdown(), trio.Event()

    async def reload() -> None:
        reloaded.set()

    await nursery.start(receive_signals, shutdown, reload)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    with trio.fail_after(10):
        await reloaded.wait()
        await shutdown.requested.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await shutdown.hurried.wait()
    assert not shutdown.abandoned.is_set()


@pytest.mark.parametrize("abstract", [True, False])
def test_systemd_is_told(tmp_path: Path, abstract: bool):
    """Datagrams go to the manager's socket, abstract or not."""
    name = f"azfilesfs-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name if abstract else name)
        manager = ServiceManager({"NOTIFY_SOCKET": "@" + name if abstract else name})
        manager.ready("mounted")
        manager.status("busy")
        manager.stopping("unmounting")
        got = [server.recv(1000).decode() for _ in range(3)]

    assert got[0] == f"READY=1\nSTATUS=mounted\nMAINPID={os.getpid()}"
    assert got[1:] == ["STATUS=busy", "STOPPING=1\nSTATUS=unmounting"]


def test_nobody_to_tell(tmp_path: Path):
    """Without a manager, or with one that has gone, nothing fails."""
    ServiceManager({}).ready("x")
    ServiceManager({"NOTIFY_SOCKET": "relative"}).ready("x")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[logging.Handler]:
    """Take the handlers that would be installed."""
    taken: list[logging.Handler] = []
    monkeypatch.setattr(logs, "configure", lambda handler, level: taken.append(handler))
    return taken


def test_where_the_log_goes(tmp_path, monkeypatch, configured):
    """A file if one is named; else standard error, the journal, or a small file of our own."""
    own = tmp_path / "own.log"
    named = LogConfig(file=tmp_path / "named.log")
    monkeypatch.setattr(logs, "journal_handler", lambda style, clean: None)
    start_logging(named, foreground=True, own_file=own)
    start_logging(LogConfig(), foreground=True, own_file=own)
    start_logging(LogConfig(), foreground=False, own_file=own)
    journal = logging.NullHandler()
    monkeypatch.setattr(logs, "journal_handler", lambda style, clean: journal)
    start_logging(LogConfig(), foreground=False, own_file=own)
    for handler in configured:
        handler.close()

    kinds = [type(handler).__name__ for handler in configured]
    assert kinds == ["WatchedFileHandler", "StreamHandler", "RotatingFileHandler", "NullHandler"]
    assert own.exists()


def test_a_log_that_cannot_be_written(tmp_path, configured):
    """A log file in a place that does not exist is named."""
    with pytest.raises(CommandFailed, match="cannot be written"):
        start_logging(
            LogConfig(file=tmp_path / "no" / "log"), foreground=False, own_file=tmp_path / "x"
        )
