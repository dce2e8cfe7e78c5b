"""The disk tier: bounded, and indifferent to whatever happened to its files."""

import os
import pickle
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azfilesfs.cache import disk as disk_module
from azfilesfs.cache.blocks import BLOCK_BYTES, SLAB_BLOCKS, SLAB_BYTES, place_of
from azfilesfs.cache.store import DiskStore, Search, Source
from azfilesfs.cache.write_behind import Waiting
from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from tests.unit.cache.data import version
from tests.unit.cache.test_disk import Bomb, tamper

DAMAGED = "a value of the disk cache is damaged"


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., DiskStore]]:
    """Return a function that opens the same store again and again."""
    stores: list[DiskStore] = []

    def open_again(limit: int = 64 * MIB) -> DiskStore:
        while stores:
            stores.pop().close()
        stores.append(DiskStore.open(tmp_path / "c", limit))
        return stores[0]

    yield open_again
    for store in stores:
        store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store keeps its files."""
    return tmp_path / "c" / "blocks-3"


ALL = b"\1" * SLAB_BLOCKS


def waiting(validator: Validator, slab: int, *pieces: tuple[int, bytes]) -> Waiting:
    """Return blocks of a slab that wait for the disk."""
    made = Waiting(validator, slab, 0.0)
    for first, data in pieces:
        made.add(first, data)
    return made


def save(store: DiskStore, number: int, size: int = 100 * KIB) -> bytes:
    """Store a file of one slab and return its bytes."""
    data = random.Random(number).randbytes(size)
    store.write([waiting(version(number, size), 0, (0, data))])
    return data


def search(store: DiskStore, validator: Validator, slab: int, blocks: range) -> dict[int, bytes]:
    """Look for blocks of one version; return the runs that were found."""
    found = store.read([Search(slab, blocks, [Source(validator, ALL)])])
    assert all(each.slab == slab for each in found)
    return {each.first: bytes(each.data) for each in found}


def find(store: DiskStore, number: int, size: int = 100 * KIB) -> bytes | None:
    """Look for a file that ``save`` stored."""
    blocks = range(place_of(version(number, size), 0).blocks)
    return search(store, version(number, size), 0, blocks).get(0)


def value_file(folder: Path) -> Path:
    """Return the only value file."""
    (path,) = folder.glob("??/??/*.val")
    return path


def test_values_come_back(open_store):
    """Large values in files and small ones in the database are found, now and later."""
    store = open_store()
    large, small = save(store, 1), save(store, 2, 100)
    assert (find(store, 1), find(store, 2, 100), find(store, 3)) == (large, small, None)

    store = open_store()
    assert (find(store, 1), find(store, 2, 100)) == (large, small)
    assert store.failed_writes == 0


def test_the_limit_holds(open_store):
    """However sizes mix, the store stays below its limit and keeps the newest values."""
    store = open_store(4 * MIB)
    for number in range(300):
        save(store, number, 40 * KIB)
    for number in range(300, 320):
        save(store, number, MIB)
        assert store.used_bytes <= 4 * MIB

    assert find(store, 319, MIB) is not None
    store._slabs.clear()
    assert find(store, 300, MIB) is None


def test_a_lower_limit_is_enforced_at_the_next_mount(open_store):
    """A store that is larger than its new limit is cut when it is swept."""
    store = open_store()
    for number in range(30):
        save(store, number)
    store = open_store(MIB)
    store.sweep()

    assert 0 < store.used_bytes <= MIB
    assert find(store, 29) is not None


def test_value_larger_than_the_store_is_dropped(open_store):
    """A value that could never fit evicts nothing."""
    store = open_store(MIB)
    save(store, 1)
    save(store, 2, 2 * MIB)

    assert find(store, 1) is not None
    assert store.failed_writes == 1


def test_orphans_are_swept(open_store, folder):
    """Files that a crash left without a row go; young ones, rows' ones and foreign ones stay."""
    store = open_store()
    data = save(store, 1)
    old = folder / "aa" / "bb" / ("0" * 28 + ".val")
    young = folder / "aa" / "bb" / ("1" * 28 + ".val")
    foreign = folder / "aa" / "bb" / "notes.val"
    old.parent.mkdir(parents=True)
    for path in (old, young, foreign):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    os.utime(value_file_of_row(folder), (1, 1))

    store = open_store()
    store.sweep()

    assert [path.exists() for path in (old, young, foreign)] == [False, True, True]
    assert find(store, 1) == data


