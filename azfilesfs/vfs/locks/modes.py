"""The strength of a lock, here and at the service."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """None, shared or exclusive; the greater one includes the smaller."""

    NONE = 0
    SHARED = 1
    EXCLUSIVE = 2

    def conflicts(self, other: Mode) -> bool:
        """Tell whether two owners cannot hold these at the same time."""
        return Mode.NONE not in (self, other) and Mode.EXCLUSIVE in (self, other)
