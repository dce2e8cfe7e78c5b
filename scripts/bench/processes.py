"""CPU and memory of other processes, from /proc."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text() for task in tasks]
    except OSError:
        return []
    return [int(word) for text in texts for word in text.split()]


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, of those below it and of those it has waited for.

    A process that is gone counts as nothing.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS
    return own + sum(cpu_seconds(child) for child in children(pid))


def resident_mib(pid: int) -> float:
    """Return the resident memory of one process in MiB, 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * _PAGE / MIB


class CpuMeter:
    """CPU seconds of several parties since it was made."""

    def __init__(self, pids: dict[str, int]) -> None:
        """Begin to measure."""
        self._pids = pids
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def used(self) -> dict[str, float]:
        """Return the seconds by party."""
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}


class MemorySampler:
    """Resident memory of a process, looked at again and again while the block runs."""

    def __init__(self, pid: int, seconds: float = 0.25) -> None:
        """Prepare to look every so many seconds."""
        self._pid = pid
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[float] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, with one last look."""
        self._stop.set()
        self._thread.join()
        self.samples.append(resident_mib(self._pid))

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.samples.append(resident_mib(self._pid))

    @property
    def highest(self) -> float:
        """The largest sample in MiB."""
        return max(self.samples, default=0.0)

    def drift(self) -> float:
        """Return the last quarter's mean over the second quarter's; 1.0 is flat."""
        quarter = len(self.samples) // 4
        if not quarter:
            return 1.0
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return (sum(late) / len(late)) / max(sum(early) / len(early), 1e-9)


def drop_pages(path: Path) -> None:
    """Make the kernel forget the pages of one file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
