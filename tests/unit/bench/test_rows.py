"""The table of workloads, its thresholds, and how they are judged."""

from pathlib import Path

import pytest

from scripts.bench.__main__ import WORKLOADS
from scripts.bench.contenders import MOUNTS
from scripts.bench.figures import RowResult
from scripts.bench.gates import Verdict, counts, judge
from scripts.bench.rows import Must, Row, TableError, choose, load_rows

ROWS = load_rows()


def table(folder: Path, text: str) -> Path:
    """Write a table."""
    path = folder / "workloads.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_of_the_table(row: Row):
    """Each row names a workload and contenders that exist, and has a threshold or a reason."""
    assert row.workload in WORKLOADS
    assert set(row.contenders) <= MOUNTS | {"curl", "sdk", "fast", "httpx"}
    assert row.musts
    for must in row.musts:
        assert must.contender in row.contenders
        assert must.to_contender in {"", *row.contenders}


def test_rows_can_be_chosen():
    """Rows are named in any order and run in that of the table."""
    assert [row.name for row in choose(ROWS, ["untar", "seq-read"])] == ["seq-read", "untar"]
    assert choose(ROWS, []) == ROWS
    with pytest.raises(TableError, match="no row nothing; there are"):
        choose(ROWS, ["nothing"])


def test_quick_settings():
    """--quick replaces some settings and leaves the others."""
    row = choose(ROWS, ["untar"])[0]
    assert row.setting("files", is_quick=False) == 2000
    assert row.setting("files", is_quick=True) < 2000
    assert row.setting("bytes", is_quick=True) == 4096
    with pytest.raises(TableError, match="has no setting nothing"):
        row.setting("nothing", is_quick=True)


ROW = '[[row]]\nname = "a"\ntitle = "A"\nworkload = "untar"\ncontenders = ["ours"]\n'
MUST = '[[row.must]]\ntext = "t"\nfigure = "f"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row = [", "workloads.toml"),
        (ROW + ROW, "same name"),
        (ROW.replace("title", "titel"), "titel"),
        (ROW.replace('["ours"]', "[]"), "no contenders"),
        (ROW + "quick = { files = 1 }\n", "replaces what is not set"),
        (ROW + MUST, "either a value or a figure"),
        (ROW + MUST + 'value = 1\nto_contender = "x"\n', "either a value or a figure"),
        (ROW + MUST + 'value = 1\ncompare = "=="\n', "no comparison"),
        (ROW + MUST + "value = 1\nwanted = 2\n", "wanted"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, said: str):
    """What is wrong with a table is said in one line."""
    with pytest.raises(TableError, match=said):
        load_rows(table(tmp_path, text))


def verdicts(result: RowResult, **fields: object) -> tuple[Verdict, float | None]:
    """Judge one threshold."""
    must = Must(text="t", figure="f", **fields)  # type: ignore[arg-type]  # as given by the test
    row = Row(name="r", title="R", workload="untar", contenders=("ours",), musts=(must,))
    (judged,) = judge(row, result)
    return judged.verdict, judged.measured


def measured(**samples: list[float]) -> RowResult:
    """Return a result with one figure; ``ours_2`` stands for a contender ours-2."""
    result = RowResult()
    for name, values in samples.items():
        for value in values:
            result.record("f", name.replace("_", "-"), value)
    return result


def test_threshold_with_a_value():
    """The median is compared with the value."""
    result = measured(ours=[1.0, 3.0, 9.0])
    assert verdicts(result, compare="<=", value=3.0) == (Verdict.MET, 3.0)
    assert verdicts(result, compare="<", value=3.0) == (Verdict.MISSED, 3.0)
    assert verdicts(result, value=4.0) == (Verdict.MISSED, 3.0)


def test_threshold_with_another_contender():
    """Turns are compared one by one, so that a slow minute hits both."""
    result = measured(ours=[10.0, 60.0, 30.0], rclone_tuned=[20.0, 100.0, 50.0])
    assert verdicts(result, to_contender="rclone-tuned", factor=0.6) == (Verdict.MET, 0.6)
    assert verdicts(result, to_contender="rclone-tuned", factor=0.7)[0] is Verdict.MISSED


def test_what_was_not_measured():
    """Without samples, or with zeros to compare with, there is no verdict."""
    assert verdicts(RowResult(), value=1.0) == (Verdict.MISSING, None)
    assert verdicts(measured(ours=[1.0]), to_contender="curl")[0] is Verdict.MISSING
    zeros = measured(ours=[1.0], curl=[0.0])
    assert verdicts(zeros, to_contender="curl")[0] is Verdict.MISSING


@pytest.mark.parametrize(("through", "verdict"), [([80.0], True), ([79.0], False), ([], None)])
def test_the_gate(through: list[float], verdict: bool | None):
    """A row counts only if curl reaches 0.8 of what it reaches against nginx alone."""
    assert counts(RowResult(gate={"emulator": through, "nginx": [100.0]})) is verdict
