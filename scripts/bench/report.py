"""Results as text: lines for a terminal, and the tables of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.bench.figures import RowResult, median, spread
from scripts.bench.gates import GATE, Judged, Verdict, counts, judge
from scripts.bench.results import Results
from scripts.bench.rows import Row

BEGIN: Final = "<!-- results: written by scripts/bench/run --report -->"
END: Final = "<!-- end of results -->"


def number(value: float) -> str:
    """Write a number in as many digits as mean something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def with_spread(samples: Sequence[float]) -> str:
    """Write median and spread: ``5.1 [4.8 6.0]``."""
    if len(samples) == 1:
        return number(samples[0])
    low, high = spread(samples)
    return f"{number(median(samples))} [{number(low)} {number(high)}]"


def verdict_text(judged: Judged) -> str:
    """Write what came out of a threshold."""
    if judged.measured is None:
        return judged.verdict.value
    word = "met" if judged.verdict is Verdict.MET else "**missed**"
    return f"{word}: {number(judged.measured)}"


def gate_text(result: RowResult) -> str:
    """Write whether the row counts."""
    ratio = result.gate_ratio()
    if ratio is None:
        return "not measured"
    word = "counts" if counts(result) else "**does not count**"
    return f"{word}: curl reaches {ratio:.2f} of nginx alone (at least {GATE})"


def terminal_lines(row: Row, result: RowResult) -> Iterator[str]:
    """Yield the lines that a run shows after a row."""
    yield f"{row.name}: {row.title} ({result.seconds:.0f} s)"
    for figure, contenders in result.samples.items():
        for contender, samples in contenders.items():
            yield f"    {figure:42} {contender:14} {with_spread(samples)}"
    for contender, parties in result.cpu.items():
        shown = ", ".join(f"{party} {seconds:.1f}" for party, seconds in parties.items())
        yield f"    CPU seconds of {contender}: {shown}"
    for contender, reason in result.unavailable.items():
        yield f"    {contender} not available: {reason}"
    for note in result.notes:
        yield f"    note: {note}"
    if result.gate:
        yield f"    gate {gate_text(result)}".replace("*", "")
    for judged in judge(row, result):
        yield f"    {judged.must.text}: {verdict_text(judged)}".replace("*", "")


def markdown(rows: Sequence[Row], results: Results, plots: Sequence[str]) -> str:
    """Return the generated part of docs/performance.md."""
    lines = [BEGIN, "", *_machine(results), "", "### Thresholds", ""]
    lines += ["| row | must | measured | the emulator was fast enough |", "|---|---|---|---|"]
    measured = [row for row in rows if row.name in results.rows]
    for row in measured:
        result = results.rows[row.name]
        gate = gate_text(result)
        for judged in judge(row, result):
            lines.append(f"| {row.name} | {judged.must.text} | {verdict_text(judged)} | {gate} |")
    lines += ["", "### Figures", ""]
    for row in measured:
        lines += [*_figures(row, results.rows[row.name]), ""]
    if plots:
        lines += ["### Plots", ""]
        lines += [f"![{Path(name).stem}](performance/{name})" for name in plots]
        lines.append("")
    return "\n".join([*lines, END])


def _machine(results: Results) -> Iterator[str]:
    yield f"Last run {results.started}" + (
        ", quick: not to be judged." if results.is_quick else "; turns are beside each row."
    )
    yield ""
    yield "| machine | |"
    yield "|---|---|"
    for name, value in results.machine.items():
        yield f"| {name} | {value} |"


def _figures(row: Row, result: RowResult) -> Iterator[str]:
    turns = max(
        (len(values) for by in result.samples.values() for values in by.values()), default=0
    )
    yield f"**{row.name}** ({turns} {'turn' if turns == 1 else 'turns'}): {row.title}"
    yield ""
    columns = [name for name in row.contenders if any(name in by for by in result.samples.values())]
    columns += sorted({name for by in result.samples.values() for name in by} - set(columns))
    yield f"| figure | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for figure, by in result.samples.items():
        cells = [with_spread(by[name]) if name in by else "" for name in columns]
        yield f"| {figure} | {' | '.join(cells)} |"
    parties = sorted({party for used in result.cpu.values() for party in used})
    for party in parties:
        cells = [_cpu(result, name, party) for name in columns]
        yield f"| CPU s of {party}, all turns | {' | '.join(cells)} |"
    for name, reason in result.unavailable.items():
        yield ""
        yield f"{name} took no part: {reason}"
    for note in result.notes:
        yield ""
        yield f"Note: {note}"


def _cpu(result: RowResult, contender: str, party: str) -> str:
    used = result.cpu.get(contender, {}).get(party)
    return "" if used is None else f"{used:.1f}"


def replace_section(text: str, section: str) -> str:
    """Put the generated part into a document, at its marks.

    Raises:
        ValueError: the document has not both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document has no marks of the generated part")
    return before + section + after
