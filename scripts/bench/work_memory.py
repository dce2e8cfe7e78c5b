"""Memory of the daemon: at rest with many names, under streams, during a search."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.bench.context import Context
from scripts.bench.processes import MIB, MemorySampler, resident_mib
from scripts.bench.seed import SeedFile, many_files
from scripts.bench.work_names import list_long
from scripts.bench.work_sequential import read_whole, write_whole


def memory_idle(context: Context) -> None:
    """List a directory, wait, and look at the memory."""
    entries: int = context.setting("entries")
    with context.service(many_files("names", entries, 4096)) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                list_long(made.path / "names")
                time.sleep(context.setting("settle"))
                context.record("MiB", name, resident_mib(made.pid))


def memory_streams(context: Context) -> None:
    """Read and write large files at once, and look at the memory all the while."""
    streams: int = context.setting("streams")
    size = context.setting("mib") * MIB
    files = [SeedFile(f"read-{number}", size, is_sparse=True) for number in range(streams)]
    block = os.urandom(16 * MIB)
    with context.service(files) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                readers = [
                    threading.Thread(target=read_whole, args=(made.path / f"read-{number}",))
                    for number in range(streams)
                ]
                writers = [
                    threading.Thread(
                        target=write_whole, args=(made.path / f"written-{number}", size, block)
                    )
                    for number in range(streams)
                ]
                with (
                    MemorySampler(made.pid) as sampler,
                    context.timed(name, service, made) as measured,
                ):
                    _run_all([*readers, *writers])
                context.record("highest MiB", name, sampler.highest)
                context.record("drift", name, sampler.drift())
                context.record("MB/s together", name, 2 * streams * size / 1e6 / measured.seconds)
            for number in range(streams):
                service.rest.delete(f"written-{number}")


def _run_all(threads: Iterable[threading.Thread]) -> None:
    started = list(threads)
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def memory_find(context: Context) -> None:
    """Search a tree of very many names, and look at the memory during and after it."""
    total: int = context.setting("names")
    with context.service(_tree(total)) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is None:
                    continue
                idle = resident_mib(made.pid)
                with (
                    MemorySampler(made.pid) as sampler,
                    context.timed(name, service, made) as measured,
                ):
                    found = _count_names(made.path / "tree")
                if found < total:
                    raise OSError(f"find saw {found} names of {total}")
                time.sleep(context.setting("settle"))
                context.record("seconds", name, measured.seconds)
                context.record("requests", name, measured.counts.requests)
                context.record("highest MiB", name, sampler.highest)
                context.record("MiB afterwards", name, resident_mib(made.pid))
                context.record("bytes a name", name, (sampler.highest - idle) * MIB / total)


def _tree(total: int) -> Iterator[SeedFile]:
    each = 10_000
    for number in range(0, total, each):
        yield from many_files(f"tree/dir-{number // each:04d}", min(each, total - number), 4096)


def _count_names(path: Path) -> int:
    command = f"find {path} | wc -l"
    done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=1800)
    return int(done.stdout)
