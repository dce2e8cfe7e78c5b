"""Handles and dirty state: numbers, counts, latched errors, where appended bytes go."""

import errno
import os

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.handles import DirectoryHandle, FileHandle, HandleTable
from azfilesfs.vfs.inodes import Inode, InodeTable
from azfilesfs.vfs.readahead import AccessPattern
from azfilesfs.vfs.staging import StagingArea
from tests.unit.vfs.harness import expect


@pytest.fixture
def inode() -> Inode:
    """Return a file."""
    table = InodeTable(SharePath.ROOT)
    shown = Properties(kind=EntryKind.FILE, size=10, etag='"1"', file_id=5, change_time_ns=7)
    return table.add(table.root, "f", EntryKind.FILE, shown)


def opened(inode: Inode, flags: int) -> FileHandle:
    """Open a file."""
    return FileHandle(inode, flags, AccessPattern(0))


@pytest.mark.parametrize(
    ("flags", "readable", "writable", "append"),
    [
        (os.O_RDONLY, True, False, False),
        (os.O_WRONLY, False, True, False),
        (os.O_RDWR | os.O_APPEND, True, True, True),
    ],
)
def test_flags(inode, flags, readable, writable, append):
    """The access mode and O_APPEND are taken from the flags."""
    handle = opened(inode, flags)
    assert (handle.readable, handle.writable, handle.append) == (readable, writable, append)


def test_who_is_open(inode):
    """A file is open while the table has a handle of it."""
    table = HandleTable()
    number = table.add_file(opened(inode, os.O_RDONLY))
    assert table.is_open(inode)
    table.remove_file(number)
    assert not table.is_open(inode)


@pytest.mark.parametrize(
    ("flags", "offset", "expected"),
    [
        (os.O_WRONLY, 5, 5),
        (os.O_WRONLY | os.O_APPEND, 5, 10_000),
        (os.O_WRONLY | os.O_APPEND, 4096, 10_000),
        (os.O_RDWR | os.O_APPEND, 4096, 4096),
        (os.O_RDWR | os.O_APPEND, 4097, 10_000),
        (os.O_RDWR | os.O_APPEND, 12_288, 10_000),
    ],
)
def test_where_a_write_goes(inode, flags, offset, expected):
    """O_APPEND goes to the end, but pages of a mapping stay in their place."""
    assert opened(inode, flags).place(offset, 10_000) == expected


def test_counting(inode):
    """The inode knows how many handles it has, and how many of them write."""
    table = HandleTable()
    reader = table.add_file(opened(inode, os.O_RDONLY))
    writer = table.add_file(opened(inode, os.O_RDWR))
    directory = table.add_directory(DirectoryHandle(inode))
    assert len({reader, writer, directory}) == 3
    assert (inode.handles, inode.writers, len(table)) == (3, 1, 3)
    assert len(list(table.of(inode))) == 2
    table.remove_file(writer)
    table.remove_directory(directory)
    assert (inode.handles, inode.writers, len(table)) == (1, 0, 1)
    table.remove_file(reader)
    assert (inode.handles, len(table)) == (0, 0)
    again = table.add_file(opened(inode, os.O_RDONLY))
    assert again not in {reader, writer, directory}
    with expect(errno.EBADF):
        table.directory(again)
    with expect(errno.EBADF):
        table.file(directory)


def test_a_latched_error(inode):
    """Every check raises the error anew, as an object of its own."""
    handle = opened(inode, os.O_RDWR)
    handle.check()
    handle.error = VfsError(errno.ESTALE, "gone")
    for _ in range(2):
        with pytest.raises(VfsError) as caught:
            handle.check()
        assert caught.value is not handle.error
        assert caught.value.errno == errno.ESTALE


@pytest.fixture
def dirty(tmp_path, inode):
    """Return the dirty state of a file of ten bytes."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with StagingArea.open(state, 1000, share="a/b") as area:
        staged = area.create(SharePath(("f",)), inode.validator, 10)
        file = DirtyFile(staged, inode.validator, 10)
        file.base_write_ns = 100
        yield file


def shown(**changes) -> Properties:
    """Return an answer about the file."""
    known = {"kind": EntryKind.FILE, "size": 10, "etag": '"1"', "file_id": 5, "change_time_ns": 7}
    return Properties(**{**known, **changes})


def test_a_new_dirty_state_is_clean(dirty):
    """Nothing has changed yet."""
    assert dirty.is_clean
    assert dirty.size == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda dirty: dirty.write(0, b"x", 1),
        lambda dirty: dirty.truncate(5, 1),
        lambda dirty: dirty.set_times(5, 1),
        lambda dirty: dirty.touch(1),
    ],
)
def test_changes_make_it_dirty(dirty, change):
    """Bytes, sizes and times all have to be sent."""
    change(dirty)
    assert not dirty.is_clean


def test_times_are_cut_to_what_the_service_keeps(dirty):
    """100 ns, always downwards; setting only the change time leaves the other."""
    dirty.touch(1_234_567)
    assert (dirty.mtime_ns, dirty.ctime_ns) == (1_234_500, 1_234_500)
    dirty.set_times(7_777, 9_999)
    assert (dirty.mtime_ns, dirty.ctime_ns) == (7_700, 9_900)
    dirty.set_times(None, 20_001)
    assert (dirty.mtime_ns, dirty.ctime_ns) == (7_700, 20_000)


def test_whose_version_it_is(dirty):
    """The base, and what our unfinished uploads leave, are ours; the rest is not."""
    assert dirty.is_ours(shown())
    ours = shown(etag='"2"', last_write_time_ns=100)
    assert not dirty.is_ours(ours)
    dirty.begin_sending(300)
    dirty.begin_sending(400)
    dirty.begin_sending(None)
    for ours_ns in (100, 300, 400):
        assert dirty.is_ours(shown(etag='"2"', last_write_time_ns=ours_ns))
    for foreign_ns in (None, 200):
        assert not dirty.is_ours(shown(etag='"2"', last_write_time_ns=foreign_ns))
    assert not dirty.is_ours(shown(etag='"2"', last_write_time_ns=100, file_id=6))
    dirty.settle()
    assert not dirty.is_ours(ours)


def test_bytes_written_again_during_a_pass_stay_dirty(dirty):
    """What was sent and changed meanwhile has to be sent again."""
    dirty.write(0, b"0123456789", 1)
    dirty.begin_pass()
    dirty.write(4, b"x", 2)
    dirty.uploaded(ByteRange(0, 10))
    dirty.end_pass()
    assert list(dirty.staged.dirty) == [ByteRange(4, 5)]
    dirty.begin_pass()
    dirty.uploaded(ByteRange(0, 10))
    dirty.end_pass()
    assert not dirty.staged.dirty
