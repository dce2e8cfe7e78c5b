"""Processes that lock files on mounts, and what they say."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 120.0


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start one of the programs; its output is kept."""
    command = [sys.executable, str(PROGRAMS / f"{program}.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes: list[subprocess.Popen[str]], seconds: float = 240) -> list[str]:
    """Wait for programs to end well and return what each printed; none of them is left behind."""
    try:
        done = [(process, *process.communicate(timeout=seconds)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, out, err in done:
        assert process.returncode == 0, f"{process.args!r}\n{out}\n{err}"
    return [out for _, out, _ in done]


class Obeying:
    """A process that does with a file as it is told (programs/obeying.py)."""

    def __init__(self, path: Path | None = None) -> None:
        """Start it, and let it open a file."""
        self._process = subprocess.Popen(
            [sys.executable, PROGRAMS / "obeying.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid: int = self.answer()["pid"]
        if path is not None:
            assert self("open", path=str(path)) == 0

    def __call__(self, order: str, **arguments: object) -> int:
        """Let it do something and return the errno."""
        self.send(order, **arguments)
        number: int = self.answer()["errno"]
        return number

    def send(self, order: str, **arguments: object) -> None:
        """Tell it to do something, without waiting for it."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._process.stdin.flush()

    def is_answering(self, seconds: float) -> bool:
        """Tell whether an answer comes within a while."""
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def answer(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return its answer."""
        assert self.is_answering(seconds), f"no answer within {seconds} s"
        assert self._process.stdout
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def read(self, size: int = 100, offset: int = 0) -> str:
        """Let it read, and return what it read."""
        self.send("read", size=size, offset=offset)
        answer = self.answer()
        assert answer["errno"] == 0, os.strerror(answer["errno"])
        return str(answer["result"])

    def interrupt(self) -> None:
        """Send it the signal that ends what blocks."""
        os.kill(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


@contextmanager
def obeying(*paths: Path) -> Iterator[list[Obeying]]:
    """Start a process for each path, ended with the block."""
    processes = [Obeying(path) for path in paths]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
