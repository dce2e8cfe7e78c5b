"""Records of running mounts, their status, and the directories of a mount."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon import registry
from azfilesfs.daemon.directories import owned, state_directories
from azfilesfs.daemon.mounts import detach_dead, is_ours_mounted, last_status, locate, unsent_of
from azfilesfs.daemon.processes import Process
from azfilesfs.daemon.registry import (
    Record,
    StatusFile,
    find,
    read_status,
    registered,
    running,
)
from azfilesfs.fuse import mountinfo


def record(mountpoint: Path, state: Path, process: Process | None = None) -> Record:
    """Make a record of a mount."""
    process = process or Process.current()
    return Record(
        mountpoint=str(mountpoint),
        pid=process.pid,
        started=process.started,
        share="share",
        directory="dir",
        account="acc",
        endpoint="https://e",
        state=str(state),
        drain_timeout=60,
        credentials={"key_file": "/k"},
    )


def test_a_mount_is_found_while_it_runs(tmp_path):
    """A record is found by its mountpoint, however that is written, and gone with its mount."""
    made = record(tmp_path / "mnt", tmp_path)
    places = (tmp_path / "run",)
    with registered(made, places):
        assert find(tmp_path / "x" / ".." / "mnt", places) == made
        assert find(tmp_path / "other", places) is None
        (path,) = places[0].iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(places[0].stat().st_mode) == 0o700

    assert find(tmp_path / "mnt", places) is None
    assert not places[0].exists()


def test_what_runs(tmp_path):
    """The mounts whose process lives, once each; damaged records are passed over."""
    dead = record(tmp_path / "dead", tmp_path, Process(os.getpid(), 1))
    mounts = [record(tmp_path / name, tmp_path) for name in ("b", "a")]
    places = (tmp_path / "run", tmp_path / "other", tmp_path / "missing")
    with registered(mounts[0], places[:1]), registered(mounts[1], places[1:]):
        with registered(dead, places), registered(mounts[1], places):
            (places[0] / "damaged.json").write_text("[")
            (places[0] / "foreign.json").write_text("{}")
            (places[0] / "gone.json").symlink_to("nowhere")

            assert running(places) == [mounts[1], mounts[0]]
        for name in ("damaged", "foreign", "gone"):
            (places[0] / f"{name}.json").unlink()


def test_the_first_place_that_can_be_written(tmp_path):
    """Where a place cannot be written the next is taken; without any the mount still works."""
    made = record(tmp_path / "mnt", tmp_path)
    (tmp_path / "file").touch()
    blocked, free = tmp_path / "file" / "run", tmp_path / "run"
    with registered(made, (blocked, free)):
        assert find(tmp_path / "mnt", (blocked, free)) == made
    with registered(made, (blocked,)):
        assert find(tmp_path / "mnt", (blocked,)) is None


def test_the_living_are_preferred(tmp_path):
    """Of two records of one mountpoint the one whose process lives counts."""
    alive = record(tmp_path / "mnt", tmp_path)
    dead = record(tmp_path / "mnt", tmp_path, Process(os.getpid(), alive.started + 5))
    one, other = tmp_path / "one", tmp_path / "other"
    with registered(dead, (one,)), registered(alive, (other,)):
        assert find(tmp_path / "mnt", (one, other)) == alive
        assert find(tmp_path / "mnt", (one,)) == dead


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"odd": 1}'])
def test_damaged_records_are_none(tmp_path, text):
    """A file that is no record is as none."""
    place = tmp_path / "run"
    with registered(record(tmp_path / "mnt", tmp_path), (place,)):
        (path,) = place.iterdir()
        path.write_text(text)
        assert find(tmp_path / "mnt", (place,)) is None
        (tmp_path / "status.json").write_text(text)
        assert read_status(tmp_path) is None


def test_status(tmp_path):
    """The status outlives its process, and one of another process is not taken for it."""
    status = StatusFile(tmp_path)
    status.update(phase="draining", dirty_files=2, dirty_bytes=10)
    found = last_status(record(tmp_path / "m", tmp_path))
    assert found is not None
    assert (found.phase, found.dirty_files, found.exit_code) == ("draining", 2, None)
    stranger = record(tmp_path / "m", tmp_path, Process(1, 1))
    assert last_status(stranger) is None


def test_a_status_that_cannot_be_written(tmp_path):
    """A directory that has gone does not stop a mount."""
    status = StatusFile(tmp_path / "missing")
    status.update(phase="ended")

    assert read_status(tmp_path / "missing") is None


def test_a_status_on_a_full_disk(tmp_path, monkeypatch):
    """Where no new file fits the status is written over the old one, a shorter one too."""

    def full(path, document):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    status = StatusFile(tmp_path)
    status.update(phase="draining", dirty_files=1, dirty_bytes=123456789012)
    monkeypatch.setattr(registry, "write_json", full)
    status.update(phase="ended", dirty_files=0, dirty_bytes=0, exit_code=0)

    found = read_status(tmp_path)
    assert found is not None
    assert (found.phase, found.dirty_bytes, found.exit_code) == ("ended", 0, 0)


def test_a_small_file_that_cannot_be_replaced(tmp_path):
    """What was written of the new one goes; the old one stays."""
    (tmp_path / "record").mkdir()

    with pytest.raises(OSError, match="directory"):
        registry.write_json(tmp_path / "record", {})
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_a_mount_owns_its_directories(tmp_path):
    """They are made private, and refused to a second mount until the first has ended."""
    cache, state = tmp_path / "c", tmp_path / "s"
    with owned(cache, state, "one") as directories:
        for path in (directories.cache, directories.state):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        with pytest.raises(CommandFailed) as caught, owned(cache, tmp_path / "s2", "one"):
            pytest.fail("two mounts have one directory")
        assert caught.value.code is ExitCode.MOUNTPOINT_IN_USE
        with owned(cache, state, "two") as other:
            assert other.state != directories.state
    with owned(cache, state, "one"):
        assert [path.name for path in state_directories(state)] == ["one", "two"]
    assert state_directories(tmp_path / "none") == []


def test_directories_that_cannot_be_made(tmp_path):
    """A place that cannot hold directories is named."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(CommandFailed, match="cannot be used"),
        owned(tmp_path / "file", tmp_path, "one"),
    ):
        pytest.fail("a file became a directory")


