"""The memory tier: recently used blocks, bounded by bytes. For the event loop's thread only."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from azfilesfs.model.versions import Validator

# What a block costs beyond its bytes: the object, its key and two table entries.
_OVERHEAD_BYTES: Final = 400


class MemoryTier:
    """Least recently used blocks leave first.

    Invariants: ``used`` is the sum of the costs of all blocks and never above ``limit`` between
        calls; ``_versions`` names
    exactly the blocks in ``_blocks``.
    """

    def __init__(self, limit: int) -> None:
        """Start empty; ``limit`` is in bytes, 0 keeps nothing."""
        self.limit = limit
        self.used = 0
        self._blocks: OrderedDict[tuple[Validator, int], bytes] = OrderedDict()
        self._versions: dict[Validator, set[int]] = {}

    def get(self, validator: Validator, index: int) -> bytes | None:
        """Return a block and mark it as used."""
        key = (validator, index)
        data = self._blocks.get(key)
        if data is not None:
            self._blocks.move_to_end(key)
        return data

    def has(self, validator: Validator, index: int) -> bool:
        """Tell whether a block is here, without marking it as used."""
        return (validator, index) in self._blocks

    def put(self, validator: Validator, index: int, data: bytes) -> None:
        """Keep a block, at the cost of those not used for longest."""
        cost = len(data) + _OVERHEAD_BYTES
        self.discard(validator, index)
        if cost > self.limit:
            return
        while self.used + cost > self.limit:
            self.discard(*next(iter(self._blocks)))
        self._blocks[validator, index] = data
        self._versions.setdefault(validator, set()).add(index)
        self.used += cost

    def discard(self, validator: Validator, index: int) -> None:
        """Forget a block, if it is here."""
        data = self._blocks.pop((validator, index), None)
        if data is None:
            return
        self.used -= len(data) + _OVERHEAD_BYTES
        indexes = self._versions[validator]
        indexes.remove(index)
        if not indexes:
            del self._versions[validator]

    def indexes(self, validator: Validator) -> list[int]:
        """Return which blocks of a version are here."""
        return sorted(self._versions.get(validator, ()))

    def __len__(self) -> int:
        return len(self._blocks)
