"""The results file: one JSON object for a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.bench.figures import RowResult

LAYOUT: Final = 1


class ResultsError(ValueError):
    """A results file is not as documented."""


@dataclass(slots=True)
class Results:
    """A run: when, on what, how, and its rows by name."""

    started: str
    machine: dict[str, str]
    repeats: int
    is_quick: bool = False
    rows: dict[str, RowResult] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file in one step.

        Raises:
            OSError: it cannot be written.
        """
        data = {
            "layout": LAYOUT,
            "started": self.started,
            "machine": self.machine,
            "repeats": self.repeats,
            "quick": self.is_quick,
            "rows": {name: row.to_json() for name, row in self.rows.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file.

        Raises:
            ResultsError: it is no results file of this layout.
            OSError: it cannot be read.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["layout"] != LAYOUT:
                raise ResultsError(f"{path} has layout {data['layout']}, not {LAYOUT}")
            return cls(
                started=data["started"],
                machine=data["machine"],
                repeats=data["repeats"],
                is_quick=data["quick"],
                rows={name: RowResult.from_json(row) for name, row in data["rows"].items()},
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ResultsError(f"{path} is no results file: {error!r}") from None
