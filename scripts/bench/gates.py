"""Judging a row: its thresholds, and whether it counts at all."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from scripts.bench.figures import RowResult, median, paired_ratio
from scripts.bench.rows import Must, Row

GATE: Final = 0.8
"""Part of its speed against nginx alone that curl must reach against the emulator."""

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Verdict(Enum):
    """What came out of a threshold."""

    MET = "met"
    MISSED = "missed"
    MISSING = "not available"


@dataclass(frozen=True, slots=True)
class Judged:
    """A threshold with what was measured against it; both are None where nothing was."""

    must: Must
    verdict: Verdict
    measured: float | None = None
    wanted: float | None = None


def judge(row: Row, result: RowResult) -> list[Judged]:
    """Judge every threshold of a row."""
    return [_judge(must, result) for must in row.musts]


def _judge(must: Must, result: RowResult) -> Judged:
    samples = result.of(must.figure, must.contender)
    if not samples:
        return Judged(must, Verdict.MISSING)
    if must.value is not None:
        measured, wanted = median(samples), must.value
    else:
        others = result.of(must.to_figure or must.figure, must.to_contender or must.contender)
        if not others or min(others) <= 0:
            return Judged(must, Verdict.MISSING)
        measured, wanted = paired_ratio(samples, others), must.factor
    is_met = _COMPARE[must.compare](measured, wanted)
    return Judged(must, Verdict.MET if is_met else Verdict.MISSED, measured, wanted)


def counts(result: RowResult) -> bool | None:
    """Tell whether the emulator was fast enough for the row to count, None if unmeasured."""
    ratio = result.gate_ratio()
    return None if ratio is None else ratio >= GATE
