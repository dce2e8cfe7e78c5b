"""What a workload gets: its row, where to work, who takes part, and where figures go."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench.contenders import NotAvailable, Session, session
from scripts.bench.figures import RowResult
from scripts.bench.processes import CpuMeter
from scripts.bench.rest import Counts
from scripts.bench.rows import Row
from scripts.bench.seed import SeedFile
from scripts.bench.service import BenchService, served


@dataclass(slots=True)
class Pass:
    """One timed pass.

    Attributes:
        seconds: wall-clock time.
        cpu: CPU seconds by party: daemon, emulator, nginx.
        counts: what the emulator saw, without what the second client asked.
    """

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    counts: Counts = field(default_factory=lambda: Counts({}, 0, 0))

    @property
    def daemon_cpu(self) -> float:
        """CPU seconds of the contender's daemon."""
        return self.cpu.get("daemon", 0.0)


@dataclass(slots=True)
class Context:
    """One run of one row."""

    row: Row
    result: RowResult
    disk: Path
    memory: Path
    repeats: int
    is_quick: bool = False

    def setting(self, name: str) -> Any:  # noqa: ANN401  # whatever TOML may hold
        """Return a setting of the row."""
        return self.row.setting(name, is_quick=self.is_quick)

    def record(self, figure: str, contender: str, value: float) -> None:
        """Add a sample."""
        self.result.record(figure, contender, value)

    def say(self, text: str) -> None:
        """Show progress."""
        print(f"    {text}", file=sys.stderr, flush=True)

    @contextmanager
    def service(self, files: Iterable[SeedFile]) -> Iterator[BenchService]:
        """Run a service with these files while the block runs."""
        with served(self.memory / "service", files) as running:
            yield running

    def turns(self, contenders: Iterable[str] | None = None) -> Iterator[tuple[int, str]]:
        """Yield turn and contender: A B C, then A B C again; those that cannot are left out."""
        chosen = list(self.row.contenders if contenders is None else contenders)
        for turn in range(self.repeats):
            for name in chosen:
                if name not in self.result.unavailable:
                    self.say(f"{self.row.name}: turn {turn + 1} of {self.repeats}, {name}")
                    yield turn, name

    @contextmanager
    def session(self, name: str, service: BenchService) -> Iterator[Session | None]:
        """Mount with empty caches while the block runs; None where that contender cannot."""
        folder = self.disk / "session"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with session(name, service.environment, folder) as made:
                yield made
        except NotAvailable as reason:
            self.result.unavailable[name] = str(reason)
            self.say(f"{name} is not available: {reason}")
            yield None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def timed(self, name: str, service: BenchService, made: Session) -> Iterator[Pass]:
        """Measure the block: time, CPU, requests; the CPU is added to the row's."""
        measured = Pass()
        meter = CpuMeter({"daemon": made.pid, **service.pids} if made.pid else dict(service.pids))
        service.rest.reset_counts()
        started = time.perf_counter()
        yield measured
        measured.seconds = time.perf_counter() - started
        measured.counts = service.rest.counts()
        measured.cpu = meter.used()
        self.result.add_cpu(name, measured.cpu)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.result.notes:
            self.result.notes.append(text)
            self.say(text)


Workload = Callable[[Context], None]
