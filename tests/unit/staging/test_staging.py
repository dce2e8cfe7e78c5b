"""What a staged file does while its owner lives."""

import errno
import os
from pathlib import Path

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import disk
from azfilesfs.vfs.journal import replay
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea

BASE = Validator(7, '"0x8DD"', 1000, 17)


def extents(ranges) -> list[tuple[int, int]]:
    """Return extents as plain pairs."""
    return [tuple(extent) for extent in ranges]


def replayed(state: Path, file: StagedFile):
    """Return what the journal of a live file says now."""
    return replay((state / "staging" / "live" / file.id / "journal").read_bytes()).state


def test_a_write_is_dirty_and_present_and_grows_the_file(area: StagingArea, file: StagedFile):
    """Written bytes are read back, count as dirty, and move the end where they pass it."""
    file.write(990, b"x" * 20)
    file.write(10, bytearray(b"abc"))
    file.write(13, memoryview(b"def"))

    assert extents(file.dirty) == [(10, 16), (990, 1010)]
    assert file.present == file.dirty
    assert file.size == 1010
    assert file.read(ByteRange(10, 16)) == b"abcdef"
    assert area.used_bytes == 26
    assert (file.base_limit, file.base, file.path) == (1000, BASE, SharePath(("dir", "file")))


def test_reading_past_the_staged_bytes_gives_zeros(file: StagedFile):
    """A read reaches over holes and the end of the staging file."""
    file.write(5, b"x")

    assert file.read(ByteRange(4, 8)) == b"\0x\0\0"
    assert file.read(ByteRange(100, 103)) == b"\0\0\0"


def test_an_empty_write_changes_nothing(area: StagingArea, file: StagedFile):
    """No byte, no extent, no growth."""
    file.write(5000, b"")

    assert (file.size, area.used_bytes, bool(file.dirty)) == (1000, 0, False)


def test_rewriting_dirty_bytes_writes_no_record(file: StagedFile):
    """A write inside a dirty extent costs the journal nothing."""
    file.write(0, b"x" * 100)
    length = file._journal.length

    file.write(10, b"y" * 50)

    assert file._journal.length == length
    assert file.read(ByteRange(0, 100)) == b"x" * 10 + b"y" * 50 + b"x" * 40


def test_uploaded_bytes_stay_present_until_dropped(area: StagingArea, file: StagedFile):
    """After an upload the bytes are clean and readable; dropping them frees their space."""
    file.write(0, b"x" * 8192)
    file.write(20000, b"y" * 100)
    blocks = os.stat(file._directory.data).st_blocks

    file.mark_uploaded(ByteRange(0, 8192))
    assert extents(file.dirty) == [(20000, 20100)]
    assert file.present.covers(ByteRange(0, 8192))
    assert area.used_bytes == 100
    assert file.read(ByteRange(0, 3)) == b"xxx"

    file.drop_clean()
    assert extents(file.present) == [(20000, 20100)]
    assert file.read(ByteRange(0, 3)) == b"\0\0\0"
    assert file.read(ByteRange(20000, 20100)) == b"y" * 100
    assert os.stat(file._directory.data).st_blocks < blocks


def test_dropping_by_and_by(file: StagedFile):
    """A bound frees the first clean bytes only; the rest stays readable until its turn."""
    file.write(0, b"x" * 8192)
    file.write(20000, b"y" * 8192)
    file.mark_uploaded(ByteRange(0, 4096))
    file.mark_uploaded(ByteRange(20000, 28192))

    file.drop_clean(6000)
    assert extents(file.present) == [(4096, 8192), (20000 + 6000 - 4096, 28192)]
    assert extents(file.dirty) == [(4096, 8192)]
    assert file.read(ByteRange(28000, 28192)) == b"y" * 192

    file.drop_clean(8192)
    assert extents(file.present) == [(4096, 8192)]
    file.mark_uploaded(ByteRange(4096, 8192))
    file.drop_clean(4096)
    assert not file.present
    assert os.stat(file._directory.data).st_size == 0


def test_dropping_works_where_holes_cannot_be_punched(file: StagedFile, monkeypatch):
    """Without holes the bytes are dropped from the maps, and the space is freed with the last."""
    monkeypatch.setattr(disk, "_libc", object)
    file.write(0, b"x" * 8192)
    file.write(20000, b"y" * 100)

    file.mark_uploaded(ByteRange(0, 8192))
    file.drop_clean()
    assert extents(file.present) == [(20000, 20100)]

    file.mark_uploaded(ByteRange(0, 30000))
    file.drop_clean()
    assert not file.present
    assert os.stat(file._directory.data).st_size == 0


