"""Many small files: unpacked, created, read back."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.bench.contenders import Session
from scripts.bench.context import Context, Pass
from scripts.bench.latency import round_trip_ms
from scripts.bench.seed import SeedFile
from scripts.bench.service import BenchService, eventually
from scripts.bench.small_gate import gate_files, small_gate

FOLDERS: Final = 20
Write = Callable[[Path, Path], None]


def names(count: int) -> list[str]:
    """Return the files of a tree, spread over twenty directories."""
    each = -(-count // FOLDERS)
    return [f"dir-{number // each:02d}/file-{number:06d}" for number in range(count)]


def make_archive(path: Path, count: int, size: int) -> None:
    """Write a tar archive of that many files with random content."""
    with tarfile.open(path, "w") as archive:
        for folder in sorted({name.partition("/")[0] for name in names(count)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
            archive.addfile(entry)
        for name in names(count):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = size, int(time.time())
            archive.addfile(entry, io.BytesIO(os.urandom(size)))


def unpack(archive: Path, target: Path) -> None:
    """Run tar, which opens every file with O_EXCL."""
    command = ["tar", "--no-same-owner", "-xf", str(archive), "-C", str(target)]
    subprocess.run(command, check=True, timeout=900)


def write_plainly(archive: Path, target: Path) -> None:
    """Write the same files as most programs do, with O_CREAT alone."""
    with tarfile.open(archive) as opened:
        for entry in opened:
            path = target / entry.name
            if entry.isdir():
                path.mkdir()
                continue
            content = opened.extractfile(entry)
            path.write_bytes(content.read() if content is not None else b"")


def untar(context: Context) -> None:
    """Unpack an archive into the mount at 0 ms, as a warm-up, and at the row's latency."""
    _many_files(context, unpack)


def plain_create(context: Context) -> None:
    """Write the files of an archive without O_EXCL."""
    _many_files(context, write_plainly)


def _many_files(context: Context, write: Write) -> None:
    count: int = context.setting("files")
    size: int = context.setting("bytes")
    archive = context.disk / "tree.tar"
    make_archive(archive, count, size)
    with context.service(gate_files()) as service:
        for _, name in context.turns():
            with context.session(name, service) as made:
                if made is not None:
                    _write_tree(context, service, made, name, (write, archive))
        small_gate(context, service, context.setting("latency"))


def _write_tree(
    context: Context, service: BenchService, made: Session, name: str, how: tuple[Write, Path]
) -> None:
    count: int = context.setting("files")
    latency: float = context.setting("latency")
    service.rest.set_latency(0)
    near, _ = _one_tree(context, service, made, name, (*how, f"near-{name}"))
    trip = round_trip_ms(service, gate_files()[0].path, latency)
    far, seen = _one_tree(context, service, made, name, (*how, f"far-{name}"))
    context.record("seconds", name, far)
    context.record("seconds to visibility", name, seen.seconds)
    context.record("requests a file", name, seen.counts.requests / count)
    context.record("ms a round trip", name, trip)
    context.record("round trips a file", name, max(far - near, 0.0) / (count * trip / 1000))
    for folder in (f"near-{name}", f"far-{name}"):
        _remove_tree(service, folder, count)


def _one_tree(
    context: Context,
    service: BenchService,
    made: Session,
    name: str,
    how: tuple[Write, Path, str],
) -> tuple[float, Pass]:
    """Write a tree; return the seconds of the program, and everything until it is visible."""
    write, archive, folder = how
    target = made.path / folder
    target.mkdir()
    with context.timed(name, service, made) as measured:
        started = time.perf_counter()
        write(archive, target)
        seconds = time.perf_counter() - started
        if made.pid:
            _wait_tree(service, folder, context.setting("files"), context.setting("bytes"))
    return seconds, measured


def _wait_tree(service: BenchService, folder: str, count: int, size: int) -> None:
    """Wait until a second client sees every file with its size.

    Raises:
        TimeoutError: it does not.
    """
    folders = sorted({name.partition("/")[0] for name in names(count)})
    wanted = f"<Content-Length>{size}</Content-Length>"

    def is_there() -> bool:
        seen = 0
        for inner in folders:
            target = service.rest.path(f"{folder}/{inner}", "restype=directory&comp=list")
            _, _, data = service.rest.ask("GET", target)
            seen += data.decode("utf-8-sig", "replace").count(wanted)
            if not seen:
                return False
        return seen == count

    eventually(is_there, f"a second client sees the files of {folder}")


def _remove_tree(service: BenchService, folder: str, count: int) -> None:
    service.rest.set_latency(0)
    for name in names(count):
        service.rest.delete(f"{folder}/{name}")
    for inner in sorted({name.partition("/")[0] for name in names(count)}):
        service.rest.remove_directory(f"{folder}/{inner}")
    service.rest.remove_directory(folder)


def read_back(context: Context) -> None:
    """Read every file of a tree once, in the order of its listing, with nothing cached."""
    count: int = context.setting("files")
    size: int = context.setting("bytes")
    latency: float = context.setting("latency")
    files = [SeedFile(f"tree/{name}", size) for name in names(count)]
    files += [SeedFile(f"warm/{name}", size) for name in names(min(count, 200))]
    with context.service([*gate_files(), *files]) as service:
        small_gate(context, service, latency)
        for _, name in context.turns():
            service.rest.set_latency(latency)
            with context.session(name, service) as made:
                if made is None:
                    continue
                read_tree(made.path / "warm")
                with context.timed(name, service, made) as measured:
                    found = read_tree(made.path / "tree")
                if found != count * size:
                    raise OSError(f"{name}: {found} bytes of {count * size}")
                context.record("seconds", name, measured.seconds)
                context.record("requests a file", name, measured.counts.requests / count)


def read_tree(root: Path) -> int:
    """Read all files below a directory and return how many bytes there were."""
    total = 0
    for folder, inner, files in os.walk(root):
        inner.sort()
        for file in files:
            total += len(Path(folder, file).read_bytes())
    return total
