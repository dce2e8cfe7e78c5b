"""The transport alone, measured by its own program beside this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

from scripts.bench.contenders import REPOSITORY
from scripts.bench.context import Context

PROGRAM: Final = REPOSITORY / "scripts" / "bench" / "transport.py"
TIMEOUT: Final = 900


def transport(context: Context) -> None:
    """Run ``scripts/bench/transport.py --json`` and take over its samples.

    It prints ``{"samples": {FIGURE: {CONTENDER: [VALUE, ...]}}}`` as its last line.
    """
    if not PROGRAM.exists():
        context.result.unavailable["ours"] = f"there is no {PROGRAM.name}"
        return
    arguments: list[str] = context.setting("arguments")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.transport", "--json", *arguments],
        cwd=REPOSITORY,
        env=os.environ.copy(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(f"{PROGRAM.name} ended with {done.returncode}: {last}")
    for figure, contenders in json.loads(done.stdout.strip().splitlines()[-1])["samples"].items():
        for contender, values in contenders.items():
            for value in values:
                context.record(figure, contender, float(value))
