"""Processes: known by their start time too, and the way of the daemon into the background."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from azfilesfs.config.exit_codes import CommandFailed, ExitCode

_PR_SET_DUMPABLE: Final = 4
_START_TIME_FIELD: Final = 21
"""Field 22 of proc_pid_stat(5), counted from 0."""

_REPORT_BYTES: Final = 64 * 1024


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, blanks and parentheses too.
    before, after = stat.index("("), stat.rindex(")") + 1
    fields = [*stat[:before].split(), "name", *stat[after:].split()]
    return None if fields[2] == "Z" else int(fields[_START_TIME_FIELD])


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started: int

    @classmethod
    def current(cls) -> Process:
        """Return this one."""
        return cls(os.getpid(), start_time(os.getpid()) or 0)

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return start_time(self.pid) == self.started

    def terminate(self) -> bool:
        """Send SIGTERM; False if it had ended.

        Raises:
            PermissionError: it is somebody else's.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Asked after the handle was taken: from here on the number cannot be another's.
            if not self.is_alive:
                return False
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for its end that long; blocks. Tell whether it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_alive:
                return True
            ready, _, _ = select.select([handle], [], [], seconds)
            return bool(ready)
        finally:
            os.close(handle)


def forbid_core_files() -> None:
    """Keep the memory of this process, and the secrets in it, out of core files and debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit of 0 does not keep a handler in core_pattern from getting the memory; this does.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class Readiness:
    """The daemon's one message to whoever waits for it: ready, or why not.

    Attributes:
        descriptor: where it is written to, None once it is, or where nobody waits.
    """

    def __init__(self, descriptor: int | None) -> None:
        """Write to a pipe, or to nobody."""
        self.descriptor = descriptor

    def ready(self) -> None:
        """Say that everything works."""
        self._send({"code": int(ExitCode.OK), "message": ""})

    def failed(self, failure: CommandFailed) -> None:
        """Say why it did not come to that."""
        self._send({"code": int(failure.code), "message": str(failure)})

    def _send(self, message: dict[str, object]) -> None:
        if self.descriptor is None:
            return
        descriptor, self.descriptor = self.descriptor, None
        # The parent may have been interrupted; the daemon lives on without it.
        with suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode())
        os.close(descriptor)


def into_background(work: Callable[[Readiness], int]) -> None:
    """Run ``work`` in a process of its own and return once it has reported.

    The child leads a session of its own, stands in the root directory, and has no terminal; it ends
    with what ``work`` returns. Must be called while there is only one thread.

    Raises:
        CommandFailed: the child reported a failure, or ended without a report.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live_alone(work, Readiness(writing))
    os.close(writing)
    try:
        message = _received(reading)
    finally:
        os.close(reading)
    if message is None:
        raise CommandFailed(ExitCode.INTERNAL, "the daemon ended unexpectedly; see its log")
    code, text = message
    if code is not ExitCode.OK:
        os.waitpid(child, 0)
        raise CommandFailed(code, text)


def _live_alone(work: Callable[[Readiness], int], readiness: Readiness) -> NoReturn:
    code = int(ExitCode.INTERNAL)
    try:
        os.setsid()
        os.chdir("/")
        _let_go(readiness.descriptor)
        code = work(readiness)
    finally:
        # Not through the interpreter's exit: what the parent registered there is the parent's.
        os._exit(code)


def _let_go(kept: int | None) -> None:
    """Leave the terminal, and close what the caller's shell had open, such as its locks."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            # The directory that was listed is among them and closed already.
            with suppress(OSError):
                os.close(int(name))


def _received(descriptor: int) -> tuple[ExitCode, str] | None:
    data = b""
    while len(data) < _REPORT_BYTES and (piece := os.read(descriptor, _REPORT_BYTES)):
        data += piece
    if not data:
        return None
    message = json.loads(data)
    return ExitCode(message["code"]), str(message["message"])
