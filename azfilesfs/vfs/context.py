"""What every part of the filesystem works with, built once by ``FileSystem.open``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import trio

from azfilesfs.cache import BlockCache
from azfilesfs.client import ShareClient
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.gate import PathGate
from azfilesfs.vfs.handles import HandleTable
from azfilesfs.vfs.inodes import InodeTable
from azfilesfs.vfs.locking.manager import LockManager
from azfilesfs.vfs.reader import BlockReader
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.tree import Tree
from azfilesfs.vfs.types import KernelNotifier, VfsOptions


@dataclass(frozen=True, slots=True)
class Lower:
    """The layers below and beside a filesystem."""

    share: ShareClient
    cache: BlockCache
    staging: StagingArea
    kernel: KernelNotifier


@dataclass(frozen=True, slots=True)
class Context:
    """The tables and the lower layers of one filesystem.

    ``nursery`` holds its background uploads.
    """

    share: ShareClient
    options: VfsOptions
    tree: Tree
    handles: HandleTable
    gate: PathGate
    cache: BlockCache
    reader: BlockReader
    staging: StagingArea
    kernel: KernelNotifier
    locks: LockManager
    nursery: trio.Nursery

    @classmethod
    def build(
        cls, root: SharePath, options: VfsOptions, lower: Lower, locks: LockManager, gate: PathGate
    ) -> Context:
        """Put the parts together over a directory of the share."""
        reader = BlockReader(
            lower.share,
            lower.cache,
            readahead_blocks=options.readahead_blocks,
            nursery=locks.nursery,
        )
        return cls(
            share=lower.share,
            options=options,
            tree=Tree(options, InodeTable(root), lower.cache, lower.kernel),
            handles=HandleTable(),
            gate=gate,
            cache=lower.cache,
            reader=reader,
            staging=lower.staging,
            kernel=lower.kernel,
            locks=locks,
            nursery=locks.nursery,
        )

    @property
    def inodes(self) -> InodeTable:
        """Every inode that somebody refers to."""
        return self.tree.inodes

    def now(self) -> float:
        """Return the clock that freshness is measured with, in seconds."""
        return trio.current_time()

    def wall_ns(self) -> int:
        """Return the time of day that goes into mtime and ctime."""
        return time.time_ns()
