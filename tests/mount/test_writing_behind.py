"""``--close=async`` and what unpacking an archive costs, through the real command and kernel."""

import os
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.mount.harness import Emulator, Mount, eventually
from tests.mount.test_lifecycle import kill

NewMount = Callable[..., Mount]
FILES = 200


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive of many small files in one directory."""
    path = tmp_path_factory.mktemp("archive") / "small.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(FILES):
            member = tarfile.TarInfo(f"unpacked/f{number:04}")
            member.size, member.mtime = 4096, 1_600_000_000 + number
            tar.addfile(member, BytesIO(bytes([1 + number % 255]) * 4096))
    return path


def unpack(archive: Path, place: Path) -> None:
    """Unpack as anybody would."""
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True, timeout=120)


def requests(emulator: Emulator) -> int:
    """Return the number of requests since the last reset."""
    return sum(sum(answers.values()) for answers in emulator.requests().values())


@pytest.mark.parametrize(
    ("flags", "most"),
    [
        ((), 3.3),
        (("--exclusive-create=mount",), 1.3),
        (("--exclusive-create=mount", "--close=async"), 1.3),
    ],
)
def test_requests_of_unpacking(
    new_mount: NewMount, emulator: Emulator, archive: Path, flags: tuple[str, ...], most: float
):
    """So many requests a file, with all that directories and the end of the mount need."""
    made = new_mount("others", *flags)
    place = made.path / f"untar{len(flags)}"
    emulator.reset()
    unpack(archive, place)
    made.umount()
    assert requests(emulator) <= most * FILES

    made.mount()
    found = sorted((place / "unpacked").iterdir())
    assert len(found) == FILES
    for number, path in enumerate(found):
        assert path.read_bytes() == bytes([1 + number % 255]) * 4096
        assert path.stat().st_mtime == 1_600_000_000 + number


def test_a_kill_after_many_closes(new_mount: NewMount, emulator: Emulator, archive: Path):
    """Every file that was closed is there for others once the next mount answers."""
    made = new_mount("third", "--exclusive-create=mount", "--close=async")
    emulator.plan({"operation": "CreateFile", "delay": 2.0, "probability": 0.5})
    try:
        unpack(archive, made.path / "killed")
        kill(made)
    finally:
        emulator.heal()
    made.umount(expect=ExitCode.UNSENT_DATA)
    assert made.unsent()
    other = new_mount("third")
    assert len(os.listdir(other.path / "killed" / "unpacked")) < FILES

    made.mount()
    eventually(
        lambda: len(os.listdir(other.path / "killed" / "unpacked")) == FILES, "all are there"
    )
    for number in range(FILES):
        path = other.path / "killed" / "unpacked" / f"f{number:04}"
        assert path.read_bytes() == bytes([1 + number % 255]) * 4096
        assert path.stat().st_mtime == 1_600_000_000 + number
    assert made.unsent() == []
