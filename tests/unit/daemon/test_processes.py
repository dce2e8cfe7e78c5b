"""Processes: known for certain, into the background, and without core files."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.processes import (
    Process,
    Readiness,
    forbid_core_files,
    into_background,
    start_time,
)


@pytest.fixture
def sleeper():
    """Run a process that does nothing."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def known(process: subprocess.Popen[bytes]) -> Process:
    """Return a process with its start time."""
    started = start_time(process.pid)
    assert started is not None
    return Process(process.pid, started)


def test_this_process():
    """The current process is alive and knows when it started."""
    assert Process.current().is_alive
    assert Process.current() == Process(os.getpid(), start_time(os.getpid()) or -1)


def test_another_process_of_the_same_number(sleeper):
    """A process that started at another time is another one: neither alive nor signalled."""
    other = Process(sleeper.pid, known(sleeper).started + 1)

    assert not other.is_alive
    assert not other.terminate()
    assert other.wait(0)
    assert sleeper.poll() is None


def test_terminating_and_waiting(sleeper):
    """A process is asked to end, and its end is waited for."""
    process = known(sleeper)
    assert not process.wait(0)
    assert process.terminate()
    assert process.wait(30)
    assert sleeper.wait(30) == -signal.SIGTERM
    assert not process.is_alive
    assert not process.terminate()
    assert process.wait(0)


def test_a_zombie_has_ended(sleeper):
    """A process that nobody has collected yet is not alive."""
    process = known(sleeper)
    sleeper.kill()
    assert process.wait(30)
    assert not process.is_alive


def test_no_core_files():
    """The memory of the process goes into no core file, whatever the limit of the parent was."""
    child = os.fork()
    if child == 0:
        forbid_core_files()
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        os._exit(dumpable)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def run_background(work: Callable[[Readiness], int]) -> CommandFailed | None:
    """Send work into the background and return how that failed, if it did."""
    try:
        into_background(work)
    except CommandFailed as failure:
        return failure
    return None


def test_ready(tmp_path):
    """The parent goes on when the child is ready; the child lives on without a terminal."""
    reading, writing = os.pipe()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def work(readiness: Readiness) -> int:
        facts = (os.getsid(0) == os.getpid(), os.getcwd(), os.readlink("/proc/self/fd/0"))
        readiness.ready()
        readiness.ready()
        fifo.write_text(repr(facts))
        return 0

    assert run_background(work) is None
    assert fifo.read_text() == repr((True, "/", "/dev/null"))
    # What the caller had open was let go of, while the child was still there.
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b""


def test_failed():
    """What the child failed with is what the parent fails with."""

    def work(readiness: Readiness) -> int:
        readiness.failed(CommandFailed(ExitCode.NOT_FOUND, "no such share"))
        return 4

    failure = run_background(work)
    assert failure is not None
    assert (failure.code, str(failure)) == (ExitCode.NOT_FOUND, "no such share")


@pytest.mark.parametrize("end", ["exception", "exit"])
def test_a_child_that_says_nothing(end):
    """A child that ends without a word is an internal failure, not a success."""

    def work(readiness: Readiness) -> int:
        if end == "exception":
            raise RuntimeError
        os._exit(0)

    failure = run_background(work)
    assert failure is not None
    assert failure.code is ExitCode.INTERNAL


def test_a_parent_that_has_gone():
    """A child whose parent was interrupted goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    Readiness(writing).ready()
    Readiness(None).failed(CommandFailed(ExitCode.FAILED, "x"))

    with pytest.raises(OSError, match="Bad file"):
        os.close(writing)


def test_nothing_of_this_needs_the_event_loop():
    """Modules used before the fork import neither trio nor pyfuse3, which must not be forked."""
    program = (
        "import sys; import azfilesfs.daemon.processes, azfilesfs.daemon.precheck, "
        "azfilesfs.daemon.registry, azfilesfs.daemon.directories, azfilesfs.cli.mount; "
        "print([name for name in ('trio', 'pyfuse3', 'httpx') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert shown.strip() == "[]"
