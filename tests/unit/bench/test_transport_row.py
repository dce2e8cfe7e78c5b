"""The row of the transport: which passes follow each other, and what becomes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from azfilesfs.client.transport import TransportKind
from scripts.bench import transport as program
from scripts.bench.context import Context
from scripts.bench.figures import RowResult
from scripts.bench.rows import Row
from scripts.bench.transport import BLOCK, CASES, Case, Sample, Service
from scripts.bench.work_transport import transport


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Collect the passes: a second each, of curl two, and as much CPU as their number."""
    done: list[tuple[str, str, int]] = []

    @contextmanager
    def serving() -> Iterator[Service]:
        yield Service(Path(), 1)

    def curl(service: Service, case: Case) -> Sample:
        done.append(("curl", case.work, case.at_once))
        return Sample(2.0, len(done))

    def worker(service: Service, case: Case, kind: TransportKind) -> Sample:
        done.append((kind.value, case.work, case.at_once))
        return Sample(1.0, len(done))

    monkeypatch.setattr(program, "serving", serving)
    monkeypatch.setattr(program, "_run_curl", curl)
    monkeypatch.setattr(program, "_run_worker", worker)
    return done


def test_small_requests_of_both_kinds_follow_each_other(passes: list[tuple[str, str, int]]):
    """All cases take turns, so that a slow minute hits both sides of a ratio; none is always the
    second.
    """
    rows = program.measure(2, with_httpx=False)
    large = [(who, work, 8) for work in ("get", "put") for who in ("curl", "fast")]
    small_ones = [("fast", "small", 16), ("fast", "small", 64)]
    backwards = [*reversed(small_ones), *large[2:], *large[:2]]
    assert passes == [*backwards, *large, *small_ones, *backwards]
    (small,) = (row for row in rows if row.at_once == 64)
    # The first of three turns does not count.
    requests = CASES[-1].requests
    assert small.cpus == (12 * 1e3 / requests, 13 * 1e3 / requests)
    assert small.cpu == 12.5 * 1e3 / requests
    assert small.rates == (requests, requests)
    assert small.of_curl is None


def test_figures_are_recorded_turn_by_turn(passes: list[tuple[str, str, int]]):
    """Each turn is a sample, so that ratios are those of one turn."""
    row = Row(name="transport", title="", workload="transport", contenders=("fast", "curl"))
    context = Context(row, RowResult(), Path(), Path(), repeats=3, is_quick=True)
    transport(context)
    samples = context.result.samples
    assert samples["of curl, get, 8 at once"] == {"curl": [1.0] * 3, "fast": [2.0] * 3}
    assert samples["MB/s put, 8 at once"]["fast"] == [160 * BLOCK / 1e6] * 3
    assert len(samples["ms CPU a small request, 64 at once"]["fast"]) == 3
    assert len(samples["small requests/s, 16 at once"]["fast"]) == 3
    assert len(samples["CPU s/GiB get, 8 at once"]["curl"]) == 3
    assert "of curl, small, 16 at once" not in samples
