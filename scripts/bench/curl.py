"""curl as the yardstick: the same ranges, many at once, from the emulator and from nginx alone."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.model.versions import NEWEST
from scripts.bench.service import BenchService

MIB: Final = 1 << 20
RANGE: Final = 4 * MIB
TIMEOUT: Final = 900
_COMMON: Final = (
    "curl", "--silent", "--show-error", "--parallel", "--parallel-immediate", "--fail-early",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CurlRun:
    """What one run of curl took."""

    seconds: float
    cpu: float


def run_curl(folder: Path, sections: Iterable[str], at_once: int) -> CurlRun:
    """Run all transfers.

    Raises:
        OSError: one of them failed.
    """
    config = folder / "curl.conf"
    config.write_text("next\n".join(sections))
    config.chmod(0o600)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [*_COMMON, "--parallel-max", str(at_once), "--config", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    config.unlink()
    if done.returncode != 0:
        raise OSError(f"curl ended with {done.returncode}: {done.stderr.strip()[:200]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return CurlRun(seconds, cpu)


def _section(url: str, ca_file: Path, *lines: str) -> str:
    common = [f'url = "{url}"', f'cacert = "{ca_file}"', "fail", *lines]
    return "\n".join(common) + "\n"


def ranges(size: int) -> list[tuple[int, int]]:
    """Return the ranges of 4 MiB that a file of that size has, ends included."""
    return [(start, min(start + RANGE, size) - 1) for start in range(0, size, RANGE)]


def _base(service: BenchService) -> str:
    return service.url.rpartition("/")[0]


def downloads(service: BenchService, path: str, size: int) -> list[str]:
    """Return the transfers that fetch a file from the emulator in ranges."""
    url = _base(service) + service.rest.path(path)
    return [
        _section(
            url, service.ca_file, f'header = "x-ms-range: bytes={first}-{last}"',
            f'header = "x-ms-version: {NEWEST}"', 'output = "/dev/null"',
        )
        for first, last in ranges(size)
    ]  # fmt: skip


def plain_downloads(service: BenchService, path: str, size: int) -> list[str]:
    """Return the transfers that fetch the same bytes from nginx alone."""
    url = f"{service.plain_url}/content/{service.content_name(path)}"
    return [
        _section(url, service.ca_file, f'range = "{first}-{last}"', 'output = "/dev/null"')
        for first, last in ranges(size)
    ]


def small_downloads(service: BenchService, paths: Iterable[str]) -> list[str]:
    """Return the transfers that fetch whole files from the emulator."""
    return [
        _section(
            _base(service) + service.rest.path(path), service.ca_file,
            f'header = "x-ms-version: {NEWEST}"', 'output = "/dev/null"',
        )
        for path in paths
    ]  # fmt: skip


def plain_small_downloads(service: BenchService, count: int, size: int) -> list[str]:
    """Return the transfers that fetch that many contents of one size from nginx alone."""
    contents = (service.paths.data / "content").iterdir()
    names = sorted(path.name for path in contents if path.stat().st_size == size)[:count]
    return [
        _section(f"{service.plain_url}/content/{name}", service.ca_file, 'output = "/dev/null"')
        for name in names
    ]


def uploads(service: BenchService, path: str, size: int, block: Path) -> list[str]:
    """Return the transfers that write a file of the emulator in ranges; the file is there."""
    url = _base(service) + service.rest.path(path, "comp=range")
    return [
        _section(
            url, service.ca_file, f'header = "x-ms-range: bytes={first}-{last}"',
            f'header = "x-ms-version: {NEWEST}"', 'header = "x-ms-write: update"',
            'header = "Expect:"', f'upload-file = "{block}"', 'output = "/dev/null"',
        )
        for first, last in ranges(size)
    ]  # fmt: skip


def plain_uploads(service: BenchService, size: int, block: Path) -> list[str]:
    """Return the transfers that put the same bytes into files of nginx alone."""
    return [
        _section(
            f"{service.plain_url}/upload/{first}", service.ca_file, 'header = "Expect:"',
            f'upload-file = "{block}"', 'output = "/dev/null"',
        )
        for first, _ in ranges(size)
    ]  # fmt: skip
