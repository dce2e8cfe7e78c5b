"""What a session and a mount say of their locks to people; nothing of the protocol rests on it.

A session's file carries it as metadata, which costs no request of its own: Create File makes it,
and the Rename File of each heartbeat brings it up to date. What is read back was written by another
host and is believed in for nothing but showing it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

METADATA_KEY: Final = "azfilesfs_session"
LIMIT_BYTES: Final = 7 * 1024
"""Of name and value together; the service takes 8 KiB for all metadata of a file."""

_VERSION: Final = 1
_HOST_BYTES: Final = 256
_MOUNTPOINT_BYTES: Final = 1024
_PROCESS_BYTES: Final = 64
_LONGEST_READ: Final = 64 * 1024
_INTEGERS: Final = 1 << 63

ModeName = Literal["shared", "exclusive"]
Remote = Literal["held", "wanted", "local-only", "lost"]
_MODES: Final = ("shared", "exclusive")
_REMOTES: Final = ("held", "wanted", "local-only", "lost")


@dataclass(frozen=True, slots=True)
class LockSummary:
    """One lock that a session holds, for people.

    Attributes:
        path: of the file in the share, names as the service has them.
        file_id: the service's id of the file, which announcements and lease ids are made of.
        kind: ``flock``, ``fcntl`` or ``ofd``.
        pid: the process that took it; 0 where it is not known.
        process: its name.
        since_ns: since when, by the holder's clock.
    """

    path: str
    file_id: str
    kind: str
    mode: ModeName
    pid: int
    process: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class SessionAbout:
    """Who a session is, and what it holds.

    Attributes:
        host: name of the host.
        mountpoint: where it is mounted there.
        pid: the process that serves the mount.
        started_ns: when the session began, by the host's clock.
        locks: as many as there is room for.
        omitted: how many more there are.
    """

    host: str
    mountpoint: str
    pid: int
    started_ns: int
    locks: tuple[LockSummary, ...] = ()
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class LockRow:
    """One lock held or waited for by a process of a mount, as ``locks list`` shows it.

    Attributes:
        path: of the file in the share, names as the service has them.
        file_id: the service's id of the file; empty where it has none yet.
        kind: ``flock``, ``fcntl`` or ``ofd``.
        start: first byte locked.
        stop: the byte after the last; None for all up to the end of the file.
        pid: the process that took it; 0 where it is not known.
        process: its name.
        since_ns: since when it holds or waits, by the host's clock.
        waiting: whether it still waits.
        remote: ``held`` at the service, ``wanted`` from it, ``local-only`` on a mount whose locks
            do not leave it, ``lost`` to another mount.
    """

    path: str
    file_id: str
    kind: str
    mode: ModeName
    start: int
    stop: int | None
    pid: int
    process: str
    since_ns: int
    waiting: bool
    remote: Remote


def encode(about: SessionAbout) -> dict[str, str]:
    """Return the metadata that says it: printable ASCII, at most ``LIMIT_BYTES``.

    Locks for which there is no room are left out and counted in ``omitted``; overlong names of
    host, mountpoint and process are cut.
    """
    head: dict[str, Any] = {
        "v": _VERSION,
        "host": _cut(about.host, _HOST_BYTES),
        "mountpoint": _cut(about.mountpoint, _MOUNTPOINT_BYTES),
        "pid": about.pid,
        "started": about.started_ns,
        # The widest number that may stand here in the end.
        "omitted": about.omitted + len(about.locks),
        "locks": [],
    }
    room = LIMIT_BYTES - len(METADATA_KEY) - len(_text(head))
    rows: list[list[Any]] = []
    for lock in about.locks:
        row = _row(lock)
        needed = len(_text(row)) + 1
        if needed <= room:
            room -= needed
            rows.append(row)
    head["omitted"] -= len(rows)
    head["locks"] = rows
    return {METADATA_KEY: _text(head)}


def decode(metadata: Mapping[str, str]) -> SessionAbout | None:
    """Read what a session says; None where it says nothing that can be understood.

    Single locks that cannot be understood are counted in ``omitted``. Texts may hold any
    character: who shows them escapes what is not printable.
    """
    text = next((v for k, v in metadata.items() if k.lower() == METADATA_KEY), None)
    document = None if text is None else _object(text)
    if document is None or document.get("v") != _VERSION:
        return None
    texts = [document.get(name) for name in ("host", "mountpoint")]
    numbers = [document.get(name) for name in ("pid", "started", "omitted")]
    rows = document.get("locks")
    if not (_are_texts(texts) and _are_numbers(numbers) and isinstance(rows, list)):
        return None
    found = [_lock(row) for row in rows]
    locks = tuple(lock for lock in found if lock is not None)
    pid, started, omitted = cast("list[int]", numbers)
    host, mountpoint = cast("list[str]", texts)
    return SessionAbout(
        host, mountpoint, pid, started, locks, omitted=omitted + len(found) - len(locks)
    )


def row_document(row: LockRow) -> dict[str, Any]:
    """Return a row as an object of JSON."""
    return asdict(row)


def row_from(document: object) -> LockRow | None:
    """Read a row; None for anything else."""
    if not isinstance(document, dict):
        return None
    try:
        row = LockRow(**document)
    except TypeError:
        return None
    is_right = (
        _are_texts([row.path, row.file_id, row.kind, row.process])
        and _are_numbers([row.start, row.pid, row.since_ns])
        and (row.stop is None or _are_numbers([row.stop]))
        and isinstance(row.waiting, bool)
        and row.mode in _MODES
        and row.remote in _REMOTES
    )
    return row if is_right else None


def _row(lock: LockSummary) -> list[Any]:
    process = _cut(lock.process, _PROCESS_BYTES)
    return [lock.path, lock.file_id, lock.kind, lock.mode, lock.pid, process, lock.since_ns]


def _lock(row: object) -> LockSummary | None:
    if not isinstance(row, list) or len(row) != 7:
        return None
    path, file_id, kind, mode, pid, process, since = row
    is_right = _are_texts([path, file_id, kind, mode, process]) and _are_numbers([pid, since])
    if not is_right or mode not in _MODES:
        return None
    return LockSummary(path, file_id, kind, mode, pid, process, since)


def _text(value: object) -> str:
    """Write JSON of printable ASCII without blanks, which a proxy might fold."""
    return json.dumps(value, separators=(",", ":")).replace(" ", "\\u0020")


def _cut(text: str, limit: int) -> str:
    """Shorten a text until it takes so many bytes at most when written."""
    text = text[:limit]
    while len(_text(text)) - 2 > limit:
        text = text[:-1]
    return text


def _object(text: str) -> dict[str, Any] | None:
    if len(text) > _LONGEST_READ:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_numbers(values: Iterable[object]) -> bool:
    return all(type(value) is int and 0 <= value < _INTEGERS for value in values)
