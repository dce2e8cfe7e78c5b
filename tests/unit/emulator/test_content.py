"""Contents of files: the two kinds against plain bytes."""

import errno
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azfilesfs.emulator.content import (
    CHUNK_BYTES,
    Content,
    ContentSlice,
    MemoryContents,
)
from azfilesfs.emulator.disk_content import DiskContents

Maker = Callable[[], Content]
SIZE = 3 * CHUNK_BYTES
POSITIONS = st.one_of(
    st.integers(0, SIZE),
    st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "adopt", "zero", "truncate", "clone"]), POSITIONS, POSITIONS
    ),
    max_size=12,
)


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    """Return what makes an empty content."""
    if request.param == "memory":
        return MemoryContents().new
    return DiskContents(tmp_path / "content").new


def adopt(content: Content, start: int, data: bytes) -> None:
    """Give a content a file with bytes, on the file system of the temporary files."""
    with NamedTemporaryFile(delete=False) as file:
        file.write(data)
    path = Path(file.name)
    content.adopt(start, path)
    path.unlink(missing_ok=True)


def apply(content: Content, model: bytearray, step: tuple[str, int, int], fill: int) -> None:
    """Do one step to a content and to plain bytes."""
    kind, one, other = step
    start, stop = min(one, other), max(one, other)
    data = bytes([fill]) * (stop - start)
    if kind == "write":
        content.write(start, data)
        model[start:stop] = data
    elif kind == "adopt":
        adopt(content, start, data)
        model[start:stop] = data
    elif kind == "zero":
        content.zero(start, stop)
        model[start:stop] = bytes(stop - start)
    elif kind == "truncate":
        content.truncate(start)
        model[start:] = bytes(len(model) - start)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_contents_behave_like_plain_bytes(make: Maker, steps: list[tuple[str, int, int]]) -> None:
    """After any steps a content and all its earlier clones read as the bytes they should hold."""
    content, model = make(), bytearray(SIZE)
    kept: list[tuple[Content, bytes]] = []
    for index, step in enumerate(steps):
        if step[0] == "clone":
            kept.append((content.clone(), bytes(model)))
        else:
            apply(content, model, step, index % 255 + 1)

    assert content.read(0, SIZE) == bytes(model)
    for clone, expected in kept:
        assert clone.read(0, SIZE) == expected


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_changes_of_a_clone_stay_in_it(make: Maker, steps: list[tuple[str, int, int]]) -> None:
    """What happens to a clone does not show in the original."""
    content = make()
    content.write(0, b"o" * (SIZE - 5))
    clone, model = content.clone(), bytearray(b"o" * (SIZE - 5) + bytes(5))
    for index, step in enumerate(steps):
        apply(clone, model, step, index % 255 + 1)

    assert content.read(0, SIZE) == b"o" * (SIZE - 5) + bytes(5)
    assert clone.read(0, SIZE) == bytes(model)


def test_huge_sparse_contents_cost_nothing(make: Maker, tmp_path: Path) -> None:
    """Bytes far apart can be written, read, cleared, copied and cut; nothing is stored between."""
    content = make()
    far = 4 * 1024**4 - 10
    content.write(far, b"end")
    content.write(0, b"start")

    assert content.read(far - 2, far + 3) == b"\0\0end"
    content.zero(3, far + 1)
    assert content.read(0, 6) == b"sta\0\0\0"
    assert content.read(far, far + 3) == b"\0nd"
    assert content.clone().read(far, far + 3) == b"\0nd"
    for path in tmp_path.rglob("*"):
        assert path.stat().st_blocks * 512 < 1024 * 1024
    content.truncate(1)
    assert content.read(0, 3) == b"s\0\0"
    assert content.read(far, far + 3) == bytes(3)


def test_pieces_cover_a_slice(make: Maker) -> None:
    """A slice yields its bytes in order, in bounded pieces."""
    content = make()
    content.write(0, b"abc" * 3_000_000)

    part = ContentSlice(content, 2, 8_000_000)
    pieces = list(part.pieces())

    assert part.length == 8_000_000
    assert b"".join(pieces) == (b"abc" * 3_000_000)[2:8_000_002]
    assert max(map(len, pieces)) <= 4 * 1024 * 1024


def test_discarded_files_go_with_the_sweep(tmp_path: Path) -> None:
    """A file is removed once nothing refers to it; strangers are removed at the start."""
    contents = DiskContents(tmp_path)
    content = contents.new()
    content.write(0, b"x")
    other = contents.new()
    other.write(0, b"y")
    content.discard()
    assert len(list(tmp_path.iterdir())) == 2
    contents.sweep()
    assert [path.name for path in tmp_path.iterdir()] == [other.key]

    again = DiskContents(tmp_path)
    assert again.new().key > other.key
    again.keep_only(set())
    assert list(tmp_path.iterdir()) == []


def test_adopted_files_wait_until_they_are_looked_at(tmp_path: Path) -> None:
    """A file is taken over by its name, copied once somebody reads there, and found at a start."""
    contents = DiskContents(tmp_path / "content")
    content = contents.new()
    content.write(0, b"-" * 20)
    for start, text in ((0, b"abcde"), (10, b"fghij"), (0, b"ABCDE")):
        body = tmp_path / "body"
        body.write_bytes(text)
        content.adopt(start, body)
        assert not body.exists()
    names = {path.name for path in contents.path("").iterdir()}
    assert names == {content.key, f"{content.key}.0", f"{content.key}.a"}

    again = DiskContents(tmp_path / "content")
    again.keep_only({content.key})
    found = again.open(content.key)
    assert found.read(8, 20) == b"--fghij-----"
    assert {path.name for path in contents.path("").iterdir()} == {
        content.key,
        f"{content.key}.0",
    }
    assert found.read(0, 6) == b"ABCDE-"
    assert again.new().key > content.key


def test_adopted_files_go_with_their_content(tmp_path: Path) -> None:
    """What was taken over is removed with the content, and with one that is unknown at a start."""
    contents = DiskContents(tmp_path / "content")
    for key in ("kept", "lost"):
        content = contents.new()
        (tmp_path / key).write_bytes(b"body")
        content.adopt(5, tmp_path / key)
        if key == "kept":
            content.discard()
    contents.sweep()
    assert len(list(contents.path("").iterdir())) == 1
    DiskContents(tmp_path / "content").keep_only(set())
    assert list(contents.path("").iterdir()) == []


def test_adopted_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on another file system is copied at once."""

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(Path, "rename", refuse)
    content = DiskContents(tmp_path / "content").new()
    (tmp_path / "body").write_bytes(b"body")
    content.adopt(5, tmp_path / "body")
    assert content.read(3, 10) == b"\0\0body\0"
