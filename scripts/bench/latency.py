"""How much longer a request really takes at a latency: what a round trip costs in a turn."""

from __future__ import annotations

import statistics
import time
from typing import Final

from scripts.bench.service import BenchService

ROUNDS: Final = 3
REQUESTS: Final = 60


def round_trip_ms(service: BenchService, path: str, latency: float) -> float:
    """Return the milliseconds that a latency adds to a small request of the second client.

    Requests at 0 ms and at the latency are sent in turns, one after another on one connection. The
    latency is set afterwards.

    Raises:
        ValueError: it adds nothing.
    """
    found = []
    for _ in range(ROUNDS):
        near = _request_ms(service, path, 0)
        found.append(_request_ms(service, path, latency) - near)
    added = statistics.median(found)
    if added <= 0:
        raise ValueError(f"{latency} ms of latency add {added:.3f} ms to a request")
    return added


def _request_ms(service: BenchService, path: str, latency: float) -> float:
    client = service.rest
    target = client.path(path)
    client.set_latency(latency)
    client.ask("HEAD", target)
    taken = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        client.ask("HEAD", target)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000
