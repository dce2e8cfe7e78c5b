"""Whether the emulator is fast enough for rows of small requests."""

from __future__ import annotations

from typing import Final

from scripts.bench import curl
from scripts.bench.context import Context
from scripts.bench.seed import SeedFile
from scripts.bench.service import BenchService

COUNT: Final = 200
SIZE: Final = 4096


def gate_files() -> list[SeedFile]:
    """Return the files that ``small_gate`` fetches, to be seeded with those of the row."""
    return [SeedFile(path, SIZE) for path in _paths()]


def _paths() -> list[str]:
    return [f"gate/file-{number:06d}" for number in range(COUNT)]


def small_gate(context: Context, service: BenchService, latency: float) -> None:
    """Let curl fetch small files one by one at the row's latency, and the same from nginx alone.

    nginx itself cannot be slowed down, so the latency is added to its time, once a request.
    """
    through = curl.small_downloads(service, _paths())
    alone = curl.plain_small_downloads(service, COUNT, SIZE)
    if len(alone) != COUNT:
        raise OSError(f"nginx has {len(alone)} small files of {COUNT}")
    service.rest.set_latency(latency)
    for _ in range(context.repeats):
        curl.run_curl(context.disk, alone, 1)
        measured = curl.run_curl(context.disk, through, 1)
        reference = curl.run_curl(context.disk, alone, 1)
        waited = COUNT * latency / 1000
        context.result.gate.setdefault("emulator", []).append(COUNT / measured.seconds)
        context.result.gate.setdefault("nginx", []).append(COUNT / (reference.seconds + waited))
