"""Kept records, leftovers of dead owners, and who may own an area."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import disk, kept
from azfilesfs.vfs.disk import StagingInUse, UnsafeDirectory
from azfilesfs.vfs.journal import Acknowledgement, FileState, Origin, header_record
from azfilesfs.vfs.kept import Layout
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea
from tests.features import REPOSITORY

BASE = Validator(7, '"0x8DD"', 1000, 17)
LEFT = pytest.mark.expect_log("an earlier process left")


def open_area(state: Path):
    """Own the area of a state directory."""
    return StagingArea.open(state, 10**6, share="account/share")


def test_keeping_moves_everything_at_once(area: StagingArea, file: StagedFile, state: Path):
    """A kept file has left the live ones, and its record says what it is."""
    file.write(10, b"hello")
    file.truncate(500)

    record = file.keep("the remote file changed")

    assert list((state / "staging" / "live").iterdir()) == []
    assert area.kept() == [record]
    assert (area.used_bytes, len(area), file.dirty.total) == (0, 0, 0)
    assert record.data.read_bytes()[10:15] == b"hello"
    assert record.path == SharePath(("dir", "file"))
    assert (record.share, record.reason) == ("account/share", "the remote file changed")
    assert (record.base, record.base_limit, record.size) == (BASE, 500, 500)
    assert (record.dirty, record.dirty_bytes) == ((ByteRange(10, 15),), 5)
    assert (record.host, record.pid) == (socket.gethostname(), os.getpid())
    assert abs(record.kept_ns - time.time_ns()) < 60 * 10**9


def test_a_dead_object_writes_nowhere(area: StagingArea, file: StagedFile):
    """After keep, what is still called on the object fails and changes no record."""
    file.write(0, b"x")
    record = file.keep("why")

    with pytest.raises(FileNotFoundError):
        file.write(0, b"y")

    assert record.data.read_bytes() == b"x"
    assert area.used_bytes == 0


def test_records_are_listed_oldest_first(area: StagingArea):
    """The list is in the order of keeping."""
    made = []
    for number in range(5):
        file = area.create(SharePath((str(number),)), None, 0)
        file.write(0, b"x")
        made.append(file.keep("why"))

    assert area.kept() == made


def test_the_end_of_an_area_keeps_what_is_unsent(state: Path):
    """Leaving the area in order keeps unsent files with a reason and removes the others."""
    with open_area(state) as area:
        area.create(SharePath(("clean",)), BASE, 1000)
        area.create(SharePath(("dirty",)), BASE, 1000).write(0, b"x")

    with open_area(state) as area:
        (record,) = area.kept()
    assert record.path == SharePath(("dirty",))
    assert "mount ended" in record.reason
    assert list((state / "staging" / "live").iterdir()) == []


def test_an_unlinked_file_ends_with_its_process(state: Path):
    """Bytes of a file that was removed while it was open are neither kept nor recovered."""
    with open_area(state) as area:
        for forgotten in (False, True):
            file = area.create(SharePath(("gone",)), None, 0)
            file.write(0, b"x")
            file.unlink()
            assert file.read(ByteRange(0, 1)) == b"x"
            assert area.used_bytes == forgotten + 1
            if forgotten:
                area.forget(file)

    with open_area(state) as area:
        assert area.kept() == []
    assert list((state / "staging" / "live").iterdir()) == []


@LEFT
@pytest.mark.expect_log("could not keep", "without its reason")
def test_what_cannot_be_kept_at_the_end_stays_for_the_next_owner(state: Path, monkeypatch):
    """A refused rename at the end loses nothing."""
    with monkeypatch.context() as patch, open_area(state) as area:
        area.create(SharePath(("dirty",)), BASE, 1000).write(0, b"x")
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "broken")))

    with open_area(state) as area:
        (record,) = area.kept()
    assert record.path == SharePath(("dirty",))


@pytest.mark.expect_log("without its reason")
def test_a_full_disk_does_not_stop_keeping(area, file, monkeypatch):
    """Without room for the record the journal speaks, all but the reason."""
    file.write(0, b"x")
    real = disk.write_private

    def refuse(path: Path, content: bytes) -> None:
        if path.name == "record.json":
            raise OSError(28, "full")
        real(path, content)

    monkeypatch.setattr(kept, "write_private", refuse)
    record = file.keep("why")

    (found,) = area.kept()
    assert (found.id, found.path, found.dirty) == (record.id, record.path, record.dirty)
    assert "reason was not saved" in found.reason


@pytest.mark.expect_log("is damaged")
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"share": 1, "path": 2}', "\0"])
def test_a_damaged_record_is_read_from_its_journal(area, file, content):
    """A record.json that is no record costs the reason only."""
    file.write(0, b"x")
    record = file.keep("why")
    (record.directory / "record.json").write_text(content)

    (found,) = area.kept()

    assert found.dirty == record.dirty


def leave(state: Path, journal: bytes | None, data: bytes | None) -> Path:
    """Leave a file as a dead owner would have."""
    layout = Layout(state)
    layout.prepare()
    directory = layout.new_directory()
    if journal is not None:
        (directory / "journal").write_bytes(journal)
    if data is not None:
        (directory / "data").write_bytes(data)
    return directory


def header(base: Validator | None = BASE, boot: str | None = None) -> bytes:
    """Return the journal of a file just begun."""
    origin = Origin("a/s", "h", 1, disk.boot_id() if boot is None else boot, 5)
    size = base.size if base else 0
    return header_record(FileState(origin, SharePath(("p",)), base, size, size))


@pytest.mark.parametrize(
    ("journal", "data"),
    [(None, None), (b"", None), (header()[:-1], b""), (header(), None), (header(), b"unclaimed")],
)
def test_leftovers_without_unsent_bytes_are_removed(state, journal, data):
    """A file that was never promised anything leaves no record."""
    leave(state, journal, data)

    with open_area(state) as area:
        assert area.kept() == []
    assert list((state / "staging" / "live").iterdir()) == []


@LEFT
@pytest.mark.parametrize(
    ("journal", "data", "reason"),
    [
        (header(None), None, "ended before it was sent"),
        (header(None, "another boot"), None, "restarted since"),
        (header() + b"\x02\0\0\0\0wrong", b"x", "journal is damaged"),
        (b"", b"bytes", "cannot be read"),
        (b"\x01\0\0\0\0wrong", b"bytes", "cannot be read"),
    ],
)
def test_leftovers_that_may_matter_are_kept(state, journal, data, reason):
    """Unsent files, damaged journals and bytes of unknown origin become records that say so."""
    leave(state, journal, data)

    with open_area(state) as area:
        (record,) = area.kept()
        assert reason in record.reason
        assert kept.load(record.directory) == record
    if data == b"bytes":
        assert (record.path, record.dirty) == (SharePath.ROOT, (ByteRange(0, 5),))


@LEFT
def test_a_keep_cut_short_is_finished_with_its_own_reason(state: Path):
    """Dying between record and rename keeps the reason that was given."""
    with open_area(state) as area:
        file = area.create(SharePath(("p",)), None, 0)
        record = file.keep("conflict")
    record.directory.rename(state / "staging" / "live" / record.id)

    with open_area(state) as area:
        assert area.kept() == [record]


def test_a_removal_cut_short_is_finished(state: Path):
    """What an interrupted removal leaves is no record and goes with the next owner."""
    leave(state, header(None), b"x").rename(state / "staging" / "live" / "a.gone")
    leave(state, header(None), b"x").rename(state / "staging" / "kept" / "b.gone")
    assert kept.load_all(Layout(state)) == []

    with open_area(state) as area:
        assert area.kept() == []
    assert list((state / "staging" / "live").iterdir()) == []
    assert list((state / "staging" / "kept").iterdir()) == []


def test_records_of_no_area_are_none(state: Path):
    """A state directory in which no mount ever staged has no records."""
    assert kept.load_all(Layout(state)) == []
    assert kept.load(state / "staging" / "kept" / "nothing") is None


def test_a_record_directory_without_anything_is_no_record(area: StagingArea, state: Path):
    """An empty directory among the records is passed over."""
    (state / "staging" / "kept" / "empty").mkdir()

    assert area.kept() == []


def test_ids_are_unique_over_live_and_kept(state: Path, monkeypatch):
    """An id drawn twice is drawn again."""
    drawn = iter(["aa", "aa", "bb", "bb", "cc"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    with open_area(state) as area:
        first = area.create(SharePath(("p",)), None, 0)
        second = area.create(SharePath(("p",)), None, 0)
        assert (first.id, second.id) == ("aa", "bb")
        second.keep("why")
        assert area.create(SharePath(("p",)), None, 0).id == "cc"


def test_a_second_owner_is_refused(state: Path, area: StagingArea):
    """While one process owns the area another gets an error that names the owner."""
    with (
        pytest.raises(StagingInUse, match=f"in use by process {os.getpid()} on"),
        open_area(state),
    ):
        pass


def test_an_unreadable_owner_is_still_an_owner(state: Path, area: StagingArea):
    """A lock file that says nothing still refuses."""
    lock = state / "staging" / "lock"
    lock.write_text("?")

    with pytest.raises(StagingInUse, match="another process"), disk.owned(lock, patience=0.05):
        pass


def test_the_lock_ends_with_its_owner(state: Path):
    """An area can be owned again after its owner left."""
    with open_area(state):
        owner = json.loads((state / "staging" / "lock").read_text())
        assert owner["pid"] == os.getpid()
    with open_area(state) as area:
        assert area.kept() == []


def test_a_directory_that_is_a_link_is_refused(state: Path, tmp_path: Path):
    """A link where the staging directory should be is not followed."""
    (tmp_path / "elsewhere").mkdir(0o700)
    (state / "staging").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeDirectory, match="not a directory"), open_area(state):
        pass


def test_a_directory_open_to_others_is_refused(state: Path):
    """Unsent bytes are not put where other users can read or plant files."""
    (state / "staging").mkdir()
    (state / "staging").chmod(0o750)

    with pytest.raises(UnsafeDirectory, match="0700"), open_area(state):
        pass


def test_a_directory_of_another_owner_is_refused(state: Path, monkeypatch):
    """A directory that somebody else made is not used."""
    (state / "staging").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(UnsafeDirectory, match="belongs to user"), open_area(state):
        pass


def test_a_planted_link_is_not_followed(area: StagingArea, file: StagedFile, tmp_path: Path):
    """A link in place of the staging file is an error, and its target is not touched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(file._directory.data).symlink_to(victim)

    with pytest.raises(OSError, match="symbolic links"):
        file.write(0, b"x")

    assert victim.read_text() == "precious"


