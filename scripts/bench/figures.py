"""What was measured: samples by figure and contender, their medians and spreads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def median(samples: Sequence[float]) -> float:
    """Return the median.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    return statistics.median(samples)


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the ratios of one turn each; of the medians where the turns differ.

    Raises:
        ValueError: there are no samples, or one to divide by is not positive.
    """
    if not over or not under:
        raise ValueError("no samples")
    if min(under) <= 0:
        raise ValueError("a sample to divide by is not positive")
    if len(over) == len(under):
        return median([a / b for a, b in zip(over, under, strict=True)])
    return median(over) / median(under)


def spread(samples: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest."""
    return min(samples), max(samples)


def growth_exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return e where cost grows as size to the power of e, by least squares; 1.0 is linear.

    Raises:
        ValueError: there are not two sizes, or one is not positive.
    """
    if len({size for size, _ in points}) < 2:
        raise ValueError("growth needs two sizes")
    if any(size <= 0 or cost <= 0 for size, cost in points):
        raise ValueError("sizes and costs are positive")
    sizes = [math.log(size) for size, _ in points]
    costs = [math.log(cost) for _, cost in points]
    return statistics.linear_regression(sizes, costs).slope


@dataclass(slots=True)
class RowResult:
    """Everything about one row of one run.

    Attributes:
        samples: values in turn, by figure, then by contender.
        cpu: CPU seconds of each party, summed, by contender.
        gate: turns of curl against the emulator and against nginx alone, in one unit.
        unavailable: why a contender did not take part.
        notes: what went wrong, or what a reader should know.
        seconds: how long the row took.
    """

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    gate: dict[str, list[float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self, figure: str, contender: str, value: float) -> None:
        """Add one sample."""
        self.samples.setdefault(figure, {}).setdefault(contender, []).append(value)

    def of(self, figure: str, contender: str) -> list[float]:
        """Return the samples, none where there are none."""
        return self.samples.get(figure, {}).get(contender, [])

    def add_cpu(self, contender: str, used: dict[str, float]) -> None:
        """Add CPU seconds of the parties."""
        total = self.cpu.setdefault(contender, {})
        for party, seconds in used.items():
            total[party] = total.get(party, 0.0) + seconds

    def gate_ratio(self) -> float | None:
        """Return what curl reaches against the emulator, by what it reaches against nginx."""
        through, alone = self.gate.get("emulator", []), self.gate.get("nginx", [])
        return paired_ratio(through, alone) if through and alone else None

    def to_json(self) -> dict[str, Any]:
        """Return the data of a results file."""
        return {
            "samples": self.samples,
            "cpu": self.cpu,
            "gate": self.gate,
            "unavailable": self.unavailable,
            "notes": self.notes,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RowResult:
        """Read what ``to_json`` made."""
        return cls(
            samples=data["samples"],
            cpu=data["cpu"],
            gate=data["gate"],
            unavailable=data["unavailable"],
            notes=data["notes"],
            seconds=data["seconds"],
        )
