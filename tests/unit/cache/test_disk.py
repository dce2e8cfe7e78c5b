"""The Disk and the Index below the store: nothing is pickled, nothing leaves the directory."""

import errno
import os
import pickle
import random
import sqlite3
from pathlib import Path

import pytest

from azfilesfs.cache.disk import FLAW, Descriptor, Index, SealedDisk, Value, looks_sound
from azfilesfs.model.buffers import BufferPool
from azfilesfs.model.limits import MIB


class Bomb:
    """An object whose unpickling would be seen."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


@pytest.fixture
def disk(tmp_path: Path) -> SealedDisk:
    """A Disk in a directory of its own."""
    return SealedDisk(str(tmp_path), min_file_size=1024)


@pytest.mark.parametrize("key", [b"bytes", 5, 1.5, None, ("tuple",), Bomb()])
def test_foreign_keys_are_refused(disk, key):
    """Only text is a key, on the way in and on the way out."""
    with pytest.raises(TypeError):
        disk.put(key)
    with pytest.raises(TypeError):
        disk.get(key, True)


def test_pickled_key_is_refused(disk):
    """A key that the database marks as pickled is not looked into."""
    with pytest.raises(TypeError):
        disk.get(pickle.dumps(Bomb()), False)
    with pytest.raises(TypeError):
        disk.get("text", 0)
    assert not Bomb.exploded


@pytest.mark.parametrize("value", [b"bytes", "text", 5, bytearray(3), memoryview(b"x"), Bomb()])
def test_foreign_values_are_refused(disk, value):
    """Only sealed values are stored; nothing else is pickled instead."""
    with pytest.raises(TypeError):
        disk.store(value, False, key="k")
    with pytest.raises(TypeError):
        disk.store(value, True, key="k")


@pytest.mark.parametrize("mode", [0, 3, 4, 99, None, "2"])
def test_foreign_modes_are_flaws(disk, tmp_path, mode):
    """Rows of the modes text and pickle, and unknown ones, are misses and never unpickled."""
    name = "ab/cd/" + "0" * 28 + ".val"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Bomb()))

    assert disk.fetch(mode, name, None, False) is FLAW
    assert disk.fetch(mode, None, pickle.dumps(Bomb()), False) is FLAW
    assert not Bomb.exploded


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "ab/cd/../../../secret", "ab/cd/x.val", "", None, 5, b"x"],
)
def test_names_outside_are_neither_read_nor_removed(disk, tmp_path, name):
    """A row cannot point the cache at a file that is not one of its own."""
    secret = tmp_path.parent / "secret"
    secret.write_text("keep me")

    assert disk.fetch(2, name, None, False) is FLAW
    disk.remove(name)

    assert secret.read_text() == "keep me"


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink", "missing"])
def test_special_files_are_flaws(disk, tmp_path, kind):
    """What stands in for a value's file is not read, and does not block."""
    name = "ab/cd/" + "0" * 28 + ".val"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("/etc/hostname")

    assert disk.fetch(2, name, None, False) is FLAW


def large(data: bytes | memoryview) -> Value:
    """Return a value that needs a file."""
    return Value(b"header", 4096, data, is_small=False)


def test_value_is_written_at_once(disk, tmp_path, monkeypatch):
    """Bytes full of newlines go to the file in one call, the header in another."""
    calls = []
    real = os.pwritev

    def counted(descriptor: int, data: list[bytes], start: int) -> int:
        calls.append((start, sum(map(len, data))))
        return real(descriptor, data, start)

    monkeypatch.setattr(os, "pwritev", counted)

    size, mode, name, blob = disk.store(large(b"\n" * 100_000), False, key="k")

    assert (calls, mode, blob) == ([(4096, 100_000), (0, 6)], 2, None)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    opened = disk.fetch(mode, name, blob, False)
    assert isinstance(opened, Descriptor)
    assert os.pread(opened.number, 6, 0) == b"header"
    assert os.pread(opened.number, 200_000, 4096) == b"\n" * 100_000
    assert size == 100_006


