"""The transport alone, measured by its own program beside this one."""

from __future__ import annotations

import subprocess

from scripts.bench import transport as program
from scripts.bench.context import Context


def transport(context: Context) -> None:
    """Run the cases of ``scripts/bench/transport.py`` and take over its medians.

    Raises:
        OSError: nginx or curl is missing or does not start, or a contender failed.
    """
    try:
        rows = program.measure(context.repeats, with_httpx=not context.is_quick)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise OSError(str(error)) from error
    for row in rows:
        case = f"{row.at_once} at once"
        if row.work == "small":
            context.record(f"small requests/s, {case}", row.contender, row.mb_per_second)
            context.record(f"ms CPU a small request, {case}", row.contender, row.cpu)
            continue
        context.record(f"MB/s {row.work}, {case}", row.contender, row.mb_per_second)
        context.record(f"CPU s/GiB {row.work}, {case}", row.contender, row.cpu)
        if row.of_curl is not None:
            context.record(f"of curl, {row.work}, {case}", row.contender, row.of_curl)
