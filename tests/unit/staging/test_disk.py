"""The local disk's small tools."""

import errno
import os
from pathlib import Path

import pytest

from azfilesfs.vfs import disk
from azfilesfs.vfs.disk import Descriptors


@pytest.fixture
def descriptor(tmp_path: Path):
    """Open an empty file."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def test_short_writes_are_continued(descriptor, monkeypatch):
    """A disk that takes a few bytes at a time takes them all in the end."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:3], at))

    disk.write_whole(descriptor, memoryview(b"0123456789"), 5)

    assert os.pread(descriptor, 100, 0) == b"\0" * 5 + b"0123456789"


def test_a_disk_that_takes_nothing_is_full(descriptor, monkeypatch):
    """A write of no bytes is not repeated for ever."""
    answers = iter([3, 0])
    monkeypatch.setattr(os, "pwrite", lambda *_: next(answers))

    with pytest.raises(OSError, match="No space") as caught:
        disk.write_whole(descriptor, memoryview(b"0123456789"), 0)

    assert caught.value.errno == errno.ENOSPC


def test_short_reads_are_continued(descriptor, monkeypatch):
    """A read is put together from pieces, and filled up with zeros past the end."""
    os.pwrite(descriptor, b"0123456789", 0)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real(fd, min(count, 4), at))

    assert disk.read_whole(descriptor, 1, 12) == b"123456789\0\0"


def test_a_hole_frees_its_space(descriptor):
    """Punching frees whole blocks, and the bytes read as zeros."""
    os.pwrite(descriptor, b"x" * 3 * 65536, 0)
    before = os.fstat(descriptor).st_blocks

    if not disk.punch_hole(descriptor, 65536, 131072):
        pytest.skip("the file system of the temporary directory has no holes")

    assert os.fstat(descriptor).st_blocks < before
    assert os.pread(descriptor, 65536, 65536) == bytes(65536)
    assert os.fstat(descriptor).st_size == 3 * 65536


def test_a_hole_in_no_file_is_refused():
    """A failing call says so instead of raising."""
    assert not disk.punch_hole(-1, 0, 10)


def test_a_machine_without_boot_ids_has_an_empty_one(monkeypatch):
    """Where the kernel does not name its start, every start looks the same."""
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))

    assert disk.boot_id.__wrapped__() == ""


def test_the_least_used_descriptor_is_closed_first(tmp_path: Path):
    """A descriptor used again stays; reopening an older file closes another."""
    descriptors = Descriptors(capacity=2)
    flags = os.O_RDWR | os.O_CREAT
    first = descriptors.get(str(tmp_path / "a"), flags)
    descriptors.get(str(tmp_path / "b"), flags)
    assert descriptors.get(str(tmp_path / "a"), flags) == first

    descriptors.get(str(tmp_path / "c"), flags)

    assert len(descriptors) == 2
    assert descriptors.get(str(tmp_path / "a"), flags) == first
    descriptors.close(str(tmp_path / "b"))
    descriptors.close_all()
    assert len(descriptors) == 0


def test_replacing_a_file_leaves_the_old_one_on_failure(tmp_path: Path, monkeypatch):
    """A private file is replaced as a whole or not at all."""
    path = tmp_path / "file"
    disk.write_private(path, b"old")
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)

    with pytest.raises(OSError, match="No space"):
        disk.write_private(path, b"new")

    assert path.read_bytes() == b"old"