def test_locating_a_path_on_a_mount(tmp_path, monkeypatch):
    """A path on a mount of ours is located with what is below the mountpoint."""
    mountpoint, place = tmp_path / "mnt", (tmp_path / "run",)
    table = tmp_path / "mountinfo"
    ours = f"2 1 0:5 / {mountpoint} rw - fuse.azfilesfs a/s rw"
    table.write_text(f"1 0 0:9 / / rw - ext4 x rw\n{ours}\n")
    monkeypatch.setattr(mountinfo, "_TABLE", table)
    made = record(mountpoint, tmp_path)

    assert locate(mountpoint / "a" / "b", place) is None
    with registered(made, place):
        assert locate(mountpoint / "a" / "b", place) == (made, "a/b")
        assert locate(mountpoint, place) == (made, ".")
        assert locate(tmp_path, place) is None
    assert is_ours_mounted(mountpoint)
    assert not is_ours_mounted(tmp_path)
    # Nothing is really mounted there, so there is nothing dead.
    assert not detach_dead(mountpoint)


def test_nothing_unsent(tmp_path):
    """A mount that never wrote left nothing."""
    tmp_path.chmod(0o700)

    assert unsent_of(record(tmp_path / "m", tmp_path)) == 0


def test_records_hold_no_secret(tmp_path):
    """A record names files; what is in them it does not know."""
    place = tmp_path / "run"
    with registered(record(tmp_path / "mnt", tmp_path), (place,)):
        (path,) = place.iterdir()
        assert set(json.loads(path.read_text())["credentials"]) == {"key_file"}
