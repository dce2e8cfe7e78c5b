"""Hold the line coverage of the last test run against the promised floors.

Reads the JSON report of coverage; lines only, because a floor over lines and branches together
would move with the style of the code.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

FLOORS = {
    "azfilesfs": 85.0,
    "azfilesfs/model": 95.0,
    "azfilesfs/client": 95.0,
    "azfilesfs/vfs": 95.0,
}


def percentages(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, float]:
    """Return the covered share of the statements below each folder that has a floor."""
    covered: dict[str, int] = defaultdict(int)
    statements: dict[str, int] = defaultdict(int)
    for name, file in report["files"].items():
        for folder in FLOORS:
            if Path(name).is_relative_to(folder):
                covered[folder] += file["summary"]["covered_lines"]
                statements[folder] += file["summary"]["num_statements"]
    return {
        folder: 100 * covered[folder] / statements[folder] if statements[folder] else 0.0
        for folder in FLOORS
    }


def main() -> int:
    """Print one line a folder; return 1 when any is below its floor."""
    measured = percentages(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    for folder, floor in FLOORS.items():
        verdict = "ok" if measured[folder] >= floor else "BELOW THE FLOOR"
        print(f"coverage of {folder}: {measured[folder]:.1f} % (floor {floor:.0f} %) {verdict}")
    return int(any(measured[folder] < floor for folder, floor in FLOORS.items()))


if __name__ == "__main__":
    sys.exit(main())
