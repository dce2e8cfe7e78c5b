"""Whether the emulator is fast enough for rows of small requests."""

from __future__ import annotations

from scripts.bench import curl
from scripts.bench.context import Context
from scripts.bench.service import BenchService


def small_gate(
    context: Context,
    service: BenchService,
    folder: str,
    count: int,
    latency: float,
    *,
    at_once: int,
) -> None:
    """Let curl fetch small files at the row's latency, and the same bytes from nginx alone.

    nginx itself cannot be slowed down, so the latency is added to its time: once a request, divided
    by how many are under way at once.
    """
    paths = [f"{folder}/file-{number:06d}" for number in range(count)]
    through = curl.small_downloads(service, paths)
    alone = curl.plain_small_downloads(service, count)
    service.rest.set_latency(latency)
    curl.run_curl(context.disk, alone, at_once)
    measured = curl.run_curl(context.disk, through, at_once)
    reference = curl.run_curl(context.disk, alone, at_once)
    waited = count * latency / 1000 / at_once
    context.result.gate.setdefault("emulator", []).append(count / measured.seconds)
    context.result.gate.setdefault("nginx", []).append(count / (reference.seconds + waited))
