"""The held-lease journal: what a mount that died must give back, one JSON line a record.

Appended and synced by the driver before the request that a record came with. The next mount on the
same state directory replays it and releases what is left (recovery.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """A session is about to begin."""

    session: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is over and left nothing."""

    session: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease is about to be taken under the id of this number."""

    session: str
    path: str
    file_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The lease of this number is gone and cannot come back."""

    session: str
    path: str
    file_id: str
    number: int


Record = Started | Ended | Taken | Dropped
_KINDS: dict[str, type[Record]] = {
    "started": Started,
    "ended": Ended,
    "taken": Taken,
    "dropped": Dropped,
}


def encode(record: Record) -> bytes:
    """Return a record as one line."""
    kind = type(record).__name__.lower()
    return json.dumps({"kind": kind, **asdict(record)}, sort_keys=True).encode() + b"\n"


def decode(data: bytes) -> list[Record]:
    """Read records; a torn or damaged line is passed over: what it said is not lost for good.

    A session without its start is found by its leases, and a lease without its record is explained
    by the tombstone, for whoever wants the file next.
    """
    return [record for line in data.splitlines() if (record := _decode_line(line)) is not None]


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that a dead session may have left."""

    path: str
    file_id: str
    number: int


def replay(records: Iterable[Record]) -> dict[str, tuple[HeldLease, ...]]:
    """Return the sessions that are not over, each with the leases that it may have left."""
    open_: dict[str, dict[tuple[str, int], HeldLease]] = {}
    for record in records:
        if isinstance(record, Ended):
            open_.pop(record.session, None)
            continue
        leases = open_.setdefault(record.session, {})
        if isinstance(record, Taken):
            held = HeldLease(record.path, record.file_id, record.number)
            leases[record.file_id, record.number] = held
        elif isinstance(record, Dropped):
            leases.pop((record.file_id, record.number), None)
    return {session: tuple(leases.values()) for session, leases in open_.items()}


def _decode_line(line: bytes) -> Record | None:
    try:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("kind")]
        record = kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    strings = [v for k, v in asdict(record).items() if k != "number"]
    number = getattr(record, "number", 0)
    return record if all(isinstance(s, str) for s in strings) and type(number) is int else None
