"""Bad input through the kernel: an errno for the program, one line in the daemon's log."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount.harness import Emulator, Mount, mounted

pytestmark = [pytest.mark.mount]

SHARE = "others"
COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")


@pytest.fixture(scope="module")
def made(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount the share once for all tests here; it asks for everything each time."""
    place = tmp_path_factory.mktemp("bad-input")
    with mounted(place, emulator, SHARE, "--attr-ttl", "0", "--dir-ttl", "0") as mount:
        yield mount


def complaints(made: Mount) -> list[str]:
    """Return the lines of the daemon's log of level WARNING and above, but for repetitions."""
    lines = [line for line in made.log().splitlines() if COMPLAINT.search(line)]
    return [line for line in lines if "is repeated in" not in line]


def refused(number: int) -> Any:
    """Expect an errno."""
    return pytest.raises(OSError, match=re.escape(os.strerror(number)))


def deep(folder: Path) -> Path:
    """Return a path of more than 2,048 characters in the share, made as far as it can be."""
    for _ in range(10):
        folder /= "d" * 190
        folder.mkdir(exist_ok=True)
    return folder / ("n" * 250)


NAMES: dict[str, tuple[Callable[[Path], Path], int]] = {
    "device": (lambda root: root / "NUL", errno.EINVAL),
    "256 bytes": (lambda root: root / ("n" * 256), errno.ENAMETOOLONG),
    "invalid UTF-8": (lambda root: root / os.fsdecode(b"caf\xe9"), errno.EILSEQ),
    "long path": (deep, errno.ENAMETOOLONG),
}


@pytest.mark.semantics("S9.3")
@pytest.mark.parametrize("kind", NAMES)
def test_forbidden_names(made: Mount, kind: str):
    """The program gets the errno, the log no warning, and the mount lives on."""
    path_in, expected = NAMES[kind]
    path = path_in(made.path)
    before = complaints(made)

    with refused(expected):
        path.write_bytes(b"x")
    with refused(expected):
        path.mkdir()
    with refused(expected):
        os.symlink("target", path)

    assert complaints(made) == before
    (made.path / "fine").write_bytes(b"content")
    assert (made.path / "fine").read_bytes() == b"content"


FAULTS: dict[str, dict[str, Any]] = {
    "body cut off": {"operation": "GetFile", "cut": "body"},
    "body too short": {"operation": "GetFile", "truncate": 10},
    "wrong range": {
        "operation": "GetFile",
        "answer_headers": {"content-range": "bytes 5-4194308/4194309"},
    },
}


@pytest.mark.semantics("S12.4")
@pytest.mark.parametrize("kind", FAULTS)
def test_broken_contents(
    made: Mount, new_mount: Callable[..., Mount], emulator: Emulator, kind: str
):
    """A read is EIO with one line in the log; afterwards all bytes are there."""
    content = os.urandom(300_000)
    name = f"broken by {kind}"
    (new_mount(SHARE).path / name).write_bytes(content)
    before = complaints(made)

    emulator.plan({"path": f"{SHARE}/{name}", **FAULTS[kind]})
    try:
        with refused(errno.EIO):
            (made.path / name).read_bytes()
    finally:
        emulator.heal()

    assert len(complaints(made)) == len(before) + 1
    assert (made.path / name).read_bytes() == content


@pytest.mark.semantics("S12.2")
@pytest.mark.parametrize("fault", [{"truncate": 50}, {"cut": "body"}], ids=str)
def test_broken_listing(made: Mount, emulator: Emulator, fault: dict[str, Any]):
    """A listing that is not XML, or breaks off, is EIO with one line in the log."""
    (made.path / "listed").write_bytes(b"")
    before = complaints(made)

    emulator.plan({"operation": "ListDirectoriesAndFiles", **fault})
    try:
        with refused(errno.EIO):
            os.listdir(made.path)
    finally:
        emulator.heal()

    assert len(complaints(made)) == len(before) + 1
    assert "listed" in os.listdir(made.path)