@pytest.mark.parametrize("length", [MIB, MIB + 1, 3 * MIB - 4097, 4 * MIB])
@pytest.mark.parametrize("is_refused", [False, True])
def test_large_value_goes_past_the_page_cache(disk, tmp_path, monkeypatch, length, is_refused):
    """A large value is written directly where the disk can do that, and as others elsewhere."""
    flags: list[int] = []
    real = os.open

    def noted(path: str, how: int, mode: int = 0o777) -> int:
        flags.append(how & os.O_DIRECT)
        opened = real(path, how & ~os.O_DIRECT, mode)
        if is_refused and how & os.O_DIRECT:
            os.close(opened)
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened

    monkeypatch.setattr(os, "open", noted)
    data = random.Random(length).randbytes(length)
    for number in range(2):
        _, mode, name, blob = disk.store(large(data), False, key=str(number))
        opened = disk.fetch(mode, name, blob, False)
        assert os.pread(opened.number, 6, 0) == b"header"
        assert os.pread(opened.number, length, 4096) == data
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600

    assert [bool(each) for each in flags[:3]] == [True, False, not is_refused]


def test_whole_slab_is_written_from_where_it_is(disk, tmp_path, monkeypatch):
    """A buffer that begins at a page goes to the disk as it is, in one call with the header."""
    written: list[list[object]] = []
    real = os.pwritev

    def noted(descriptor: int, pieces: list[memoryview], start: int) -> int:
        written.append([piece.obj for piece in pieces])
        return real(descriptor, pieces, start)

    monkeypatch.setattr(os, "pwritev", noted)
    buffer = BufferPool(4 * MIB).lend()
    buffer[:] = random.Random(1).randbytes(4 * MIB)
    _, mode, name, blob = disk.store(large(buffer.toreadonly()), False, key="k")
    opened = disk.fetch(mode, name, blob, False)

    assert len(written) == 1
    assert written[0][1] is buffer.obj
    assert os.pread(opened.number, 4096, 0) == b"header" + bytes(4090)
    assert os.pread(opened.number, 5 * MIB, 4096) == buffer


@pytest.mark.parametrize("obstacle", ["none", "no O_DIRECT", "other alignment", "short"])
def test_whole_slab_is_read_past_the_page_cache(disk, monkeypatch, obstacle):
    """A buffer of whole pages is filled directly where the disk can do that; always with the bytes.

    Those that were written last may be in the page cache only, and the file may be removed already.
    """
    data = random.Random(2).randbytes(4 * MIB)
    _, mode, name, blob = disk.store(large(data), False, key="k")
    opened = disk.fetch(mode, name, blob, False)
    latest = random.Random(3).randbytes(4096)
    os.pwrite(opened.number, latest, 4096 + MIB)
    disk.remove(name)
    direct, read = obstruct(monkeypatch, opened.number, obstacle)

    area = BufferPool(4 * MIB).lend()
    assert opened.read_into(area, 4096) == 4 * MIB

    assert area == data[:MIB] + latest + data[MIB + 4096 :]
    assert len(direct) == 1
    assert [number == opened.number for number in read] == {
        "none": [False],
        "no O_DIRECT": [True],
    }.get(obstacle, [False, True])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(direct[0])


def obstruct(monkeypatch, kept: int, obstacle: str) -> tuple[list[int], list[int]]:
    """Let reading past the page cache fail; return which files are opened for it, and read."""
    direct: list[int] = []
    read: list[int] = []
    real_open, real_read = os.open, os.preadv

    def opening(path: str, how: int) -> int:
        assert how & os.O_DIRECT
        if obstacle == "no O_DIRECT":
            direct.append(-1)
            raise OSError(errno.EINVAL, "Invalid argument")
        # Not every disk that the tests run on can do it.
        direct.append(real_open(path, how & ~os.O_DIRECT))
        return direct[-1]

    def reading(number: int, areas: list[memoryview], start: int) -> int:
        read.append(number)
        if number != kept and obstacle == "other alignment":
            raise OSError(errno.EINVAL, "Invalid argument")
        if number != kept and obstacle == "short":
            return real_read(number, [areas[0][:4096]], start)
        return real_read(number, areas, start)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "preadv", reading)
    return direct, read


