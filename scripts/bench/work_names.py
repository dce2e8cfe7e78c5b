"""Names rather than bytes: listings of large directories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from scripts.bench.contenders import Session
from scripts.bench.context import Context
from scripts.bench.seed import many_files
from scripts.bench.service import BenchService

PAGE: Final = 5000


def list_long(path: Path) -> None:
    """Run ``ls -l`` without showing what it says."""
    subprocess.run(
        ["ls", "-l", str(path)],
        env=os.environ | {"LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=900,
    )


def listing(context: Context) -> None:
    """List a directory cold, and again while the listing may be believed."""
    latency: float = context.setting("latency")
    for entries in context.setting("entries"):
        files = [*many_files("names", entries, PAGE), *many_files("warm", entries, PAGE)]
        with context.service(files) as service:
            for _, name in context.turns():
                service.rest.set_latency(latency)
                with context.session(name, service) as made:
                    if made is not None:
                        _list_both(context, service, made, name, entries)


def _list_both(
    context: Context, service: BenchService, made: Session, name: str, entries: int
) -> None:
    label = f"{entries:,} entries"
    list_long(made.path / "warm")
    with context.timed(name, service, made) as cold:
        list_long(made.path / "names")
    with context.timed(name, service, made) as again:
        list_long(made.path / "names")
    context.record(f"seconds cold, {label}", name, cold.seconds)
    context.record(f"requests cold, {label}", name, cold.counts.requests)
    context.record(f"seconds again, {label}", name, again.seconds)
    context.record(f"requests again, {label}", name, again.counts.requests)