VICTIM = """
import os, sys
from pathlib import Path
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.staging import StagingArea

with StagingArea.open(Path(sys.argv[1]), 10**9, share="account/share") as area:
    file = area.create(SharePath(("dir", "big")), Validator(7, '"e"', 5000, 1), 5000)
    new = area.create(SharePath(("new",)), None, 0)
    for turn in range(100_000):
        file.write(turn * 8192, bytes([turn % 251]) * 4096)
        if turn == 20:
            file.mark_uploaded(ByteRange(0, 8192))
            file.drop_clean()
            file.relocate(SharePath(("dir", "renamed")))
            file.rebase(Validator(7, '"f"', 9000, 2))
        print(turn, flush=True)
"""


@LEFT
def test_kill_9_loses_nothing_that_was_acknowledged(state: Path):
    """After kill -9 in the middle of writing, the next owner finds each acknowledged byte."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, state], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(200)][-1]
    process.kill()
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.stdout.close()
    assert process.wait() == -9
    assert acknowledged < 99_999

    with open_area(state) as area:
        new, big = sorted(area.kept(), key=lambda record: record.size)

    assert (new.path, new.base, new.dirty) == (SharePath(("new",)), None, ())
    assert (big.path, big.base) == (SharePath(("dir", "renamed")), Validator(7, '"f"', 9000, 2))
    assert big.pid == process.pid
    starts = [extent.start // 8192 for extent in big.dirty]
    assert starts[: acknowledged + 1] == list(range(1, starts[-1] + 1))[: acknowledged + 1]
    assert acknowledged <= starts[-1] <= acknowledged + 1
    content = big.data.read_bytes()
    for extent in big.dirty:
        expected = bytes([extent.start // 8192 % 251]) * 4096
        assert content[extent.start : extent.stop] == expected


@LEFT
def test_a_machine_that_restarts_loses_no_promise(state: Path, monkeypatch: pytest.MonkeyPatch):
    """What a promise holds itself is put back where the data was not on the disk yet."""
    context = StagingArea.open(state, 65536, share="account/share")
    area = context.__enter__()
    file = area.create(SharePath(("f",)), None, 0)
    file.write(0, b"promised")
    file.acknowledge(Acknowledgement(5, 6, None))
    left = state / "staging" / "live" / file.id
    journal = (left / "journal").read_bytes()
    context.__exit__(None, None, None)

    (directory,) = (state / "staging" / "kept").iterdir()
    shutil.rmtree(directory)
    left.mkdir(0o700)
    (left / "journal").write_bytes(journal)
    (left / "data").write_bytes(b"prom")
    monkeypatch.setattr("azfilesfs.vfs.kept.boot_id", lambda: "another")
    with StagingArea.open(state, 65536, share="account/share") as again:
        (record,) = again.kept()
        assert record.data.read_bytes() == b"promised"
        assert record.acknowledged == Acknowledgement(5, 6, None)
        assert "restarted" in record.reason


@LEFT
def test_a_damaged_journal_promises_nothing(state: Path):
    """Where records are missing nobody knows what is."""
    with StagingArea.open(state, 65536, share="account/share") as area:
        file = area.create(SharePath(("f",)), None, 0)
        file.write(0, b"promised")
        file.acknowledge(Acknowledgement(5, 6, None))
        left = state / "staging" / "live" / file.id
        journal = (left / "journal").read_bytes() + b"\1\0\0\0\0wrong"
        copy = state / "copy"
        shutil.copytree(left, copy)
    for record_directory in (state / "staging" / "kept").iterdir():
        shutil.rmtree(record_directory)
    (copy / "journal").write_bytes(journal)
    copy.rename(left)
    with StagingArea.open(state, 65536, share="account/share") as again:
        (record,) = again.kept()
        assert record.acknowledged is None
