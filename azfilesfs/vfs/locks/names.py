"""The names of the lock protocol: sessions, tombstones, announcements, lease ids.

What a name says is what other mounts act on; nothing of the protocol stands inside a file.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SESSIONS: Final = "sessions"
DEAD: Final = "dead"
READERS: Final = "locks"
"""The directories below ``/.azfilesfs``."""

DEFAULT_TTL_S: Final = 60
_CLEAN: Final = "clean"
_WISH: Final = "wish"


@dataclass(frozen=True, slots=True)
class Window:
    """The lease numbers that a session may be using, both ends included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"

    def numbers(self) -> range:
        """Return every number of the window."""
        return range(self.low, self.high + 1)

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``<low>-<high>``; ValueError for anything else."""
        low, _, high = text.partition("-")
        return cls(_number(low), _number(high))


@dataclass(frozen=True, slots=True)
class SessionFile:
    """One generation of a session's file: ``<session>.<generation>.<window>[.<ttl>]``.

    The time to live is written only where it is not the usual one; who judges a session takes the
    session's own, not the judge's.
    """

    session: str
    generation: int
    window: Window
    ttl_s: int = DEFAULT_TTL_S

    @property
    def name(self) -> str:
        """The name in the directory of sessions."""
        usual = f"{self.session}.{self.generation}.{self.window}"
        return usual if self.ttl_s == DEFAULT_TTL_S else f"{usual}.{self.ttl_s}"

    @classmethod
    def parse(cls, name: str) -> SessionFile | None:
        """Read a name; None where it is not one of ours."""
        try:
            session, generation, window, *rest = name.split(".")
            if len(rest) > 1:
                return None
            ttl = _number(rest[0]) if rest else DEFAULT_TTL_S
            return cls(_session(session), _number(generation), Window.parse(window), ttl)
        except ValueError:
            return None

    def tombstone(self, *, clean: bool = False) -> Tombstone:
        """Return what this file becomes when its session dies."""
        return Tombstone(self.session, self.window, clean)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The proof that a session is dead: ``<session>.<window>[.clean]``.

    Attributes:
        clean: no lease of the session is left, and none can appear any more.
    """

    session: str
    window: Window
    clean: bool = False

    @property
    def name(self) -> str:
        """The name in the directory of the dead."""
        return f"{self.session}.{self.window}" + (f".{_CLEAN}" if self.clean else "")

    @classmethod
    def parse(cls, name: str) -> Tombstone | None:
        """Read a name; None where it is not one of ours."""
        try:
            session, window, *rest = name.split(".")
            if rest not in ([], [_CLEAN]):
                return None
            return cls(_session(session), Window.parse(window), bool(rest))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a reader puts up before it looks: ``<file id>.<session>.<number>``."""

    file_id: str
    session: str
    number: int

    @property
    def name(self) -> str:
        """The name in the directory of readers."""
        return f"{self.file_id}.{self.session}.{self.number}"

    @classmethod
    def parse(cls, name: str) -> Announcement | None:
        """Read a name; None where it is not one of ours."""
        try:
            file_id, session, number = name.split(".")
            return cls(file_id, _session(session), _number(number))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Wish:
    """What who waits long puts up beside the announcements: ``<file id>.<session>.wish``.

    It asks the others for a turn, and that is all: whoever takes the exclusive lock finds it in the
    listing of the readers. It is no announcement, and nothing is kept from anybody by it.
    """

    file_id: str
    session: str

    @property
    def name(self) -> str:
        """The name in the directory of readers."""
        return f"{self.file_id}.{self.session}.{_WISH}"

    @classmethod
    def parse(cls, name: str) -> Wish | None:
        """Read a name; None where it is not one of ours."""
        try:
            file_id, session, kind = name.split(".")
            return cls(file_id, _session(session)) if kind == _WISH else None
        except ValueError:
            return None


@lru_cache(maxsize=4096)
def lease_id(session: str, file_id: str, number: int) -> str:
    """Return the lease id that a session uses on a file; anyone can compute it, it is no secret."""
    return str(uuid.uuid5(uuid.UUID(hex=session), f"{file_id}.{number}"))


@lru_cache(maxsize=256)
def session_id(seed: uuid.UUID, incarnation: int) -> str:
    """Return the id of one of a mount's sessions, in 32 hexadecimal digits.

    ``seed`` is random, made anew by each process; a session's id never returns.
    """
    return uuid.uuid5(seed, f"session {incarnation}").hex


def _session(text: str) -> str:
    if len(text) != 32:
        raise ValueError(text)
    return uuid.UUID(hex=text).hex


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
