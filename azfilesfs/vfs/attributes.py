"""From what we know of an inode to what a program sees in stat(2)."""

from __future__ import annotations

import stat

from azfilesfs.model.properties import Basics, ListedEntry, Properties
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.types import Attrs, Entry


class AttributeView:
    """Builds stat structures. The options give owner and modes; the service keeps none."""

    def __init__(self, context: Context) -> None:
        self._context = context
        options = context.options
        self._file_mode = stat.S_IFREG | (options.file_mode & ~options.umask)
        self._dir_mode = stat.S_IFDIR | (options.dir_mode & ~options.umask)
        self._started_ns = context.wall_ns()

    def of(self, inode: Inode) -> Attrs:
        """Return the attributes of an inode.

        Local changes come before what the service last said.
        """
        if inode.is_directory:
            return self._directory(inode)
        basics, dirty = _basics(inode), inode.dirty
        size = dirty.size if dirty is not None else (basics.size if basics is not None else 0)
        mtime, ctime = self._remote_times(basics)
        if dirty is not None:
            mtime = mtime if dirty.mtime_ns is None else dirty.mtime_ns
            ctime = ctime if dirty.ctime_ns is None else dirty.ctime_ns
        mode = self._file_mode
        if inode.is_symlink and inode.link is not None:
            mode, size = stat.S_IFLNK | 0o777, len(inode.link)
        shown = self._attrs(inode.number, mode, size, mtime, ctime, inode.atime_ns)
        return shown._replace(generation=inode.generation) if inode.generation else shown

    def of_listed(self, number: int, listed: ListedEntry) -> Attrs:
        """Return the attributes of an entry that has no inode yet."""
        basics = listed.basics()
        mtime, ctime = self._remote_times(basics)
        mode = self._dir_mode if basics.is_directory else self._file_mode
        return self._attrs(number, mode, basics.size, mtime, ctime, None)

    def entry(self, inode: Inode, *, exact_name: bool = True) -> Entry:
        """Return the attributes with the time for which the kernel may believe them.

        What is dirty or local here is known for certain, and still gets no more than the TTL: an
            upload changes it.
        Another spelling than the stored one is never to be kept by the kernel.
        """
        options = self._context.options
        fresh = options.attr_ttl
        if inode.dirty is None and inode.properties is not None:
            fresh = max(0.0, self._context.tree.believed_until(inode) - self._context.now())
        return Entry(self.of(inode), fresh if exact_name else 0.0, fresh)

    def named(self, inode: Inode, *, exact_name: bool = True) -> Entry:
        """Return ``entry`` as the answer to a name: where the kernel has an outdated inode of a
        file that nobody has open, it is made to take a new one.
        """
        if inode.outdated is not None and not self._context.handles.is_open(inode):
            inode.generation += 1
            inode.outdated = None
        return self.entry(inode, exact_name=exact_name)

    def _directory(self, inode: Inode) -> Attrs:
        mtime, ctime = self._remote_times(_basics(inode))
        if inode.local_mtime_ns is not None:
            mtime, ctime = max(mtime, inode.local_mtime_ns), max(ctime, inode.local_mtime_ns)
        return self._attrs(inode.number, self._dir_mode, 0, mtime, ctime, inode.atime_ns)

    def _remote_times(self, basics: Basics | Properties | None) -> tuple[int, int]:
        if basics is None:
            return self._started_ns, self._started_ns
        mtime, ctime = basics.last_write_time_ns, basics.change_time_ns
        if mtime is not None and ctime is not None:
            return mtime, ctime
        known = (mtime, ctime, basics.last_modified_ns)
        fallback = next((time for time in known if time is not None), self._started_ns)
        return fallback if mtime is None else mtime, fallback if ctime is None else ctime

    def _attrs(
        self, number: int, mode: int, size: int, mtime: int, ctime: int, atime: int | None
    ) -> Attrs:
        options = self._context.options
        return Attrs(
            ino=number,
            mode=mode,
            size=size,
            uid=options.uid,
            gid=options.gid,
            atime_ns=mtime if atime is None else atime,
            mtime_ns=mtime,
            ctime_ns=ctime,
        )


def _basics(inode: Inode) -> Basics | Properties | None:
    shown = inode.shown
    return shown.basics() if isinstance(shown, ListedEntry) else shown
