"""How locks are shown: a table or JSON. Nothing that another host wrote is trusted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from azfilesfs.cli.recover_output import local_path, moment, printable
from azfilesfs.model.paths import SharePath

if TYPE_CHECKING:
    from azfilesfs.daemon.lock_breaking import Holders
    from azfilesfs.daemon.lock_merge import FoundLock
    from azfilesfs.daemon.locks import ShareLocks

_HEADINGS = ("PATH", "KIND", "MODE", "HOST", "MOUNT", "PROCESS", "AGE", "STATE", "WHERE")
_SECONDS = 10**9
_LAST_MOMENT_NS = 253_402_300_799 * _SECONDS
"""The end of the year 9999, beyond which no date can be written."""


def table(found: Iterable[ShareLocks], now_ns: int) -> str:
    """Write a table of all locks, a line each; empty for none."""
    rows = [_cells(one, lock, now_ns) for one in found for lock in one.locks]
    if not rows:
        return ""
    rows.insert(0, _HEADINGS)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_json(found: Iterable[ShareLocks], now_ns: int) -> str:
    """Write JSON in which every character is ASCII: a list of objects, empty for none."""
    documents = [_document(one, lock, now_ns) for one in found for lock in one.locks]
    return json.dumps(documents, indent=2)


def held_by(held: Holders) -> list[str]:
    """Write who holds a file, a line each."""
    from azfilesfs.daemon.lock_breaking import name_of

    name = printable(local_path(held.path))
    if held.is_free:
        return [f"{name} is not locked"]
    lines = []
    if held.lease is not None:
        who = f"{name_of(held.lease.seen)} ({held.lease.state})"
        lines.append(printable(f"{name}: exclusive lock of {who}"))
    for reader in held.readers:
        seen = held.found.sessions.get(reader.session)
        who = name_of(seen) if seen is not None else f"session {reader.session}"
        lines.append(
            printable(f"{name}: shared lock of {who} ({held.found.state(reader.session)})")
        )
    return lines


def _cells(found: ShareLocks, lock: FoundLock, now_ns: int) -> tuple[str, ...]:
    row, share = lock.row, found.share
    path = f"{share}/{_shown(row.path)}" if row.path else f"{share}: file id {row.file_id}"
    process = f"{row.pid} {row.process}".strip() if row.pid else row.process
    cells = (
        path,
        row.kind,
        _mode(lock),
        lock.host,
        lock.mountpoint,
        process,
        _age(_seconds(found, lock, now_ns)),
        "lost" if row.remote == "lost" else lock.state,
        _where(lock),
    )
    return tuple(printable(cell) or "-" for cell in cells)


def _mode(lock: FoundLock) -> str:
    row = lock.row
    words: list[str] = [row.mode]
    if row.start or row.stop is not None:
        words.append(f"{row.start}-{'' if row.stop is None else row.stop - 1}")
    if row.waiting:
        words.append("(waits)")
    return " ".join(words)


def _where(lock: FoundLock) -> str:
    if not lock.is_local:
        return "remote"
    return "local only" if lock.row.remote == "local-only" else "local"


def _seconds(found: ShareLocks, lock: FoundLock, now_ns: int) -> int | None:
    """Return since how many seconds: by the clock of this host, or by the service's for others.

    Two clocks may differ, so that it would come out below zero.
    """
    if not lock.since_known:
        return None
    now = now_ns if lock.is_local or not found.now_ns else found.now_ns
    return max(0, now - lock.row.since_ns) // _SECONDS


def _age(seconds: int | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _document(found: ShareLocks, lock: FoundLock, now_ns: int) -> dict[str, Any]:
    row = lock.row
    is_dated = lock.since_known and row.since_ns <= _LAST_MOMENT_NS
    return {
        "share": found.share,
        "path": _shown(row.path) if row.path else None,
        "file_id": row.file_id,
        "kind": row.kind or None,
        "mode": row.mode,
        "start": row.start,
        "stop": row.stop,
        "waiting": row.waiting,
        "host": lock.host or None,
        "mountpoint": lock.mountpoint or None,
        "pid": row.pid or None,
        "process": row.process or None,
        "since": moment(row.since_ns) if is_dated else None,
        "age": _seconds(found, lock, now_ns),
        "session": lock.session or None,
        "state": lock.state,
        "local": lock.is_local,
        "service": row.remote,
    }


def _shown(path: str) -> str:
    """Spell a path as a mount shows it."""
    return local_path(SharePath(tuple(path.split("/"))))
