"""How the cost grows with the work: names, bytes, open files, mounts."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from scripts.bench.contenders import session
from scripts.bench.context import Context
from scripts.bench.figures import growth_exponent
from scripts.bench.processes import resident_mib
from scripts.bench.seed import MIB, SeedFile, many_files
from scripts.bench.work_names import list_long
from scripts.bench.work_random import change_byte

GROWTH: Final = "exponent of growth"


def scaling_directory(context: Context) -> None:
    """List directories of growing size, cold."""
    sizes: list[int] = context.setting("points")
    files = [file for size in sizes for file in many_files(f"names-{size}", size, 4096)]
    files += many_files("warm", sizes[0], 4096)
    with context.service(files) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                list_long(made.path / "warm")
                for size in sizes:
                    time.sleep(context.setting("pause"))  # beyond the TTL of what was seen
                    with context.timed(name, service, made) as measured:
                        list_long(made.path / f"names-{size}")
                    context.record(f"seconds at {size}", name, measured.seconds)
                    context.record(f"requests at {size}", name, measured.counts.requests)
            _record_growth(context, name, sizes)


def _record_growth(context: Context, name: str, points: list[int]) -> None:
    """Record how the cost of this turn grows with the work."""
    found = [(point, context.result.of(f"seconds at {point}", name)) for point in points]
    pairs = [(float(point), samples[-1]) for point, samples in found if samples]
    if len(pairs) > 1:
        context.record(GROWTH, name, growth_exponent(pairs))


def scaling_file(context: Context) -> None:
    """Read the ends of sparse files of growing size, change one byte in the middle, close."""
    sizes: list[int] = context.setting("points")
    files = [SeedFile(f"sparse-{size}", size * MIB, is_sparse=True) for size in sizes]
    with context.service([*files, SeedFile("warm", MIB, is_sparse=True)]) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                _touch(made.path / "warm", MIB)
                for size in sizes:
                    with context.timed(name, service, made) as measured:
                        _touch(made.path / f"sparse-{size}", size * MIB)
                    context.record(f"seconds at {size}", name, measured.seconds)
                    context.record(f"requests at {size}", name, measured.counts.requests)
            _record_growth(context, name, sizes)


def _touch(path: Path, size: int) -> None:
    with path.open("rb", buffering=0) as stream:
        stream.read(4096)
        stream.seek(size - 4096)
        stream.read(4096)
    change_byte(path, size // 2)


def scaling_open_files(context: Context) -> None:
    """Hold a growing number of files open, write 4 KiB to each, close them all."""
    numbers: list[int] = context.setting("points")
    with context.service([SeedFile("files/first", 1)]) as service:
        for turn, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                _write_many(made.path / "files", f"warm-{turn}", numbers[0])
                for number in numbers:
                    with context.timed(name, service, made) as measured:
                        _write_many(made.path / "files", f"t{turn}-{number}", number)
                    context.record(f"seconds at {number}", name, measured.seconds)
                    context.record(f"requests at {number}", name, measured.counts.requests)
            _record_growth(context, name, numbers)


def _write_many(folder: Path, prefix: str, number: int) -> None:
    with ExitStack() as stack:
        streams = [
            stack.enter_context((folder / f"{prefix}-{index}").open("wb"))
            for index in range(number)
        ]
        for stream in streams:
            stream.write(os.urandom(4096))


def scaling_mounts(context: Context) -> None:
    """Mount the share a growing number of times, and list and read through each."""
    numbers: list[int] = context.setting("points")
    files = [SeedFile("file", MIB), *many_files("names", 1000, 4096)]
    with context.service(files) as service:
        for turn, name in context.turns():
            for number in numbers:
                folder = context.disk / f"mounts-{turn}-{number}"
                with ExitStack() as stack:
                    made = []
                    for index in range(number):
                        place = folder / str(index)
                        place.mkdir(parents=True)
                        opened = session(name, service.environment, place)
                        made.append(stack.enter_context(opened))
                    started = time.perf_counter()
                    for mount in made:
                        list_long(mount.path / "names")
                        (mount.path / "file").read_bytes()
                    context.record(f"seconds at {number}", name, time.perf_counter() - started)
                    total = sum(resident_mib(mount.pid) for mount in made)
                    context.record(f"MiB at {number}", name, total)
            _record_growth(context, name, numbers)
