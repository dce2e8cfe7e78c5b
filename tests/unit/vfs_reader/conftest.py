"""Fixtures of the block reader's tests."""

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from azfilesfs.cache import BlockCache
from azfilesfs.model.limits import MIB
from azfilesfs.vfs.reader import BlockReader
from tests.unit.vfs_reader.fakes import FakeInode, FakeShare

SIZE = 40 * MIB + 12_345


@pytest.fixture
def share() -> FakeShare:
    """A share with one file of 40 MiB and a bit."""
    return FakeShare(SIZE)


@pytest.fixture
def inode(share: FakeShare) -> FakeInode:
    """An inode that knows the file's first version."""
    return FakeInode(share)


@pytest.fixture
async def cache(tmp_path) -> AsyncIterator[BlockCache]:
    """A cache without a disk tier."""
    async with BlockCache.open(tmp_path / "c", limit_bytes=0, memory_bytes=128 * MIB) as cache:
        yield cache


@pytest.fixture
def make_reader(share: FakeShare, cache: BlockCache, nursery: trio.Nursery):
    """Return a function that makes a reader of the share, with keywords of ``BlockReader``."""

    def make(readahead_blocks: int = 6, budget_bytes: int = 64 * MIB) -> BlockReader:
        return BlockReader(
            share,
            cache,
            readahead_blocks=readahead_blocks,
            nursery=nursery,
            budget_bytes=budget_bytes,
        )

    return make


@pytest.fixture
def reader(make_reader: Callable[..., BlockReader]) -> BlockReader:
    """A reader with the usual settings."""
    return make_reader()