def test_other_reads_go_through_the_page_cache(disk, monkeypatch):
    """What is no whole buffer of the pool, or does not begin where a page does, is read as ever."""
    data = random.Random(4).randbytes(4 * MIB)
    _, mode, name, blob = disk.store(large(data), False, key="k")
    opened = disk.fetch(mode, name, blob, False)
    direct, _ = obstruct(monkeypatch, opened.number, "none")

    part = memoryview(bytearray(MIB))
    assert opened.read_into(part, 4096 + MIB) == MIB
    assert part == data[MIB : 2 * MIB]
    area = BufferPool(MIB).lend()
    assert opened.read_into(area, 4096 + 100) == MIB
    assert area == data[100 : MIB + 100]
    assert opened.read_into(area, 4096 + 4 * MIB - 5) == 5
    assert direct == []


def test_full_disk_is_no_reason_to_write_otherwise(disk, tmp_path, monkeypatch):
    """An error other than that O_DIRECT cannot be had is reported, and nothing is left."""

    def full(*_) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        disk.store(large(bytes(2 * MIB)), False, key="k")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_descriptor_is_closed_with_its_last_user(disk):
    """A descriptor that is given up is open as long as somebody holds it."""
    _, mode, name, blob = disk.store(large(b"x" * 5000), False, key="k")
    opened = disk.fetch(mode, name, blob, False)
    number, user = opened.number, opened
    del opened
    os.fstat(number)
    del user

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_small_value_goes_into_the_database(disk, tmp_path):
    """Values of small files need no file of their own."""
    value = Value(b"header", 6, b"abc", is_small=True)
    size, mode, name, blob = disk.store(value, False, key="k")

    assert (size, mode, name) == (0, 1, None)
    assert disk.fetch(mode, name, blob, False) == blob == b"headerabc"
    assert list(tmp_path.iterdir()) == []


def test_short_write_leaves_no_file(disk, tmp_path, monkeypatch):
    """A value that does not fit on the disk is an error, and its part is removed."""
    monkeypatch.setattr(os, "pwritev", lambda fd, data, start: os.write(fd, b"part"))

    with pytest.raises(OSError, match="cut short"):
        disk.store(large(b"x" * 5000), False, key="k")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_removing_the_last_value_removes_its_folders(disk, tmp_path):
    """Folders do not pile up, and the cache's own directory stays."""
    _, _, name, _ = disk.store(large(b"x" * 5000), False, key="k")

    disk.remove(name)

    assert list(tmp_path.iterdir()) == []


def tamper(directory: Path, *statements: str) -> None:
    """Change the database behind the cache's back."""
    connection = sqlite3.connect(directory / "cache.db")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_own_database_looks_sound(tmp_path):
    """A new directory and one with our database are accepted."""
    assert looks_sound(tmp_path)
    Index(tmp_path)
    assert looks_sound(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO Settings VALUES ('sqlite_temp_store_directory', '/')",
        "INSERT INTO Settings VALUES ('_disk', 5)",
        "UPDATE Settings SET value = 'many' WHERE key = 'size'",
        "CREATE VIEW other AS SELECT 1",
        "CREATE TRIGGER other AFTER INSERT ON Cache BEGIN SELECT 1; END",
        "DROP TABLE Settings",
    ],
)
def test_foreign_database_does_not(tmp_path, statement):
    """Settings, tables, views and triggers that are not ours are noticed."""
    Index(tmp_path)
    tamper(tmp_path, statement)

    assert not looks_sound(tmp_path)


@pytest.mark.parametrize("kind", ["text", "directory", "symlink"])
def test_something_else_in_the_databases_place(tmp_path, kind):
    """A file of another kind under the database's name is noticed."""
    path = tmp_path / "cache.db"
    if kind == "text":
        path.write_bytes(b"this is no database at all, only some text" * 100)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/etc/hostname")

    assert not looks_sound(tmp_path)


def test_settings_of_the_database_are_overruled(tmp_path):
    """A known setting with another value is replaced by ours when the index is opened."""
    Index(tmp_path)
    tamper(tmp_path, "UPDATE Settings SET value = 10 WHERE key = 'cull_limit'")

    index = Index(tmp_path)

    assert (index.cull_limit, index.eviction_policy) == (0, "least-recently-stored")
