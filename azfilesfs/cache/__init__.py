"""Clean bytes of known versions, kept in memory and on disk. The only importer of diskcache."""

from azfilesfs.cache.block_cache import BlockCache, CacheStatistics
from azfilesfs.cache.blocks import (
    BLOCK_BYTES,
    SLAB_BLOCKS,
    SLAB_BYTES,
    block_count,
    block_range,
    block_runs,
)

__all__ = [
    "BLOCK_BYTES",
    "SLAB_BLOCKS",
    "SLAB_BYTES",
    "BlockCache",
    "CacheStatistics",
    "block_count",
    "block_range",
    "block_runs",
]
