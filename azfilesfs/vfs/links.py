"""Symbolic links: which files of 1,067 bytes are links, where they point, and making one."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable

import trio

from azfilesfs.errors import FileNotFound, InvalidRange, ParentNotFound
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.symlinks import (
    SYMLINK_FILE_BYTES,
    TARGET_BYTES,
    decode_symlink,
    encode_symlink,
)
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.types import Symlinks

_PARALLEL_READS = 8
_LOG = logging.getLogger(__name__)


class Links:
    """Reads and recognises links; a file is read at most once per version to find out.

    Attributes:
        enabled: whether there are links at all.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.enabled = context.options.symlinks is Symlinks.MF

    def may_be_link(self, inode: Inode) -> bool:
        """Tell whether only reading the file can say if it is a link."""
        properties = inode.properties
        return (
            self.enabled
            and not inode.is_directory
            and inode.dirty is None
            and properties is not None
            and properties.size == SYMLINK_FILE_BYTES
            and inode.link_of != properties.validator()
        )

    async def recognise(self, inode: Inode) -> None:
        """Find out whether a file is a link, reading it where its size allows that it is.

        Raises:
            AzureFilesError: it could not be read. A file that is gone or changed is left for the
                caller's next step.
        """
        if not self.may_be_link(inode):
            return
        validator = inode.validator
        try:
            async with self._context.gate.path(inode) as path:
                content = await self._context.share.get_file(path, ByteRange(0, SYMLINK_FILE_BYTES))
        except (FileNotFound, ParentNotFound, InvalidRange):
            return
        if content.properties.validator() == validator:
            inode.link, inode.link_of = decode_symlink(bytes(content.data)), validator

    async def recognise_all(self, inodes: Iterable[Inode]) -> None:
        """Find out about many files, several at a time; one that cannot be read shows as a file."""
        limiter = trio.CapacityLimiter(_PARALLEL_READS)

        async def one(inode: Inode) -> None:
            async with limiter:
                try:
                    await self.recognise(inode)
                except Exception as error:  # noqa: BLE001  # the listing must not fail for one file
                    _LOG.debug("cannot tell whether %r is a link: %s", inode, error)

        async with trio.open_nursery() as nursery:
            for inode in inodes:
                if self.may_be_link(inode):
                    nursery.start_soon(one, inode)

    def encode(self, target: bytes) -> bytes:
        """Return the content of the file for a link.

        Raises:
            VfsError: EPERM where links are off, ENAMETOOLONG for a target over 1,024 bytes.
        """
        if not self.enabled:
            raise VfsError(errno.EPERM, "symbolic links are switched off (--symlinks=off)")
        if len(target) > TARGET_BYTES:
            raise VfsError(errno.ENAMETOOLONG, "the target of a link has at most 1,024 bytes")
        try:
            return encode_symlink(target)
        except ValueError as error:
            raise VfsError(errno.ENOENT, str(error)) from None
