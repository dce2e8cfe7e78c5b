"""Random shares of waits, so that those who failed together do not come back together."""

from __future__ import annotations

import random


def jitter(low: float, high: float) -> float:
    """Return a number between two, to multiply a wait with."""
    return random.uniform(low, high)  # noqa: S311  # spreads waits, protects nothing
