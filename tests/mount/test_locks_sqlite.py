"""SQLite databases in rollback-journal mode, written from two mounts at once."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.harness import Mount
from tests.mount.lock_processes import ended, start
from tests.mount.programs.transactions import KINDS

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SOAK = [pytest.mark.soak, pytest.mark.timeout(7200)]


def make(path: Path) -> None:
    """Make a database."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("CREATE TABLE entries (side TEXT, number INTEGER)")
    database.execute("CREATE TABLE total (value INTEGER)")
    database.execute("INSERT INTO total VALUES (0)")
    database.close()


def write(paths: list[Path], times: int) -> None:
    """Let a process on each path run its transactions, and check what came of it."""
    make(paths[0])
    names = [f"side {number}" for number in range(len(paths))]
    processes = [
        start("transactions", path, name, times) for path, name in zip(paths, names, strict=True)
    ]
    for said in ended(processes, 7000):
        json.loads(said)

    counted = sum(1 for number in range(times) if KINDS[number % len(KINDS)] != "autocommit")
    for path in paths:
        database = sqlite3.connect(path, timeout=60)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = database.execute("SELECT side, number FROM entries").fetchall()
        assert sorted(rows) == [(name, number) for name in names for number in range(times)]
        assert database.execute("SELECT value FROM total").fetchall() == [(len(paths) * counted,)]
        database.close()


def test_a_database_on_one_mount(folder: Path):
    """Two processes of one mount share a database."""
    write([folder / "database", folder / "database"], 30)


@pytest.mark.parametrize(
    "times", [pytest.param(60, id="short"), pytest.param(2000, id="long", marks=SOAK)]
)
def test_a_database_on_two_mounts(new_mount: NewMount, times: int):
    """Processes of two mounts share a database: nothing fails but what SQLite itself refuses."""
    write([new_mount("third").path / f"database {times}" for _ in range(2)], times)