def test_dropping_nothing_is_nothing(file: StagedFile):
    """A file with dirty bytes only keeps them all."""
    file.write(0, b"x")

    file.drop_clean()

    assert file.read(ByteRange(0, 1)) == b"x"


def test_truncating_cuts_and_remembers_how_low(area: StagingArea, file: StagedFile):
    """Bytes past the new end are gone for good: growing again uncovers zeros, not the base."""
    file.write(0, b"x" * 2000)
    file.mark_uploaded(ByteRange(0, 500))

    file.truncate(700)
    file.truncate(3000)

    assert extents(file.dirty) == [(500, 700)]
    assert extents(file.present) == [(0, 700)]
    assert (file.size, file.base_limit) == (3000, 700)
    assert file.read(ByteRange(690, 710)) == b"x" * 10 + b"\0" * 10
    assert area.used_bytes == 200


def test_rebase_says_how_much_of_the_new_base_belongs_to_the_file(file: StagedFile, state: Path):
    """By default the whole new version belongs to the file, as far as the local size reaches."""
    newer = BASE._replace(etag='"0x8DE"', size=600)
    file.truncate(500)

    file.rebase(newer)
    assert (file.base, file.base_limit) == (newer, 500)

    file.rebase(newer, 300)
    assert file.base_limit == 300
    assert replayed(state, file).base_limit == 300

    file.rebase(None)
    assert (file.base, file.base_limit) == (None, 0)


def test_unsent_is_whatever_the_service_lacks(area: StagingArea, file: StagedFile):
    """Dirty bytes, another size, a cut that was undone locally, and a file that does not exist."""
    assert not file.is_unsent
    file.write(0, b"x")
    assert file.is_unsent
    file.mark_uploaded(ByteRange(0, 1))
    assert not file.is_unsent
    file.truncate(10)
    file.truncate(1000)
    assert file.is_unsent
    file.rebase(BASE)
    assert not file.is_unsent
    assert area.create(SharePath(("new",)), None, 0).is_unsent


def test_the_limit_refuses_without_changing_anything(area: StagingArea, file: StagedFile):
    """Over the area's limit a write fails with ENOSPC; overwriting dirty bytes needs no room."""
    file.write(0, b"x" * 65536)

    with pytest.raises(OSError, match="full") as caught:
        file.write(65530, b"y" * 20)

    assert caught.value.errno == errno.ENOSPC
    assert (file.size, area.used_bytes) == (65536, 65536)
    assert file.read(ByteRange(65530, 65536)) == b"x" * 6
    file.write(65530, b"y" * 6)
    assert file.read(ByteRange(65530, 65536)) == b"y" * 6


def test_room_is_shared_and_given_back(area: StagingArea, file: StagedFile):
    """The limit counts the dirty bytes of all files; uploads, cuts and ends give room back."""
    other = area.create(SharePath(("other",)), None, 0)
    other.write(0, b"x" * 65000)
    with pytest.raises(OSError, match="full"):
        file.write(0, b"y" * 1000)

    other.mark_uploaded(ByteRange(0, 1000))
    file.write(0, b"y" * 1000)
    other.truncate(2000)
    assert area.used_bytes == 2000
    other.discard()
    file.discard()
    assert (area.used_bytes, len(area)) == (0, 0)


@pytest.mark.parametrize(("data_room", "journal_room"), [(0, 999), (30, 999), (999, 0), (999, 10)])
def test_a_full_disk_changes_nothing(state, area, file, full_disk, data_room, journal_room):
    """Wherever the disk is full in a write, dirty, size and the older dirty bytes are as before."""
    file.write(100, b"x" * 10)
    before = replayed(state, file)

    with full_disk(data_room, journal_room), pytest.raises(OSError, match="space"):
        file.write(90, b"y" * 50)

    assert extents(file.dirty) == extents(file.present) == [(100, 110)]
    assert (file.size, area.used_bytes) == (1000, 10)
    assert file.read(ByteRange(100, 110)) == b"x" * 10
    assert replayed(state, file) == before
    file.write(90, b"y" * 50)
    assert replayed(state, file).dirty == file.dirty


