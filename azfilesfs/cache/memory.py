"""The memory tier: recently used bytes, bounded by their number. For the event loop's thread only.

What one request brought stays together as a *chunk*, in the buffer that it arrived in: nothing is
copied, and what leaves gives its whole buffer back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from azfilesfs.cache.blocks import BLOCK_BYTES, Buffer, block_count, block_runs
from azfilesfs.model.versions import Validator

# What a chunk and a block of it cost beyond their bytes: objects and table entries.
_CHUNK_BYTES: Final = 700
_BLOCK_ENTRY_BYTES: Final = 100
_MOST_HELD: Final = 4


class Chunk:
    """Consecutive blocks of one version in one buffer.

    Attributes:
        first: number of the first block.
        data: their bytes.
        left: how many of them are found by the tier; others have been replaced or forgotten.
        cost: what the chunk counts for.
    """

    __slots__ = ("cost", "data", "first", "left", "validator")

    def __init__(self, validator: Validator, first: int, data: memoryview) -> None:
        self.validator = validator
        self.first = first
        self.data = data
        self.left = block_count(len(data))
        self.cost = len(data) + _CHUNK_BYTES + self.left * _BLOCK_ENTRY_BYTES

    @property
    def start(self) -> int:
        """Where the bytes begin in the file."""
        return self.first * BLOCK_BYTES

    @property
    def blocks(self) -> range:
        """The numbers of its blocks."""
        return range(self.first, self.first + block_count(len(self.data)))


class MemoryTier:
    """Least recently used chunks leave first.

    Invariants: ``used`` is the sum of the costs of all chunks and, after a call, not above
    ``limit``; each block in ``_versions`` names a chunk in ``_chunks``, and each chunk is named by
    ``left`` blocks, at least one.
    """

    def __init__(self, limit: int) -> None:
        """Start empty; ``limit`` is in bytes, 0 keeps nothing."""
        self.limit = limit
        self.used = 0
        self._chunks: OrderedDict[Chunk, None] = OrderedDict()
        self._versions: dict[Validator, dict[int, Chunk]] = {}

    def find(self, validator: Validator, index: int) -> Chunk | None:
        """Return the chunk that a block is in and mark it as used."""
        chunk = self._versions.get(validator, {}).get(index)
        if chunk is not None:
            self._chunks.move_to_end(chunk)
        return chunk

    def has(self, validator: Validator, index: int) -> bool:
        """Tell whether a block is here, without marking it as used."""
        return index in self._versions.get(validator, ())

    def put(self, validator: Validator, first: int, data: Buffer) -> None:
        """Keep consecutive blocks, at the cost of those not used for longest."""
        chunk = Chunk(validator, first, memoryview(data).cast("B"))
        self._forget(validator, chunk.blocks)
        if not chunk.left or chunk.cost > self.limit:
            return
        self._shrink(self.limit - chunk.cost)
        self._chunks[chunk] = None
        self._versions.setdefault(validator, {}).update(dict.fromkeys(chunk.blocks, chunk))
        self.used += chunk.cost

    def resize(self, limit: int) -> None:
        """Change the limit; what does not fit any more leaves."""
        self.limit = limit
        self._shrink(limit)

    def rename(self, old: Validator, new: Validator, keep: Callable[[int], bool]) -> None:
        """Let blocks of one version be those of another; those that are not kept are forgotten.

        No chunk may go on with bytes in it that are not those of its version, so one that loses
        blocks becomes several.
        """
        blocks = self._versions.get(old, {})
        kept: list[tuple[int, memoryview]] = []
        for chunk in dict.fromkeys(blocks.values()):
            for run in block_runs(index for index in chunk.blocks if blocks.get(index) is chunk):
                stays = [index for index in run if keep(index)]
                kept += [(part.start, _cut(chunk, part)) for part in block_runs(stays)]
        self._forget(old, list(blocks))
        for first, data in kept:
            self.put(new, first, data)

    def indexes(self, validator: Validator) -> list[int]:
        """Return which blocks of a version are here."""
        return sorted(self._versions.get(validator, ()))

    def _shrink(self, limit: int) -> None:
        while self.used > max(0, limit):
            chunk = next(iter(self._chunks))
            blocks = self._versions[chunk.validator]
            self._forget(
                chunk.validator, [index for index in chunk.blocks if blocks.get(index) is chunk]
            )

    def _forget(self, validator: Validator, indexes: range | list[int]) -> None:
        blocks = self._versions.get(validator)
        if blocks is None:
            return
        for index in indexes:
            chunk = blocks.pop(index, None)
            if chunk is None:
                continue
            chunk.left -= 1
            if not chunk.left:
                del self._chunks[chunk]
                self.used -= chunk.cost
        if not blocks:
            del self._versions[validator]

    def __len__(self) -> int:
        return len(self._chunks)


def _cut(chunk: Chunk, blocks: range) -> memoryview:
    """Return some blocks of a chunk, copied where they would keep much more memory than theirs."""
    start = (blocks.start - chunk.first) * BLOCK_BYTES
    data = chunk.data[start : start + len(blocks) * BLOCK_BYTES]
    is_small = len(data) * _MOST_HELD < len(chunk.data)
    return memoryview(bytes(data)) if is_small else data
