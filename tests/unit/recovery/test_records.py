"""Finding kept records, and having one to oneself."""

from pathlib import Path

import pytest

from azfilesfs.errors import IntegrityError
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs import recovery
from azfilesfs.vfs.disk import UnsafeDirectory
from azfilesfs.vfs.kept import KeptRecord, Layout
from azfilesfs.vfs.recovery import NoSuchRecord, RecordBusy
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea


def kept_in(state: Path, name: str = "p") -> KeptRecord:
    """Keep a file of three dirty bytes in a state directory."""
    state.mkdir(parents=True, exist_ok=True)
    with StagingArea.open(state, 10**6, share="a/s") as area:
        file = area.create(SharePath((name,)), None, 0)
        file.write(5, b"abc")
        return file.keep("why")


def test_areas_are_found_at_and_below_a_directory(tmp_path: Path):
    """One mount's directory, the directory of all, and an absent one are all right to search in."""
    one, two = tmp_path / "one", tmp_path / "mounts" / "two"
    kept_in(one)
    kept_in(two)
    (tmp_path / "other").mkdir()

    places = [tmp_path, one, tmp_path / "absent"]

    assert [layout.root for layout in recovery.find_layouts(places)] == [
        one / "staging",
        two / "staging",
    ]
    assert [layout.root for layout in recovery.find_layouts([two])] == [two / "staging"]


def test_a_linked_area_is_not_followed(tmp_path: Path):
    """A link with the name of a staging area leads nowhere."""
    kept_in(tmp_path / "one")
    (tmp_path / "all" / "two").mkdir(parents=True)
    (tmp_path / "all" / "two" / "staging").symlink_to(tmp_path / "one" / "staging")

    assert recovery.find_layouts([tmp_path / "all"]) == []


def test_an_area_open_to_others_is_refused(state: Path):
    """Records that another user could have planted are not shown."""
    kept_in(state)
    (state / "staging").chmod(0o755)

    with pytest.raises(UnsafeDirectory):
        recovery.collect(Layout(state))


def test_live_files_are_left_alone(state: Path):
    """While a mount lives its kept records are listed, its live files are not touched."""
    record = kept_in(state)
    with StagingArea.open(state, 10**6, share="a/s") as area:
        file = area.create(SharePath(("live",)), None, 0)
        file.write(0, b"x")

        assert recovery.collect(Layout(state)) == [record]

        assert file.read(ByteRange(0, 1)) == b"x"
        file.discard()


def abandon(area: StagingArea) -> StagedFile:
    """Stage a file and have its owner forget it, as a killed one does."""
    file = area.create(SharePath(("left",)), None, 0)
    file.write(0, b"x")
    area.forget(file)
    return file


def test_leftovers_of_a_dead_owner_are_records(state: Path):
    """What a killed mount left is listed without mounting again."""
    with StagingArea.open(state, 10**6, share="a/s") as area:
        abandon(area)

    (record,) = recovery.collect(Layout(state))

    assert record.path == SharePath(("left",))


def test_a_record_is_found_by_the_beginning_of_its_id(state: Path):
    """An id may be shortened while only one record fits."""
    records = [kept_in(state) for _ in range(3)]

    for record in records:
        assert recovery.find(records, record.id) == record
        assert recovery.find([record], record.id[:1]) == record
    with pytest.raises(NoSuchRecord, match="no kept record"):
        recovery.find(records, "nothing")
    with pytest.raises(NoSuchRecord, match="no kept record"):
        recovery.find(records, "")
    with pytest.raises(NoSuchRecord, match="several"):
        recovery.find([*records, *records], records[0].id)


def test_a_record_has_one_worker(state: Path):
    """While somebody sends or discards a record nobody else does."""
    record = kept_in(state)

    with (
        recovery.claimed(record) as mine,
        pytest.raises(RecordBusy, match=record.id),
        recovery.claimed(record),
    ):
        pass

    assert mine == record
    with recovery.claimed(record):
        recovery.discard(record)
    with pytest.raises(NoSuchRecord, match="gone"), recovery.claimed(record):
        pass


def test_a_record_that_goes_while_it_is_being_claimed_is_gone(state: Path, monkeypatch):
    """The worker before may have finished between the listing and the claim."""
    record = kept_in(state)
    monkeypatch.setattr("azfilesfs.vfs.kept.load", lambda _: None)

    with pytest.raises(NoSuchRecord, match="gone"), recovery.claimed(record):
        pass


def test_extents_are_written_into_a_sparse_file(state: Path, tmp_path: Path):
    """The dirty bytes alone, at their offsets, in a private file of the right size."""
    record = kept_in(state)

    recovery.write_extents(record, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == b"\0" * 5 + b"abc"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_no_local_file_is_replaced(state: Path, tmp_path: Path):
    """An existing file, a dangling link, or one made meanwhile is left as it is."""
    record = kept_in(state)
    out = tmp_path / "out"
    out.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        recovery.write_extents(record, out)
    out.unlink()

    with pytest.raises(FileExistsError), recovery.new_file(out, 3):
        out.write_text("quick")

    assert out.read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_bytes_that_are_missing_are_not_replaced_by_zeros(state: Path, tmp_path: Path):
    """A staging file that lost its end, as after a power cut, is an error."""
    record = kept_in(state)
    with record.data.open("r+b") as file:
        file.truncate(7)

    with pytest.raises(IntegrityError, match="shorter"):
        recovery.write_extents(record, tmp_path / "out")

    assert not (tmp_path / "out").exists()
