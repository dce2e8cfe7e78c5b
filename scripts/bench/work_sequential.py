"""Large files from end to end: read cold and again, write to fsync and to visibility."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.bench import curl
from scripts.bench.contenders import MEMORY_FILE, REPOSITORY, Session
from scripts.bench.context import Context
from scripts.bench.processes import CpuMeter, drop_pages
from scripts.bench.seed import MIB, SeedFile
from scripts.bench.service import BenchService, eventually

CHUNK: Final = MIB
GIB: Final = 1 << 30


def read_whole(path: Path) -> int:
    """Read a file in pieces of 1 MiB and return how many bytes there were."""
    buffer, total = bytearray(CHUNK), 0
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            total += count
    return total


def write_whole(path: Path, size: int, block: bytes) -> None:
    """Write a file in pieces of 1 MiB, fsync and close it."""
    with path.open("wb", buffering=0) as stream:
        position = 0
        while position < size:
            start = position % len(block)
            position += stream.write(block[start : start + min(CHUNK, size - position)])
        os.fsync(stream.fileno())


def speed(size: int, seconds: float) -> float:
    """Return MB/s."""
    return size / 1e6 / seconds


# --- reading ------------------------------------------------------------------------------------


def sequential_read(context: Context) -> None:
    """Read a file cold at each latency, then again from the page cache and from the disk cache."""
    size = context.setting("mib") * MIB
    latencies: list[float] = context.setting("latencies")
    names = ["warm", *(f"cold-{index}" for index in range(len(latencies)))]
    with context.service(SeedFile(name, size) for name in names) as service:
        for _, name in context.turns():
            service.rest.set_latency(0)
            if name == "curl":
                _read_with_curl(context, service, size)
            elif name == "sdk":
                _with_sdk(context, service, "read", size)
            elif name in {"ext4", "memory"}:
                _read_reference(context, service, name, size)
            else:
                with context.session(name, service) as made:
                    if made is not None:
                        _read_mounted(context, service, made, name, size)


def _read_mounted(
    context: Context, service: BenchService, made: Session, name: str, size: int
) -> None:
    read_whole(made.path / "warm")
    for index, latency in enumerate(context.setting("latencies")):
        service.rest.set_latency(latency)
        path = made.path / f"cold-{index}"
        with context.timed(name, service, made) as cold:
            _must_read(path, size)
        context.record(f"MB/s at {latency:g} ms", name, speed(size, cold.seconds))
        if cold.counts.sent < size:
            context.note(
                f"{name}: a cold read of {size} bytes took {cold.counts.sent} off the wire"
            )
        if index:
            continue
        context.record("daemon CPU s/GiB", name, cold.daemon_cpu * GIB / size)
        context.record("bytes from the service per byte", name, cold.counts.sent / size)
        with context.timed(name, service, made) as again:
            _must_read(path, size)
        context.record("MB/s from the page cache", name, speed(size, again.seconds))
        drop_pages(path)
        with context.timed(name, service, made) as disk:
            _must_read(path, size)
        context.record("MB/s from the disk cache", name, speed(size, disk.seconds))
        context.record("bytes sent again", name, disk.counts.sent)


def _must_read(path: Path, size: int) -> None:
    found = read_whole(path)
    if found != size:
        raise OSError(f"{path.name}: {found} bytes of {size}")


def _read_reference(context: Context, service: BenchService, name: str, size: int) -> None:
    """Read a file of the local disk from the page cache, or one of a file system in memory.

    The latter stands for the disk cache as well: it is the same without a disk.
    """
    with context.session(name, service) as made:
        if made is None:
            return
        path = made.path / MEMORY_FILE
        if name == "ext4":
            write_whole(path, size, os.urandom(16 * MIB))
        whole = path.stat().st_size
        read_whole(path)
        if name == "memory":
            drop_pages(path)
            with context.timed(name, service, made) as measured:
                _must_read(path, whole)
            context.record("MB/s from the disk cache", name, speed(whole, measured.seconds))
        # Of the file system in memory: how fast the kernel is with pages of a FUSE file.
        with context.timed(name, service, made) as measured:
            _must_read(path, whole)
        context.record("MB/s from the page cache", name, speed(whole, measured.seconds))


def _read_with_curl(context: Context, service: BenchService, size: int) -> None:
    """Fetch the ranges from the emulator and from nginx alone; their ratio is the row's gate."""
    at_once: int = context.setting("at_once")
    through = curl.downloads(service, "cold-0", size)
    alone = curl.plain_downloads(service, "cold-0", size)
    curl.run_curl(context.disk, alone, at_once)
    meter = CpuMeter(service.pids)
    service.rest.reset_counts()
    measured = curl.run_curl(context.disk, through, at_once)
    context.result.add_cpu("curl", meter.used() | {"daemon": measured.cpu})
    if service.rest.counts().sent != size:
        context.note(f"curl got {service.rest.counts().sent} bytes of {size}")
    reference = curl.run_curl(context.disk, alone, at_once)
    _record_curl(context, "MB/s at 0 ms", size, measured, reference)


