"""Byte ranges that are locked, as fcntl(2) has them: split, merged, told apart by owner.

Pure functions on tuples of ``Held``, sorted by start; no two of one owner overlap, and none of one
owner, mode and process touch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from azfilesfs.vfs.locks.modes import Mode

END_OF_FILE: Final = 1 << 63
"""The stop of a range that reaches to the end of the file, wherever that is."""


class Kind(Enum):
    """Whom a lock belongs to."""

    FLOCK = auto()
    """An open file description, by flock(2): its own space, never in conflict with fcntl locks."""
    POSIX = auto()
    """A process, by fcntl(2): goes with the first close of any descriptor of the file."""
    OFD = auto()
    """An open file description, by fcntl(2) with F_OFD_SETLK."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds or wants a lock: the kernel's lock owner; for flock the handle."""

    kind: Kind
    key: int


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` up to ``stop``, which is not included."""

    start: int = 0
    stop: int = END_OF_FILE

    def __post_init__(self) -> None:
        """Refuse an empty or negative range."""
        if not 0 <= self.start < self.stop <= END_OF_FILE:
            raise ValueError(f"no range: {self.start} to {self.stop}")

    def overlaps(self, other: Span) -> bool:
        """Tell whether a byte is in both."""
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True)
class Held:
    """One locked range.

    Attributes:
        handle: the handle that it was taken through; its release drops it.
        pid: the process that took it, for F_GETLK and ``locks list``.
    """

    owner: Owner
    mode: Mode
    span: Span
    handle: int
    pid: int

    def conflicts(self, owner: Owner, mode: Mode, span: Span) -> bool:
        """Tell whether somebody else's wish cannot be granted beside this."""
        if self.owner == owner:
            return False
        return self.mode.conflicts(mode) and self.span.overlaps(span)


def set_range(held: tuple[Held, ...], new: Held) -> tuple[Held, ...]:
    """Return the locks with the owner's mode in a range replaced; Mode.NONE unlocks it.

    What the owner held there before is cut, and what touches and is alike is merged. Conflicts with
    others are not looked at.
    """
    kept: list[Held] = []
    for one in held:
        if one.owner == new.owner and one.span.overlaps(new.span):
            kept.extend(_outside(one, new.span))
        else:
            kept.append(one)
    if new.mode is not Mode.NONE:
        kept = _merge(kept, new)
    return tuple(sorted(kept, key=lambda one: (one.span.start, one.owner.key, one.mode)))


def restore(
    held: tuple[Held, ...], owner: Owner, span: Span, before: tuple[Held, ...]
) -> tuple[Held, ...]:
    """Return the locks with what an owner holds in a range put back to what it was before."""
    for one in before:
        if one.owner == owner and one.span.overlaps(span):
            inside = Span(max(one.span.start, span.start), min(one.span.stop, span.stop))
            held = set_range(held, replace(one, span=inside))
    return held


def _outside(one: Held, span: Span) -> list[Held]:
    pieces = []
    if one.span.start < span.start:
        pieces.append(replace(one, span=Span(one.span.start, span.start)))
    if span.stop < one.span.stop:
        pieces.append(replace(one, span=Span(span.stop, one.span.stop)))
    return pieces


def _merge(held: list[Held], new: Held) -> list[Held]:
    start, stop, rest = new.span.start, new.span.stop, []
    for one in held:
        alike = (one.owner, one.mode, one.pid) == (new.owner, new.mode, new.pid)
        touches = one.span.stop == new.span.start or one.span.start == new.span.stop
        if alike and touches:
            start, stop = min(start, one.span.start), max(stop, one.span.stop)
        else:
            rest.append(one)
    return [*rest, replace(new, span=Span(start, stop))]