def test_a_disk_that_fails_under_dirty_bytes_is_reported(state, file, full_disk):
    """A failure after the record is taken back: nothing new is dirty, in the journal neither."""
    file.write(100, b"x" * 10)

    with full_disk(45, 999), pytest.raises(OSError, match="space"):
        file.write(90, b"y" * 50)

    assert extents(file.dirty) == [(100, 110)]
    file.write(0, b"z")
    assert extents(replayed(state, file).dirty) == [(0, 1), (100, 110)]
    assert replayed(state, file).size == 1000


@pytest.mark.expect_log("cannot be written now")
def test_facts_are_taken_over_on_a_full_disk_and_recorded_later(state, file, full_disk):
    """Uploads, renames and new bases have happened: they never fail, and the journal catches up."""
    newer = BASE._replace(etag='"0x8DE"')
    file.write(0, b"x" * 100)
    with full_disk(0, 0):
        file.mark_uploaded(ByteRange(0, 50))
        file.relocate(SharePath(("moved",)))
        file.rebase(newer)
        with pytest.raises(OSError, match="space"):
            file.truncate(10)

    assert (file.size, file.path, file.base) == (1000, SharePath(("moved",)), newer)
    assert replayed(state, file).path == SharePath(("dir", "file"))

    file.truncate(900)

    after = replayed(state, file)
    assert (after.path, after.base, after.size) == (SharePath(("moved",)), newer, 900)
    assert extents(after.dirty) == [(50, 100)]


def test_a_file_that_cannot_begin_leaves_nothing(state, area, full_disk):
    """Where not even the header fits, create fails and its directory is gone."""
    with full_disk(0, 0), pytest.raises(OSError, match="space"):
        area.create(SharePath(("a",)), None, 0)

    assert list((state / "staging" / "live").iterdir()) == []
    assert len(area) == 0


def test_the_journal_stays_short(area: StagingArea, file: StagedFile):
    """Many changes of few bytes are compacted; what the journal says stays the same."""
    for turn in range(3000):
        file.write(turn % 50, b"x")
        file.mark_uploaded(ByteRange(0, 60))
    file.write(5, b"y")

    assert file._journal.length < 128 * 1024
    assert extents(file.dirty) == [(5, 6)]


def test_a_full_disk_puts_compaction_off(state, file, full_disk):
    """A journal that cannot be rewritten grows on."""
    with full_disk(0, 10**6):
        for turn in range(2000):
            file.truncate(1000 + turn)
            file.truncate(1000)

    assert file._journal.length > 64 * 1024
    assert replayed(state, file).size == 1000


def test_many_files_need_few_descriptors(state: Path):
    """Files beyond the bound on open descriptors are reopened, and lose nothing by it."""
    with StagingArea.open(state, 10**6, share="a/s") as area:
        files = [area.create(SharePath((str(n),)), None, 0) for n in range(200)]
        for turn in range(2):
            for number, file in enumerate(files):
                file.write(turn * 10, b"%d" % number)
        assert len(area.descriptors) <= 256
        for number, file in enumerate(files):
            text = b"%d" % number
            assert file.read(ByteRange(10, 10 + len(text))) == text
            file.discard()
        assert len(area.descriptors) == 0


