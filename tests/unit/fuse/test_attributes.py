"""The structures that the kernel is answered with."""

import stat

from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.fuse.attributes import entry_attributes, file_info, statvfs
from azfilesfs.vfs.types import Attrs, Entry, OpenResult, StatFs

TIMES = st.integers(-11_644_473_600_000_000_000, 4_000_000_000_000_000_000)


@given(
    ino=st.integers(0, 2**64 - 1),
    size=st.integers(0, 2**42),
    times=st.tuples(TIMES, TIMES, TIMES),
    timeouts=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
)
def test_every_field_is_the_filesystems(ino, size, times, timeouts):
    """Nothing of an entry is left to a default: numbers, sizes, times before 1970 and timeouts."""
    attrs = Attrs(ino, stat.S_IFREG | 0o640, size, 7, 8, times[0], times[1], times[2], 3, 512, 6)

    made = entry_attributes(Entry(attrs, *timeouts))

    assert (made.st_ino, made.generation, made.st_rdev) == (ino, 6, 0)
    assert (made.st_mode, made.st_uid, made.st_gid, made.st_nlink) == (0o100640, 7, 8, 3)
    assert (made.st_size, made.st_blocks, made.st_blksize) == (size, -(-size // 512), 512)
    assert (made.st_atime_ns, made.st_mtime_ns, made.st_ctime_ns) == times
    assert (made.entry_timeout, made.attr_timeout) == timeouts


def test_a_negative_entry_has_no_inode():
    """A name that is known not to exist is answered with inode number 0 and its timeout."""
    made = entry_attributes(Entry(Attrs(0, 0, 0, 0, 0, 0, 0, 0), 2.5, 0.0))

    assert (made.st_ino, made.entry_timeout) == (0, 2.5)


def test_keep_cache_is_the_filesystems_word():
    """pyfuse3 would keep pages unless told otherwise; here it is always told."""
    for kept in (True, False):
        made = file_info(OpenResult(12, kept))
        assert (made.fh, made.keep_cache, made.direct_io, made.nonseekable) == (12, kept, 0, 0)


def test_statvfs_reserves_nothing():
    """What is free is free for everybody, in blocks of the size that was said."""
    made = statvfs(StatFs(4096, 10, 6, 5, 4, 255))

    assert (made.f_bsize, made.f_frsize, made.f_blocks) == (4096, 4096, 10)
    assert (made.f_bfree, made.f_bavail) == (6, 6)
    assert (made.f_files, made.f_ffree, made.f_favail, made.f_namemax) == (5, 4, 4, 255)
