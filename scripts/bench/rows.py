"""The rows of the table, read from workloads.toml: what runs, with what, and what must come out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_name("workloads.toml")
COMPARISONS: Final = frozenset({">=", "<=", ">", "<"})


class TableError(ValueError):
    """The table of workloads is not as documented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Must:
    """One threshold: a figure of a contender against a number or another figure.

    Attributes:
        text: as the table says it.
        figure, contender: what is judged.
        compare: ``>=`` and the like.
        value: a number to compare with, None where a figure is.
        factor: what the other figure is multiplied with.
        to_figure, to_contender: the other figure.
    """

    text: str
    figure: str
    contender: str = "ours"
    compare: str = ">="
    value: float | None = None
    factor: float = 1.0
    to_figure: str = ""
    to_contender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        name: for ``--only``.
        title: as the table shows it.
        workload: the function that runs it.
        contenders: who takes part, in turn.
        settings: what the workload reads: sizes, counts, latencies.
        quick: settings that ``--quick`` replaces.
        musts: the thresholds.
    """

    name: str
    title: str
    workload: str
    contenders: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    musts: tuple[Must, ...] = ()

    def setting(self, name: str, *, is_quick: bool) -> Any:  # noqa: ANN401  # whatever TOML may hold
        """Return a setting.

        Raises:
            TableError: the table has none of that name.
        """
        if is_quick and name in self.quick:
            return self.quick[name]
        if name not in self.settings:
            raise TableError(f"row {self.name} has no setting {name}")
        return self.settings[name]


def load_rows(path: Path = TABLE) -> list[Row]:
    """Read the table.

    Raises:
        TableError: it is not as documented.
        OSError: it cannot be read.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path.name}: {error}") from None
    rows = [_row(item) for item in data.get("row", [])]
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise TableError("two rows have the same name")
    return rows


def choose(rows: Sequence[Row], only: Sequence[str]) -> list[Row]:
    """Return the rows of these names in the order of the table, all where none is named.

    Raises:
        TableError: there is no row of that name.
    """
    known = {row.name for row in rows}
    unknown = sorted(set(only) - known)
    if unknown:
        raise TableError(f"no row {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [row for row in rows if not only or row.name in only]


def narrow(row: Row, contenders: Sequence[str]) -> Row:
    """Return a row with these of its contenders, in its own order."""
    return replace(row, contenders=tuple(name for name in row.contenders if name in contenders))


def _row(item: Mapping[str, Any]) -> Row:
    fields = dict(item)
    musts = tuple(_must(must) for must in fields.pop("must", []))
    fields["contenders"] = tuple(fields.get("contenders", ()))
    try:
        row = Row(**fields, musts=musts)
    except TypeError as error:
        raise TableError(f"row {item.get('name', '?')}: {error}") from None
    if not row.contenders:
        raise TableError(f"row {row.name} has no contenders")
    unknown = set(row.quick) - set(row.settings)
    if unknown:
        raise TableError(f"row {row.name}: quick replaces what is not set: {sorted(unknown)}")
    return row


def _must(item: Mapping[str, Any]) -> Must:
    try:
        must = Must(**item)
    except TypeError as error:
        raise TableError(f"a threshold: {error}") from None
    if must.compare not in COMPARISONS:
        raise TableError(f"{must.text}: {must.compare} is no comparison")
    if (must.value is None) == (not must.to_figure and not must.to_contender):
        raise TableError(f"{must.text}: compares with either a value or a figure")
    return must
