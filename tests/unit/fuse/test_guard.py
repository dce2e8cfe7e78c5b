"""The guard: whatever an operation does, pyfuse3 sees a result, FUSEError or a cancellation."""

import errno
import logging
from typing import Any

import pyfuse3
import pytest
import trio

from azfilesfs.errors import AzureFilesError, FileNotFound, ServerBusy
from azfilesfs.fuse.guard import Deadlines, Guard, guarded, guarded_silently
from azfilesfs.fuse.operations import Operations
from azfilesfs.vfs.errors import VfsError
from tests.unit.fuse.memory import MemoryFilesystem

UNANSWERED = {"init", "stacktrace"}
LEFT_TO_THE_KERNEL = {
    "access",
    "getxattr",
    "setxattr",
    "listxattr",
    "removexattr",
    "poll",
}


class Things:
    """An object with two operations that do what they are told."""

    def __init__(self, outcome: object = None) -> None:
        """Remember what to do."""
        self.measured: list[tuple[str, int]] = []
        self.guard = Guard(
            Deadlines(operation=5, transfer=50),
            lambda operation, seconds, number: self.measured.append((operation, number)),
        )
        self.outcome = outcome

    async def _do(self) -> object:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if isinstance(self.outcome, float):
            await trio.sleep(self.outcome)
        return self.outcome

    @guarded
    async def lookup(self, parent: int, name: bytes) -> object:
        """Do it."""
        return await self._do()

    @guarded
    async def write(self, fh: int, off: int, buf: bytes) -> object:
        """Do it."""
        return await self._do()

    @guarded_silently
    async def forget(self, inodes: list) -> None:
        """Do it."""
        await self._do()


async def test_a_result_passes_and_is_measured():
    """A result comes out unchanged, and the observer hears of a success."""
    things = Things("found")

    assert await things.lookup(1, b"x") == "found"
    assert things.measured == [("lookup", 0)]


@pytest.mark.parametrize(
    ("failure", "number"),
    [
        (VfsError(errno.ESTALE, "moved"), errno.ESTALE),
        (FileNotFound("gone"), errno.ENOENT),
        (ExceptionGroup("g", [ExceptionGroup("g", [VfsError(errno.EBUSY)])]), errno.EBUSY),
        (pyfuse3.FUSEError(errno.EPERM), errno.EPERM),
    ],
    ids=["rule", "slipped", "in nurseries", "own answer"],
)
async def test_a_failure_becomes_its_errno(failure, number):
    """Failures of the filesystem and of the client become the errno of the table."""
    things = Things(failure)

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await things.lookup(1, b"x")

    assert caught.value.errno == number
    assert things.measured == [("lookup", number)]


@pytest.mark.expect_log("unexpected failure")
@pytest.mark.parametrize(
    "failure",
    [KeyError("bug"), ExceptionGroup("two", [ValueError("a"), VfsError(errno.ENOENT)])],
)
async def test_the_unexpected_becomes_eio(failure, caplog):
    """A defect costs one EIO and one ERROR with its traceback, not the mount."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Things(failure).lookup(1, b"x")

    assert caught.value.errno == errno.EIO
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


@pytest.mark.expect_log("ETIMEDOUT")
async def test_deadlines(autojump_clock):
    """An operation ends with ETIMEDOUT at its deadline; moving contents has a longer one."""
    slow = Things(20.0)

    assert await slow.write(1, 0, b"data") == 20.0
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await slow.lookup(1, b"x")

    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() == pytest.approx(25, abs=0.1)


async def test_a_cancellation_passes():
    """The daemon can still end a request, and the observer hears of it."""
    things = Things(20.0)
    with trio.move_on_after(0.001) as scope:
        await things.lookup(1, b"x")

    assert scope.cancelled_caught
    assert things.measured == [("lookup", errno.EINTR)]


@pytest.mark.expect_log("forget")
async def test_forget_answers_nothing():
    """The kernel gets no answer to forget, so not even FUSEError may leave it."""
    things = Things(AzureFilesError("bug"))

    await things.forget([(1, 1)])

    assert things.measured == [("forget", errno.EIO)]


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (VfsError(errno.ENOENT, "nothing", logging.DEBUG), logging.DEBUG),
        (ServerBusy("busy"), logging.ERROR),
    ],
)
@pytest.mark.expect_log("busy")
async def test_a_log_line_has_the_failures_level_and_no_data(failure, level, caplog):
    """The line says operation and arguments at the level of the failure, never what was written."""
    caplog.set_level(logging.DEBUG)

    with pytest.raises(pyfuse3.FUSEError):
        await Things(failure).write(7, 4096, b"private words")

    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith("write(7, 4096): ")
    assert "private" not in record.getMessage()


def test_every_operation_is_guarded():
    """No handler of pyfuse3 is reachable without the guard, and none is forgotten."""
    handlers = {name for name in vars(pyfuse3.Operations) if not name.startswith("_")}
    handlers = {name for name in handlers if callable(getattr(pyfuse3.Operations, name))}
    unguarded = {
        name for name in handlers if not hasattr(vars(Operations).get(name), "__wrapped__")
    }

    assert unguarded == UNANSWERED | LEFT_TO_THE_KERNEL


async def test_links_and_devices_are_refused():
    """The service has neither hard links nor special files: EPERM without asking it."""
    operations = Operations(MemoryFilesystem(), Guard(Deadlines(1, 1)))
    nobody: Any = None

    for call in (
        operations.link(1, 2, b"x", nobody),
        operations.mknod(1, b"x", 0o10644, 0, nobody),
    ):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await call
        assert caught.value.errno == errno.EPERM
