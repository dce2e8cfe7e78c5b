"""What the lock protocol asks for, and what it is told: requests, pauses, answers.

Paths of private files are a directory below ``/.azfilesfs`` and a name; ``path`` is the locked
file's path, kept by the driver and not looked into here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Create:
    """Create File, empty, of a private file."""

    directory: str
    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete File of a private file."""

    directory: str
    name: str


@dataclass(frozen=True, slots=True)
class Move:
    """Rename File of a private file, never replacing."""

    directory: str
    name: str
    to_directory: str
    to_name: str


@dataclass(frozen=True, slots=True)
class Probe:
    """HEAD of a private file."""

    directory: str
    name: str


@dataclass(frozen=True, slots=True)
class List:
    """List a private directory with timestamps, all pages; a missing directory is empty.

    The service time of the answer is that of the first page.
    """

    directory: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Lease File, acquire. The driver must send it once: no repetition below this code."""

    path: str
    lease_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """Lease File, change. The driver must send it once: no repetition below this code."""

    path: str
    lease_id: str
    proposed_id: str


@dataclass(frozen=True, slots=True)
class Release:
    """Lease File, release."""

    path: str
    lease_id: str


@dataclass(frozen=True, slots=True)
class Break:
    """Lease File, break."""

    path: str


@dataclass(frozen=True, slots=True)
class Head:
    """HEAD of the locked file, with a lease id or without."""

    path: str
    lease_id: str | None = None


Request = Create | Delete | Move | Probe | List | Acquire | Change | Release | Break | Head


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is going on; ``FileLock.result`` tells how the last operation ended."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Sleep for a random, growing while, then ``resume``."""


@dataclass(frozen=True, slots=True)
class NeedBeat:
    """Let the session send its heartbeat now, then ``resume``."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Sleep until this moment of the boot clock, then ``resume``."""

    until_ns: int


Action = Request | Rest | Backoff | NeedBeat | Quarantine


class Refusal(Enum):
    """Why the service refused, for certain and without effect."""

    MISSING = auto()
    """404: the file, or a directory above it, is not there."""
    CONFLICT = auto()
    """409: leased by another id, not leased, or the destination exists."""
    MISMATCH = auto()
    """412: a lease with another id is on the file."""
    UNLEASED = auto()
    """412: an id was given and no lease is on the file."""


@dataclass(frozen=True, slots=True)
class Done:
    """The request was applied; lease operations tell the file's ETag."""

    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a HEAD showed."""

    file_id: str
    etag: str
    leased: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a listing and when it last was written, created or renamed (service time)."""

    name: str
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A whole listing and the service's clock at its beginning."""

    entries: tuple[Entry, ...]
    service_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The service refused."""

    why: Refusal


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came: applied, not applied, or still to be applied at any later time."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Refused for good, without effect, for a reason outside the protocol (credential, quota)."""

    errno: int
    reason: str = ""


Answer = Done | Found | Listed | Refused | Unanswered | Failed
