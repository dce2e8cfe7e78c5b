"""Every structure that the kernel is answered with is built here, with every field set.

pyfuse3 fills what is left out with values that are wrong for a share: timeouts of 300 seconds, no
blocks, pages kept across opens.
"""

from __future__ import annotations

import pyfuse3

from azfilesfs.vfs.types import Entry, OpenResult, SetAttr, StatFs


def entry_attributes(entry: Entry) -> pyfuse3.EntryAttributes:
    """Build the answer of lookup, getattr and their like; a negative entry has inode number 0."""
    source = entry.attrs
    answer = pyfuse3.EntryAttributes()
    answer.st_ino = source.ino
    answer.generation = source.generation
    answer.entry_timeout = entry.entry_timeout
    answer.attr_timeout = entry.attr_timeout
    answer.st_mode = source.mode
    answer.st_nlink = source.nlink
    answer.st_uid = source.uid
    answer.st_gid = source.gid
    answer.st_rdev = 0
    answer.st_size = source.size
    answer.st_blksize = source.blksize
    answer.st_blocks = source.blocks
    answer.st_atime_ns = source.atime_ns
    answer.st_mtime_ns = source.mtime_ns
    answer.st_ctime_ns = source.ctime_ns
    return answer


def file_info(opened: OpenResult) -> pyfuse3.FileInfo:
    """Build the answer of open and create."""
    return pyfuse3.FileInfo(
        fh=opened.handle, direct_io=False, keep_cache=opened.keep_cache, nonseekable=False
    )


def statvfs(stat: StatFs) -> pyfuse3.StatvfsData:
    """Build the answer of statfs; nothing is reserved for root."""
    answer = pyfuse3.StatvfsData()
    answer.f_bsize = stat.block_size
    answer.f_frsize = stat.block_size
    answer.f_blocks = stat.blocks
    answer.f_bfree = stat.blocks_free
    answer.f_bavail = stat.blocks_free
    answer.f_files = stat.files
    answer.f_ffree = stat.files_free
    answer.f_favail = stat.files_free
    answer.f_namemax = stat.name_max
    return answer


def changes(attributes: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> SetAttr:
    """Read what a setattr request asks for.

    A kernel that keeps the times itself also brings the change time; no program can set that.
    """
    return SetAttr(
        size=attributes.st_size if fields.update_size else None,
        mode=attributes.st_mode if fields.update_mode else None,
        uid=attributes.st_uid if fields.update_uid else None,
        gid=attributes.st_gid if fields.update_gid else None,
        atime_ns=attributes.st_atime_ns if fields.update_atime else None,
        mtime_ns=attributes.st_mtime_ns if fields.update_mtime else None,
        ctime_ns=attributes.st_ctime_ns if fields.update_ctime else None,
    )