def test_everything_is_private(state: Path, area: StagingArea, file: StagedFile):
    """Directories are 0700 and files 0600, whatever the umask."""
    file.write(0, b"x")
    record = file.keep("why")
    root = state / "staging"

    for directory in (root, root / "live", root / "kept", record.directory):
        assert directory.stat().st_mode & 0o777 == 0o700
    for path in (root / "lock", *record.directory.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600


def test_discard_removes_everything(state: Path, area: StagingArea, file: StagedFile):
    """Nothing of a discarded file is left on disk or counted."""
    file.write(0, b"x" * 10)

    file.discard()

    assert list((state / "staging" / "live").iterdir()) == []
    assert (area.used_bytes, area.kept()) == (0, [])


@pytest.mark.expect_log("could not remove")
def test_a_removal_that_fails_is_logged(area: StagingArea, file: StagedFile, monkeypatch):
    """Discarding never raises."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Path, "rename", refuse)

    file.discard()

    assert len(area) == 0


def test_the_representation_tells_the_state(file: StagedFile):
    """A staged file in a log line shows its id, its size and how much is dirty."""
    file.write(0, b"abc")

    assert repr(file) == f"<StagedFile {file.id} size=1000 dirty=3>"


def live(state: Path) -> list[str]:
    """Return the names of the live directories."""
    return sorted(path.name for path in (state / "staging" / "live").iterdir())


def finish(file: StagedFile) -> None:
    """Send all of a file and end it."""
    file.mark_uploaded(ByteRange(0, file.size))
    file.rebase(BASE._replace(size=file.size))
    file.discard()


def test_the_directory_of_a_sent_file_is_used_again(area: StagingArea, state: Path):
    """The next file finds it empty, and nothing of the former one in its journal."""
    first = area.create(SharePath(("a",)), None, 0)
    first.write(0, b"x" * 5000)
    finish(first)

    second = area.create(SharePath(("b",)), None, 0)
    second.write(10, b"y")

    assert (second.id, live(state)) == (first.id, [first.id])
    assert second.read(ByteRange(0, 12)) == b"\0" * 10 + b"y\0"
    now = replayed(state, second)
    assert (now.path, extents(now.dirty), now.base) == (SharePath(("b",)), [(10, 11)], None)


def test_journals_of_many_files_do_not_add_up(area: StagingArea, state: Path):
    """A journal that has become long is begun anew with the next file."""
    for _ in range(400):
        file = area.create(SharePath(("a",)), None, 0)
        file.write(0, b"x")
        finish(file)

    (name,) = live(state)
    assert (state / "staging" / "live" / name / "journal").stat().st_size < 70_000


def test_the_directory_of_an_unsent_file_is_removed(area: StagingArea, state: Path):
    """What is thrown away unsent must not be found after a crash."""
    file = area.create(SharePath(("a",)), None, 0)
    file.write(0, b"x")

    file.discard()

    assert live(state) == []


@pytest.mark.expect_log("cannot be written now")
def test_a_journal_that_is_behind_is_not_gone_on_with(area: StagingArea, state: Path, full_disk):
    """Where the disk was too full to note the upload, the old journal would say that it is due."""
    file = area.create(SharePath(("a",)), None, 0)
    file.write(0, b"x")
    with full_disk(0, 0):
        finish(file)

    assert live(state) == []


def test_a_directory_that_cannot_be_emptied_is_removed(
    area: StagingArea, file: StagedFile, state: Path, monkeypatch: pytest.MonkeyPatch
):
    """Bytes of one file must not be found under another."""
    file.write(0, b"x" * 1000)
    file.mark_uploaded(ByteRange(0, 1000))

    def refuse(descriptor: int, length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "ftruncate", refuse)
    file.discard()

    assert live(state) == []


def test_few_empty_directories_wait(area: StagingArea, state: Path):
    """After many files at once most directories are removed, and all of them at the end."""
    files = [area.create(SharePath((str(number),)), BASE, 1000) for number in range(100)]
    for file in files:
        file.discard()

    assert len(live(state)) == 64


def test_no_empty_directory_outlives_the_area(state: Path):
    """At the end nothing is left of files that were sent."""
    with StagingArea.open(state, 65536, share="a/s") as area:
        area.create(SharePath(("a",)), BASE, 1000).discard()
        assert len(live(state)) == 1

    assert live(state) == []


def test_names_are_synced_once(area: StagingArea, state: Path):
    """The first promise in a directory waits for its names as well, the next for the journal alone,
    unless the journal was replaced meanwhile.
    """
    file = area.create(SharePath(("a",)), None, 0)
    file.write(0, b"x")
    directory = state / "staging" / "live" / file.id
    everything = (directory / "journal", directory, directory.parent)
    assert file.journal_to_sync() == everything

    file.journal_synced()
    assert file.journal_to_sync() == everything[:1]

    finish(file)
    file = area.create(SharePath(("b",)), None, 0)
    assert file.journal_to_sync() == everything[:1]

    file._journal.rewrite()
    assert file.journal_to_sync() == everything


def test_names_are_synced_again_where_there_was_no_data_yet(area: StagingArea):
    """A promise of an empty file does not cover the name of a data file that comes later."""
    file = area.create(SharePath(("a",)), None, 0)
    count = len(file.journal_to_sync())
    file.journal_synced()
    file.write(0, b"x")

    assert len(file.journal_to_sync()) == count == 3
