"""Measure the mount and its rivals against one emulator; ``scripts/bench/run --help``."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.bench import (
    work_git,
    work_memory,
    work_names,
    work_random,
    work_scaling,
    work_sequential,
    work_small,
    work_transport,
)
from scripts.bench.contenders import REPOSITORY
from scripts.bench.context import Context, Workload
from scripts.bench.figures import RowResult
from scripts.bench.gates import Verdict, judge
from scripts.bench.machine import describe
from scripts.bench.nginx import NginxMissing, find_nginx
from scripts.bench.places import Places, places
from scripts.bench.report import markdown, replace_section, terminal_lines
from scripts.bench.results import Results, ResultsError
from scripts.bench.rows import Row, TableError, choose, load_rows, narrow

OK, FAILED, USAGE = 0, 1, 2
DOCUMENT: Final = REPOSITORY / "docs" / "performance.md"
PLOTS: Final = REPOSITORY / "docs" / "performance"
WORKLOADS: Final[Mapping[str, Workload]] = {
    "transport": work_transport.transport,
    "sequential_read": work_sequential.sequential_read,
    "sequential_write": work_sequential.sequential_write,
    "random_read": work_random.random_read,
    "one_byte": work_random.one_byte,
    "untar": work_small.untar,
    "plain_create": work_small.plain_create,
    "read_back": work_small.read_back,
    "listing": work_names.listing,
    "git": work_git.git,
    "memory_idle": work_memory.memory_idle,
    "memory_streams": work_memory.memory_streams,
    "memory_find": work_memory.memory_find,
    "scaling_directory": work_scaling.scaling_directory,
    "scaling_file": work_scaling.scaling_file,
    "scaling_open_files": work_scaling.scaling_open_files,
    "scaling_mounts": work_scaling.scaling_mounts,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    parser.add_argument("--only", metavar="ROW,...", default="", help="these rows only")
    parser.add_argument(
        "--contenders", metavar="NAME,...", default="", help="these contenders only"
    )
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument(
        "--repeats", type=_positive, default=5, help="turns of each row (default: 5)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and one turn: a smoke run"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", default=REPOSITORY / "build" / "bench.json",
        help="the results file, which keeps rows of earlier runs (default: build/bench.json)",
    )  # fmt: skip
    parser.add_argument(
        "--disk", type=Path, metavar="DIR", help="for caches and the local disk (default: $TMPDIR)"
    )
    parser.add_argument(
        "--memory", type=Path, metavar="DIR",
        help="for the emulator's data, 8 GiB (default: a tmpfs of its own, or /dev/shm)",
    )  # fmt: skip
    parser.add_argument(
        "--report", action="store_true",
        help="measure nothing; write docs/performance.md and its plots from the results file",
    )  # fmt: skip
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 fine, 1 a row failed, 2 it cannot be done."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        rows = load_rows()
        chosen = choose(rows, _names(options.only))
        if options.contenders:
            chosen = [narrow(row, _names(options.contenders)) for row in chosen]
        if options.list:
            for row in chosen:
                print(f"{row.name:20} {row.title}")
            return OK
        if options.report:
            return _report(rows, options.results)
        find_nginx()
        return _measure(chosen, options)
    except ModuleNotFoundError:
        print("bench: plots need matplotlib: pip install 'azfilesfs[bench]'", file=sys.stderr)
        return USAGE
    except (TableError, ResultsError, NginxMissing) as error:
        print(f"bench: {error}", file=sys.stderr)
        return USAGE


def _leave(number: int, frame: object) -> None:
    """End as on an interrupt, so that mounts, processes and folders go with the run."""
    sys.exit(128 + number)


def _measure(rows: Sequence[Row], options: argparse.Namespace) -> int:
    results = _results(options)
    outcome = OK
    with places(options.disk, options.memory) as where:
        results.machine["emulator's data"] = where.kind
        for row in rows:
            if not _run_row(row, results, options, where):
                outcome = FAILED
            results.save(options.results)
    print(f"results: {options.results}")
    return outcome


def _results(options: argparse.Namespace) -> Results:
    """Return the results so far, for rows that are measured one by one."""
    repeats = 1 if options.quick else options.repeats
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    fresh = Results(started, describe(), repeats, options.quick)
    if not options.results.exists():
        return fresh
    found = Results.load(options.results)
    if found.is_quick == options.quick:
        fresh.rows = found.rows
    return fresh


def _run_row(row: Row, results: Results, options: argparse.Namespace, where: Places) -> bool:
    """Run one row and show it; False where it failed."""
    print(f"== {row.name}", file=sys.stderr, flush=True)
    result = RowResult()
    repeats = 1 if options.quick else options.repeats
    context = Context(row, result, where.disk, where.memory, repeats, options.quick)
    started = time.monotonic()
    has_failed = False
    try:
        WORKLOADS[row.workload](context)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error.__context__, SystemExit):  # what a stopped run could not tidy up
            raise error.__context__ from None
        context.note(f"the row was not finished: {error}")
        has_failed = True
    result.seconds = time.monotonic() - started
    results.rows[row.name] = result
    print("\n".join(terminal_lines(row, result)), flush=True)
    return not has_failed


def _report(rows: Sequence[Row], file: Path) -> int:
    from scripts.bench.plots import draw

    results = Results.load(file)
    names = draw(rows, results, PLOTS)
    section = markdown(rows, results, names)
    DOCUMENT.write_text(replace_section(DOCUMENT.read_text(encoding="utf-8"), section), "utf-8")
    missed = [
        f"{row.name}: {judged.must.text}"
        for row in rows
        if row.name in results.rows
        for judged in judge(row, results.rows[row.name])
        if judged.verdict is not Verdict.MET
    ]
    print("\n".join(["not met:", *missed]) if missed else "every threshold is met")
    return OK


if __name__ == "__main__":
    sys.exit(main())
