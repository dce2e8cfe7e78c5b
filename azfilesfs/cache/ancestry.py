"""Which blocks of a version are the same bytes as those of an earlier one. Pure.

Our own upload makes a new version out of an old one and knows exactly what it changed. The blocks
on disk keep the key of the version that they were stored under; this table says where else to look
for a block of the new version. It lives in memory only: after a restart such blocks are misses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

# A file that is fsynced a thousand times has a thousand versions. The first of them often holds
# most of the blocks, so it stays; beyond it only the latest ones are worth a look.
_ANCESTORS: Final = 4
_VERSIONS: Final = 4096


class Ancestor(NamedTuple):
    """An earlier version, and the bytes in which the later one may differ from it."""

    validator: Validator
    changed: ExtentMap


class Ancestry:
    """At most 4,096 versions with at most 4 ancestors each; what is forgotten is fetched again."""

    def __init__(self) -> None:
        """Start empty."""
        self._ancestors: OrderedDict[Validator, tuple[Ancestor, ...]] = OrderedDict()

    def descend(self, old: Validator, new: Validator, changed: Iterable[ByteRange]) -> ExtentMap:
        """Record that ``new`` was made out of ``old`` by changing these bytes.

        Returns:
            all bytes in which they may differ: growth and cut count as changed too.
        """
        extents = ExtentMap(changed)
        extents.add(ByteRange(min(old.size, new.size), max(old.size, new.size)))
        inherited = self._ancestors.pop(old, ())
        line = [Ancestor(each.validator, _union(each.changed, extents)) for each in inherited]
        line.append(Ancestor(old, extents))
        self._ancestors[new] = tuple(line[:1] + line[1:][1 - _ANCESTORS :])
        while len(self._ancestors) > _VERSIONS:
            self._ancestors.popitem(last=False)
        return extents

    def ancestors(self, validator: Validator) -> Iterator[Ancestor]:
        """Yield earlier versions that share bytes with this one, the latest first."""
        return reversed(self._ancestors.get(validator, ()))


def is_untouched(changed: ExtentMap, block: ByteRange) -> bool:
    """Tell whether none of the changed bytes lies in the block."""
    return next(changed.within(block), None) is None


def _union(one: ExtentMap, other: ExtentMap) -> ExtentMap:
    union = one.copy()
    for extent in other:
        union.add(extent)
    return union
