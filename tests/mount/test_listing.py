"""What a listing shows to programs."""

from pathlib import Path

import pytest

from tests.mount.harness import run

pytestmark = [pytest.mark.mount]


def test_listing_begins_with_the_directory_and_its_parent(folder: Path):
    """``.`` and ``..`` are there, with the inode numbers that stat shows."""
    (folder / "inner").mkdir()
    (folder / "inner" / "file").touch()

    lines = run("ls", "-ai", "-U", folder / "inner").stdout.split("\n")
    shown = [line.split() for line in lines if line]

    assert shown == [
        [str((folder / "inner").stat().st_ino), "."],
        [str(folder.stat().st_ino), ".."],
        [str((folder / "inner" / "file").stat().st_ino), "file"],
    ]


def test_long_listing_has_every_name_once(folder: Path):
    """A directory that takes the kernel many requests shows each name once."""
    names = {f"entry {number:04}" for number in range(400)}
    for name in names:
        (folder / name).mkdir()

    listed = run("ls", "-a", folder).stdout.split("\n")[:-1]

    assert len(listed) == len(names) + 2
    assert set(listed) == names | {".", ".."}
