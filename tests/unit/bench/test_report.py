"""Results as files, tables and text."""

from pathlib import Path

import pytest

from scripts.bench import __main__ as bench
from scripts.bench.figures import RowResult
from scripts.bench.plots import growth_points
from scripts.bench.report import (
    BEGIN,
    END,
    markdown,
    number,
    replace_section,
    terminal_lines,
    with_spread,
)
from scripts.bench.results import Results, ResultsError
from scripts.bench.rows import choose, load_rows
from tests.features import REPOSITORY

ROWS = choose(load_rows(), ["one-byte", "seq-read"])


@pytest.fixture
def results() -> Results:
    """Give the results of a run with one row."""
    row = RowResult(gate={"emulator": [9.0], "nginx": [10.0]}, notes=["something odd"])
    for value in (4.0, 2.0, 3.0):
        row.record("requests", "ours", value)
    row.add_cpu("ours", {"daemon": 1.25})
    row.unavailable["sdk"] = "not installed"
    return Results("2026-01-01 00:00 UTC", {"kernel": "6.1"}, 3, rows={"one-byte": row})


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.1234, "0.123"), (9.876, "9.88"), (45.67, "45.7"), (12345.6, "12,346")],
)
def test_numbers(value: float, text: str):
    """Numbers have three digits that mean something."""
    assert number(value) == text


def test_spread_is_shown_where_there_is_one():
    """One sample stands alone."""
    assert with_spread([4.0, 2.0, 3.0]) == "3 [2 4]"
    assert with_spread([4.0]) == "4"


def test_markdown(results: Results):
    """The table shows thresholds, figures, CPU, and who took no part."""
    text = markdown(ROWS, results, ["one-byte.svg"])
    assert text.startswith(BEGIN)
    assert text.endswith(END)
    assert "| one-byte | <= 3 requests | met: 3 | counts: curl reaches 0.90 of nginx alone" in text
    assert "| one-byte | <= 64 KiB sent | not available |" in text
    assert "| requests | 3 [2 4] |" in text
    assert "| CPU s of daemon, all turns | 1.2 |" in text
    assert "sdk took no part: not installed" in text
    assert "Note: something odd" in text
    assert "![one-byte](performance/one-byte.svg)" in text
    assert "seq-read" not in text


def test_terminal(results: Results):
    """A run shows the same after each row."""
    lines = "\n".join(terminal_lines(ROWS[1], results.rows["one-byte"]))
    assert "requests" in lines
    assert "<= 3 requests: met: 3" in lines


def test_section_is_replaced_and_nothing_else():
    """The rest of the document stays; without its marks it is refused."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_section(text, f"{BEGIN}\nnew\n{END}") == text.replace("old", "new")
    with pytest.raises(ValueError, match="no marks"):
        replace_section("nothing here", "new")
    document = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    assert replace_section(document, f"{BEGIN}\n{END}").count(BEGIN) == 1


def test_results_file(results: Results, tmp_path: Path):
    """A file read back is the run that was written; others are refused."""
    path = tmp_path / "new" / "results.json"
    results.save(path)
    assert Results.load(path) == results
    path.write_text('{"layout": 99}')
    with pytest.raises(ResultsError, match="layout 99"):
        Results.load(path)
    path.write_text("[]")
    with pytest.raises(ResultsError, match="no results file"):
        Results.load(path)


def test_growth_points():
    """The points of a plot are in the order of their sizes."""
    row = RowResult()
    row.record("seconds at 100", "ours", 2.0)
    row.record("seconds at 20", "ours", 1.0)
    row.record("requests at 20", "ours", 7.0)
    assert growth_points(row, "ours") == [(20, [1.0]), (100, [2.0])]
    assert growth_points(row, "rclone") == []


def test_list_of_rows(capsys: pytest.CaptureFixture[str]):
    """The rows are listed, and one that is unknown is named in one line."""
    assert bench.main(["--list"]) == bench.OK
    assert "seq-read" in capsys.readouterr().out
    assert bench.main(["--list", "--only", "nothing"]) == bench.USAGE
    assert capsys.readouterr().err.startswith("bench: no row nothing")