def value_file_of_row(folder: Path) -> Path:
    """Return the file of the only row."""
    connection = sqlite3.connect(folder / "cache.db")
    ((name,),) = connection.execute("SELECT filename FROM Cache").fetchall()
    connection.close()
    return folder / name


def test_sweep_can_be_stopped(open_store, folder):
    """A shutdown does not wait for the sweep of a large directory."""
    store = open_store()
    orphan = folder / "aa" / "bb" / ("0" * 28 + ".val")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    os.utime(orphan, (1, 1))

    store.stop()
    store.sweep()

    assert orphan.exists()


def test_counters_are_set_right(open_store, folder):
    """Wrong counters in the database neither empty the store nor let it grow."""
    store = open_store(4 * MIB)
    data = save(store, 1)
    tamper(folder, f"UPDATE Settings SET value = {2**40} WHERE key = 'size'")

    store = open_store(4 * MIB)
    store.sweep()
    save(store, 2)

    assert find(store, 1) == data
    assert store.used_bytes < MIB


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def remove(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.expect_log(DAMAGED)
@pytest.mark.parametrize(
    "harm",
    [empty, cut, zero, flip, pickled, remove, directory, fifo, link],
    ids=lambda f: f.__name__,
)
def test_damaged_value_is_a_miss_and_removed(open_store, folder, harm):
    """Whatever stands in a value's file: no bytes of it are believed, nothing of it is run."""
    store = open_store()
    save(store, 1)
    harm(value_file(folder))
    store = open_store()

    assert find(store, 1) is None
    assert find(store, 1) is None
    assert store.damaged == 1
    assert not Bomb.exploded

    data = save(store, 1)
    assert find(store, 1) == data


@pytest.mark.expect_log(DAMAGED)
@pytest.mark.parametrize(
    "change",
    [
        "mode = 4",
        "mode = 3",
        "mode = 1",
        "filename = '../../../../etc/hostname'",
        "filename = NULL",
        "mode = 1, value = x'80049503'",
        "mode = 'two'",
    ],
)
def test_hostile_row_is_a_miss(open_store, folder, change):
    """A row that points elsewhere, or claims to be pickled, is removed unread."""
    store = open_store()
    save(store, 1)
    tamper(folder, f"UPDATE Cache SET {change}")
    store = open_store()

    assert find(store, 1) is None
    assert store.damaged == 1
    assert Path("/etc/hostname").exists() or not Path("/etc").exists()


@pytest.mark.expect_log(DAMAGED)
def test_value_of_another_version_is_a_miss(open_store, folder):
    """A row whose file belongs to another key is not believed."""
    store = open_store()
    save(store, 1)
    save(store, 2)
    key = place_of(version(2, 100 * KIB), 0).key
    tamper(folder, f"DELETE FROM Cache WHERE key != '{key}'")
    wanted = place_of(version(1, 100 * KIB), 0).key
    tamper(folder, f"UPDATE Cache SET key = '{wanted}'")
    store = open_store()

    assert find(store, 1) is None


@pytest.mark.expect_log("damaged and is made anew")
@pytest.mark.parametrize("kind", ["garbage", "foreign settings", "directory", "no tables"])
def test_damaged_database_is_made_anew_at_open(open_store, folder, kind):
    """A database that is none, or not ours, is replaced together with its values."""
    save(open_store(), 1)
    open_store().close()
    database = folder / "cache.db"
    if kind == "garbage":
        database.write_bytes(random.Random(1).randbytes(50_000))
    elif kind == "foreign settings":
        tamper(folder, "INSERT INTO Settings VALUES ('_disk', 1)")
    elif kind == "directory":
        database.unlink()
        database.mkdir()
    else:
        tamper(folder, "DROP TABLE Settings")

    store = open_store()
    data = save(store, 2)

    assert (find(store, 1), find(store, 2)) == (None, data)
    assert len(list(folder.glob("??/??/*.val"))) == 1


@pytest.mark.expect_log("off until the next mount")
def test_database_damaged_at_run_time_is_given_up(open_store, folder):
    """A store whose tables vanish goes on as one that has nothing; the next mount starts anew."""
    store = open_store()
    save(store, 1)
    store = open_store()
    tamper(folder, "DROP TABLE Cache")

    assert find(store, 1) is None
    save(store, 2)
    assert find(store, 2) is None
    assert store.failed_writes == 1

    store = open_store()
    data = save(store, 3)
    assert find(store, 3) == data


@pytest.mark.expect_log("the disk cache failed")
def test_full_disk_drops_values(open_store, monkeypatch):
    """When the disk is full values are dropped with one warning, and come back when it is not."""
    store = open_store()
    real = os.pwritev

    def full(*_) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    for number in range(3):
        save(store, number)
    assert store.failed_writes == 3
    assert find(store, 1) is None

    monkeypatch.setattr(os, "pwritev", real)
    data = save(store, 1)
    assert find(store, 1) == data


@pytest.mark.expect_log("the disk cache failed")
def test_locked_database_drops_values(open_store, folder, monkeypatch):
    """While another process holds the database, writes are dropped and reads go on."""
    monkeypatch.setattr(disk_module, "_BUSY_SECONDS", 0.01)
    store = open_store()
    data = save(store, 1)
    other = sqlite3.connect(folder / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    save(store, 2)
    assert (find(store, 1), find(store, 2)) == (data, None)
    other.execute("ROLLBACK")
    other.close()
    save(store, 2)

    assert find(store, 2) is not None
    assert store.failed_writes == 1


@given(seed=st.integers(0, 2**32))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.expect_log("damaged|failed")
def test_random_damage_never_gives_wrong_bytes(tmp_path, seed):
    """Random bytes written anywhere into the cache's files give misses or the right bytes."""
    chance = random.Random(seed)
    place = tmp_path / "d"
    shutil.rmtree(place, ignore_errors=True)
    store = DiskStore.open(place, 64 * MIB)
    saved = {(number, size): save(store, number, size) for number, size in ((1, 50_000), (2, 99))}
    store.close()
    files = sorted(path for path in place.rglob("*") if path.is_file())
    for _ in range(chance.randint(1, 4)):
        with chance.choice(files).open("r+b") as file:
            file.seek(chance.randrange(os.fstat(file.fileno()).st_size))
            file.write(chance.randbytes(chance.randint(1, 100)))

    store = DiskStore.open(place, 64 * MIB)
    store.sweep()
    for (number, size), original in saved.items():
        assert find(store, number, size) in {None, original}
    save(store, 3)
    store.close()


def test_random_blocks_share_one_file(open_store, folder):
    """Blocks of a slab that come one by one go into one sparse file, and are counted."""
    one = version(1, SLAB_BYTES + 10)
    data = random.Random(1).randbytes(SLAB_BYTES)
    store = open_store()
    for first in (7, 200, 8, 0):
        piece = data[first * BLOCK_BYTES : (first + 1) * BLOCK_BYTES]
        store.write([waiting(one, 0, (first, piece))])
    assert value_file(folder).stat().st_blocks * 512 < 20 * BLOCK_BYTES

    store = open_store()
    store.sweep()
    found = search(store, one, 0, range(SLAB_BLOCKS))
    assert found == {
        0: data[:BLOCK_BYTES],
        7: data[7 * BLOCK_BYTES : 9 * BLOCK_BYTES],
        200: data[200 * BLOCK_BYTES : 201 * BLOCK_BYTES],
    }
    assert 4 * BLOCK_BYTES < store.used_bytes < 4 * BLOCK_BYTES + 100 * KIB
    assert store.may_have(one, 0, range(5, 8))
    assert not store.may_have(one, 0, range(9, 200))
    assert not store.may_have(one, 1, range(1))


def test_a_batch_is_one_transaction(open_store, folder, monkeypatch):
    """However many slabs have gathered, the database is changed once."""
    store = open_store()
    save(store, 1)
    statements: list[str] = []
    with store._session():
        store._index._con.set_trace_callback(statements.append)
    batch = [waiting(version(number, 100), 0, (0, bytes(100))) for number in range(50)]
    store.write(batch)

    assert sum(each.startswith("COMMIT") for each in statements) == 1
    assert find(store, 49, 100) == bytes(100)


def test_what_is_read_is_evicted_last(open_store):
    """A slab that is open stays although it is the oldest; the next oldest goes."""
    store = open_store(4 * MIB)
    data = save(store, 0, MIB)
    for number in range(1, 3):
        save(store, number, MIB)
    store._slabs.clear()
    assert find(store, 0, MIB) == data
    for number in range(3, 6):
        save(store, number, MIB)
        for other in range(3, 6):
            store._slabs.discard(place_of(version(other, MIB), 0).key)

    assert find(store, 0, MIB) == data
    assert find(store, 1, MIB) is None


def test_evicted_slab_that_is_being_read_is_read_to_its_end(open_store):
    """Whoever holds an open slab has its bytes, whatever becomes of the file's name."""
    store = open_store(4 * MIB)
    data = save(store, 0, MIB)
    slab = store._slabs.get(place_of(version(0, MIB), 0).key)
    for number in range(1, 8):
        save(store, number, MIB)

    assert find(store, 0, MIB) is None
    assert slab.read(range(slab.place.blocks)) == data


def test_the_disk_is_never_filled(open_store, monkeypatch):
    """A part of the disk stays free for others, at the cost of what is cached."""
    store = open_store()
    saved = [save(store, number, MIB) for number in range(3)]
    real = os.statvfs(".")
    free = [real.f_blocks // 20 + 3 * MIB // real.f_frsize]

    def statvfs(_):
        return os.statvfs_result((*real[:3], free[0], free[0], *real[5:]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    store = open_store()
    saved.append(save(store, 3, MIB))
    assert [find(store, number, MIB) for number in range(4)] == saved

    free[0] -= 3 * MIB // real.f_frsize
    save(store, 4, MIB)
    assert [find(store, number, MIB) for number in range(5)] == [None] * 5
    assert store.failed_writes == 1


@pytest.mark.expect_log(DAMAGED)
def test_a_file_cut_under_an_open_slab_is_noticed(open_store, folder):
    """What was verified is not verified again, but bytes that are gone are a miss."""
    store = open_store()
    save(store, 1)
    cut(value_file(folder))

    assert store.read_nowait(version(1, 100 * KIB), 0, ByteRange(50_000, 60_000)) is None
    assert find(store, 1) is None
    assert store.damaged == 1


@pytest.mark.parametrize("name", ["blocks-1", "blocks-2"])
def test_former_layouts_go(open_store, folder, name):
    """What an earlier version of the program stored is removed, it would count nowhere."""
    former = folder.parent / name / "aa"
    former.mkdir(parents=True)
    (former / "x.val").write_bytes(b"x")
    folder.parent.chmod(0o700)

    open_store().sweep()

    assert sorted(path.name for path in folder.parent.iterdir()) == ["blocks-3"]


def test_start_reads_no_slab(open_store, monkeypatch):
    """Opening and asking for one file's blocks take a few queries, whatever the number of slabs."""
    store = open_store()
    store.write([waiting(version(number, 100), 0, (0, bytes(100))) for number in range(3000)])
    store = open_store()
    rows: list[object] = []
    real = store._index.connect

    def noted(_: sqlite3.Cursor, row: tuple[object, ...]) -> tuple[object, ...]:
        rows.append(row)
        return row

    def connect() -> sqlite3.Connection:
        connection = real()
        connection.row_factory = noted
        return connection

    monkeypatch.setattr(store._index, "connect", connect)
    assert find(store, 2999, 100) == bytes(100)
    assert len(rows) < 10
