"""Small pieces of large files: random reads, and one byte changed."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Final

from scripts.bench.contenders import Session
from scripts.bench.context import Context
from scripts.bench.seed import MIB, SeedFile
from scripts.bench.service import BenchService
from scripts.bench.small_gate import gate_files, small_gate
from scripts.bench.work_sequential import read_whole

PIECE: Final = 4096


def random_read(context: Context) -> None:
    """Read 4 KiB at places never read before, for some seconds, by one thread and by several."""
    size = context.setting("mib") * MIB
    latency: float = context.setting("latency")
    files = [SeedFile("large", size), SeedFile("warm", size // 16)]
    files += gate_files()
    with context.service(files) as service:
        for threads in context.setting("threads"):
            for turn, name in context.turns():
                service.rest.set_latency(latency)
                with context.session(name, service) as made:
                    if made is not None:
                        _read_pieces(context, service, made, name, (threads, size, turn))
        small_gate(context, service, latency)


def _read_pieces(
    context: Context, service: BenchService, made: Session, name: str, how: tuple[int, int, int]
) -> None:
    threads, size, turn = how
    seconds: float = context.setting("seconds")
    read_whole(made.path / "warm")
    path = made.path / "large"
    with path.open("rb", buffering=0) as stream:
        reader = _PieceReader(stream.fileno(), size, seed=turn)
        reader.run(threads, seconds / 4)
        with context.timed(name, service, made) as measured:
            done = reader.run(threads, seconds)
    label = f"{threads} thread" + ("s" if threads > 1 else "")
    context.record(f"reads/s, {label}", name, done / measured.seconds)
    context.record(f"requests a read, {label}", name, measured.counts.requests / done)
    context.record(f"bytes from the service a read, {label}", name, measured.counts.sent / done)


class _PieceReader:
    """Reads pieces in an order that no two threads share and that no place is twice in."""

    def __init__(self, descriptor: int, size: int, seed: int) -> None:
        self._descriptor = descriptor
        places = random.Random(seed).sample(range(size // PIECE), min(size // PIECE, 200_000))  # noqa: S311  # places to read, no secret
        self._places = iter(places)
        self._lock = threading.Lock()
        self._done = 0

    def run(self, threads: int, seconds: float) -> int:
        """Read for that long and return how many pieces there were."""
        self._done = 0
        deadline = time.monotonic() + seconds
        workers = [threading.Thread(target=self._work, args=(deadline,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if not self._done:
            raise OSError("not one piece was read")
        return self._done

    def _work(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            with self._lock:
                place = next(self._places, None)
            if place is None or len(os.pread(self._descriptor, PIECE, place * PIECE)) != PIECE:
                return
            with self._lock:
                self._done += 1


def one_byte(context: Context) -> None:
    """Change one byte in the middle of a large file and close it."""
    size = context.setting("mib") * MIB
    files = [SeedFile(f"large-{turn}", size) for turn in range(context.repeats)]
    with context.service([*files, SeedFile("warm", size)]) as service:
        for turn, name in context.turns():
            service.rest.set_latency(context.setting("latency"))
            with context.session(name, service) as made:
                if made is None:
                    continue
                change_byte(made.path / "warm", size // 2)
                with context.timed(name, service, made) as measured:
                    change_byte(made.path / f"large-{turn}", size // 2)
                context.record("requests", name, measured.counts.requests)
                context.record("bytes sent", name, measured.counts.received)
                context.record("seconds", name, measured.seconds)


def change_byte(path: Path, position: int) -> None:
    """Overwrite one byte and close."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, b"X", position)
    finally:
        os.close(descriptor)