def _record_curl(
    context: Context, figure: str, size: int, through: curl.CurlRun, alone: curl.CurlRun
) -> None:
    context.record(figure, "curl", speed(size, through.seconds))
    context.record("daemon CPU s/GiB", "curl", through.cpu * GIB / size)
    context.result.gate.setdefault("emulator", []).append(speed(size, through.seconds))
    context.result.gate.setdefault("nginx", []).append(speed(size, alone.seconds))


def _with_sdk(context: Context, service: BenchService, what: str, size: int) -> None:
    """Let the official SDK move one file, in a process of its own that tells the seconds."""
    command = [sys.executable, "-m", "scripts.bench.sdk", what, "cold-0", str(size)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | service.environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode != 0:
        context.result.unavailable["sdk"] = (done.stderr.strip().splitlines() or ["failed"])[-1]
        return
    context.record("MB/s at 0 ms", "sdk", speed(size, float(done.stdout)))


# --- writing ------------------------------------------------------------------------------------


def sequential_write(context: Context) -> None:
    """Write a file with fsync at each latency; time also until a second client sees its bytes."""
    size = context.setting("mib") * MIB
    block = os.urandom(16 * MIB)
    with context.service([]) as service:
        for _, name in context.turns():
            service.rest.set_latency(0)
            if name == "curl":
                _write_with_curl(context, service, size, block)
            elif name == "sdk":
                _with_sdk(context, service, "write", size)
            else:
                with context.session(name, service) as made:
                    if made is not None:
                        _write_mounted(context, service, made, name, block)


def _write_mounted(
    context: Context, service: BenchService, made: Session, name: str, block: bytes
) -> None:
    size = context.setting("mib") * MIB
    if name == "ext4":
        write_whole(made.path / "warm", size, block)
        with context.timed(name, service, made) as measured:
            write_whole(made.path / "written", size, block)
        context.record("MB/s to fsync at 0 ms", name, speed(size, measured.seconds))
        return
    with _forgotten(service, "warm"):
        write_whole(made.path / "warm", size, block)
        wait_visible(service, "warm", size, block)
    for latency in context.setting("latencies"):
        service.rest.set_latency(latency)
        with _forgotten(service, "written"), context.timed(name, service, made) as measured:
            started = time.perf_counter()
            write_whole(made.path / "written", size, block)
            synced = time.perf_counter() - started
            wait_visible(service, "written", size, block)
        context.record(f"MB/s to fsync at {latency:g} ms", name, speed(size, synced))
        seen = measured.seconds
        context.record(f"MB/s to visibility at {latency:g} ms", name, speed(size, seen))
        if not latency:
            context.record("daemon CPU s/GiB", name, measured.daemon_cpu * GIB / size)


@contextmanager
def _forgotten(service: BenchService, path: str) -> Iterator[None]:
    """Delete a file at the service after the block, so that memory is not filled with them."""
    try:
        yield
    finally:
        service.rest.delete(path)


def wait_visible(service: BenchService, path: str, size: int, block: bytes) -> None:
    """Wait until a second client sees the size, the first and the last bytes.

    Raises:
        TimeoutError: it does not within minutes.
    """
    tail = min(4096, size)
    position = (size - tail) % len(block)
    wanted = (block + block)[position : position + tail]

    def is_there() -> bool:
        if service.rest.size(path) != size:
            return False
        if service.rest.read(path, 0, tail) != block[:tail]:
            return False
        return service.rest.read(path, size - tail, tail) == wanted

    eventually(is_there, f"a second client sees {path}")


def _write_with_curl(context: Context, service: BenchService, size: int, block: bytes) -> None:
    """Put the ranges into the emulator and into nginx alone; both have a warm-up."""
    at_once: int = context.setting("at_once")
    body = context.disk / "block"
    body.write_bytes(block[: curl.RANGE])
    through = curl.uploads(service, "written", size, body)
    alone = curl.plain_uploads(service, size, body)
    for is_timed in (False, True):
        service.rest.create("written", size)
        with _forgotten(service, "written"):
            meter = CpuMeter(service.pids)
            measured = curl.run_curl(context.disk, through, at_once)
            used = meter.used()
        reference = curl.run_curl(context.disk, alone, at_once)
        for path in (service.paths.nginx / "upload").iterdir():
            if path.is_file():
                path.unlink()
        if is_timed:
            context.result.add_cpu("curl", used | {"daemon": measured.cpu})
            _record_curl(context, "MB/s to fsync at 0 ms", size, measured, reference)
