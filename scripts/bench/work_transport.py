"""The transport alone, measured by its own program beside this one."""

from __future__ import annotations

import subprocess

from scripts.bench import transport as program
from scripts.bench.context import Context


def transport(context: Context) -> None:
    """Run the cases of ``scripts/bench/transport.py`` and take over its figures, turn by turn.

    Raises:
        OSError: nginx or curl is missing or does not start, or a contender failed.
    """
    try:
        rows = program.measure(context.repeats, with_httpx=not context.is_quick)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise OSError(str(error)) from error
    for row in rows:
        case = f"{row.at_once} at once"
        is_small = row.work == "small"
        rate = f"small requests/s, {case}" if is_small else f"MB/s {row.work}, {case}"
        cost = f"ms CPU a small request, {case}" if is_small else f"CPU s/GiB {row.work}, {case}"
        for figure, values in (
            (rate, row.rates),
            (cost, row.cpus),
            (f"of curl, {row.work}, {case}", row.ratios),
        ):
            for value in values:
                context.record(figure, row.contender, value)
