"""Plots of a run, as SVG; matplotlib comes with the ``bench`` extra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.bench.figures import RowResult, median, spread
from scripts.bench.results import Results
from scripts.bench.rows import Row

_POINT: Final = re.compile(r"seconds at (\d+)")


def growth_points(result: RowResult, contender: str) -> list[tuple[int, list[float]]]:
    """Return the samples of a row of growing work by its size, in order."""
    found = []
    for figure, by in result.samples.items():
        match = _POINT.fullmatch(figure)
        if match and contender in by:
            found.append((int(match.group(1)), by[contender]))
    return sorted(found)


def draw(rows: Sequence[Row], results: Results, folder: Path) -> list[str]:
    """Draw every measured row and return the names of the files.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "azfilesfs"  # the same file from the same results
    mpl.rcParams["svg.fonttype"] = "none"  # text as text, a tenth of the size
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for row in rows:
        result = results.rows.get(row.name)
        if result is None or not result.samples:
            continue
        name = f"{row.name}.svg"
        if row.name.startswith("scaling-"):
            _draw_growth(row, result, folder / name)
        else:
            _draw_bars(row, result, folder / name)
        names.append(name)
    return names


def _draw_growth(row: Row, result: RowResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for contender in row.contenders:
        points = growth_points(result, contender)
        if not points:
            continue
        sizes = [size for size, _ in points]
        middle = [median(samples) for _, samples in points]
        axes.plot(sizes, middle, marker="o", label=contender)
        bounds = [spread(samples) for _, samples in points]
        axes.fill_between(
            sizes, [low for low, _ in bounds], [high for _, high in bounds], alpha=0.2
        )
        linear = [middle[0] * size / sizes[0] for size in sizes]
        axes.plot(sizes, linear, linestyle=":", color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel("seconds (dotted: linear)")
    axes.set_title(row.title, fontsize=9)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def _draw_bars(row: Row, result: RowResult, path: Path) -> None:
    from matplotlib.figure import Figure

    count = len(result.samples)
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * lines), layout="constrained")
    for index, (name, by) in enumerate(result.samples.items()):
        axes = figure.add_subplot(lines, columns, index + 1)
        contenders = list(by)
        middle = [median(by[contender]) for contender in contenders]
        low = [value - spread(by[who])[0] for value, who in zip(middle, contenders, strict=True)]
        high = [spread(by[who])[1] - value for value, who in zip(middle, contenders, strict=True)]
        axes.bar(contenders, middle, yerr=[low, high], capsize=3, color="tab:blue")
        axes.set_title(name, fontsize=8)
        axes.tick_params(axis="both", labelsize=7)
        axes.tick_params(axis="x", rotation=30)
    figure.suptitle(row.title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})
