"""Write to an SQLite database in one kind of transaction after the other.

``transactions.py PATH SIDE TIMES``; says in JSON how often the deferred ones were refused.
"""

import json
import sqlite3
import sys

BUSY_SECONDS = 60
KINDS = ("autocommit", "immediate", "deferred")


def change(database: sqlite3.Connection, side: str, number: int) -> None:
    """Add a row, and one to the sum, which is read first."""
    ((value,),) = database.execute("SELECT value FROM total").fetchall()
    database.execute("UPDATE total SET value = ?", (value + 1,))
    database.execute("INSERT INTO entries VALUES (?, ?)", (side, number))


def run(database: sqlite3.Connection, side: str, number: int) -> int:
    """Do one transaction; return how often it was refused before."""
    kind = KINDS[number % len(KINDS)]
    if kind == "autocommit":
        database.execute("INSERT INTO entries VALUES (?, ?)", (side, number))
        return 0
    refused = 0
    while True:
        try:
            database.execute(f"BEGIN {kind}")
            change(database, side, number)
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if kind != "deferred" or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            database.execute("ROLLBACK")
            refused += 1
        else:
            return refused


def main(path: str, side: str, times: int) -> None:
    """Run the transactions."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    (mode,) = database.execute("PRAGMA journal_mode").fetchone()
    if mode != "delete":
        raise SystemExit(f"the journal mode is {mode}")
    refused = sum(run(database, side, number) for number in range(times))
    database.close()
    print(json.dumps({"refused": refused}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
