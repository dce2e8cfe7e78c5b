"""Two hosts with one share: what docs/SEMANTICS.md says, with a signature, a crash, a recovery."""

import errno
import json
import mmap
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from azfilesfs.client import (
    SasCredential,
    SasLimits,
    SasScope,
    Secret,
    SharedKeyCredential,
    account_sas,
    service_sas,
)
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests.mount.harness import Emulator, Mount, eventually, mounted

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SHARE = "others"
LONG_TTL = ("--attr-ttl", "300", "--dir-ttl", "300")
KEY = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))


@pytest.fixture
def here(new_mount: NewMount) -> Mount:
    """Mount the share on one host."""
    return new_mount(SHARE, *LONG_TTL)


@pytest.fixture
def there(new_mount: NewMount) -> Mount:
    """Mount it on another, which believes what it has seen for longer than any test takes."""
    return new_mount(SHARE, *LONG_TTL)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Give a name in the share that no other test uses."""
    return str(request.node.name)


def refused(*numbers: int) -> Any:
    """Expect one of these errnos."""
    names = "|".join(os.strerror(number) for number in numbers)
    return pytest.raises(OSError, match=names)


# -- close-to-open -------------------------------------------------------------------------------


@pytest.mark.semantics("S1.1")
@pytest.mark.parametrize(
    "content",
    [b"x" * 300_000, b"short", b"SAME LENGTH", b""],
    ids=["grow", "shrink", "same", "empty"],
)
def test_open_sees_what_was_closed(here: Mount, there: Mount, name: str, content: bytes):
    """What was closed on one mount is what an open on the other reads, inside the TTL."""
    (here.path / name).write_bytes(b"same length")
    assert (there.path / name).read_bytes() == b"same length"
    assert (there.path / name).stat().st_size == 11

    (here.path / name).write_bytes(content)

    with (there.path / name).open("rb") as file:
        assert file.read() == content
        assert os.fstat(file.fileno()).st_size == len(content)


@pytest.mark.semantics("S1.1", "S1.6")
def test_open_renews_what_is_mapped(here: Mount, there: Mount, name: str):
    """Pages that a mapping holds are those of the newer version once somebody opens the file."""
    (here.path / name).write_bytes(b"a" * 20_000)
    with (
        (there.path / name).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert mapped[10_000:10_004] == b"aaaa"
        (here.path / name).write_bytes(b"b" * 20_000)

        assert (there.path / name).read_bytes() == b"b" * 20_000
        assert mapped[10_000:10_004] == b"bbbb"


@pytest.mark.semantics("S1.1", "S1.7")
def test_open_sees_a_replacement(here: Mount, there: Mount, name: str):
    """A file renamed over the name is found by the next open, and the old one is stale."""
    (here.path / name).write_bytes(b"first")
    with (there.path / name).open("rb") as before:
        assert before.read() == b"first"
        (here.path / f"{name}.new").write_bytes(b"second")

        (here.path / f"{name}.new").rename(here.path / name)

        with (there.path / name).open("rb") as after:
            assert after.read() == b"second"
        with refused(errno.ESTALE):
            os.fstat(before.fileno())


@pytest.mark.semantics("S1.7")
def test_open_of_what_was_deleted(here: Mount, there: Mount, name: str):
    """A file that was removed on one mount cannot be opened on the other."""
    (here.path / name).write_bytes(b"content")
    assert (there.path / name).read_bytes() == b"content"

    (here.path / name).unlink()

    with refused(errno.ENOENT):
        (there.path / name).open("rb")


@pytest.mark.semantics("S1.2")
def test_names_and_attributes_follow_after_the_ttl(new_mount: NewMount, name: str):
    """stat and ls on the other mount show a change once the TTL is over."""
    here, there = new_mount(SHARE), new_mount(SHARE)
    assert name not in os.listdir(there.path)
    (here.path / name).write_bytes(b"old")
    eventually(lambda: name in os.listdir(there.path), "the name is listed", 10)
    assert (there.path / name).stat().st_size == 3

    (here.path / name).write_bytes(b"longer")
    eventually(lambda: (there.path / name).stat().st_size == 6, "the size is shown", 10)
    (here.path / name).unlink()
    eventually(lambda: not (there.path / name).exists(), "the name is gone", 10)


# -- two writers ---------------------------------------------------------------------------------


def kept(mount: Mount) -> list[dict[str, Any]]:
    """Return what ``azfilesfs recover list`` shows on a mount's host."""
    found: list[dict[str, Any]] = json.loads(mount.command("recover", "list", "--json").stdout)
    return found


@pytest.mark.semantics("S3.1", "S3.6")
def test_lost_race(here: Mount, there: Mount, new_mount: NewMount, name: str):
    """The second to close gets ESTALE; the bytes are listed there and can be sent elsewhere."""
    third = new_mount(SHARE)
    (here.path / name).write_bytes(b"before")
    ours = os.open(here.path / name, os.O_RDWR)
    theirs = os.open(there.path / name, os.O_RDWR)
    os.pwrite(ours, b"OURS", 0)
    os.pwrite(theirs, b"THEIRS!", 0)

    os.close(ours)
    with refused(errno.ESTALE):
        os.fsync(theirs)
    with refused(errno.ESTALE):
        os.close(theirs)

    assert (here.path / name).read_bytes() == b"OURSre"
    assert (there.path / name).read_bytes() == b"OURSre"
    assert kept(here) == []
    (record,) = kept(there)
    assert name in there.command("recover", "show", record["id"]).stdout
    there.command("recover", "send", record["id"], "--to", f"{name}.theirs")
    assert kept(there) == []
    assert (third.path / f"{name}.theirs").read_bytes() == b"THEIRS!"
    assert (third.path / name).read_bytes() == b"OURSre"


# -- narrow credentials --------------------------------------------------------------------------


def reading_signatures() -> dict[str, SasCredential]:
    """Make signatures that read files and do nothing else."""
    limits = SasLimits(expiry=datetime.now(UTC) + timedelta(hours=1))
    return {
        "share": service_sas(KEY, SasScope("share"), "r", limits),
        "account": account_sas(KEY, "r", "o", limits),
    }


@pytest.mark.semantics("S15.1", "S15.3", "S15.4", "S15.5")
@pytest.mark.parametrize("kind", ["share", "account"])
def test_signature_that_sees_only_files(quiet: Emulator, tmp_path: Path, name: str, kind: str):
    """A SAS that may neither list nor write mounts; files are read by name, and nothing is made."""
    with mounted(tmp_path / "here", quiet, "share") as here:
        (here.path / name).mkdir()
        (here.path / name / "file").write_bytes(b"x" * 2_000_000)
    made = Mount(tmp_path / "narrow", tmp_path / "home", "share", dict(quiet.environment))
    del made.environment["AZURE_STORAGE_CONNECTION_STRING"]
    made.home.mkdir()
    sas = made.home / "sas"
    sas.write_text(reading_signatures()[kind].query())
    quiet.reset()

    made.mount(
        "--sas-file", str(sas), "--account", DEFAULT_ACCOUNT, "--endpoint", quiet.url.rstrip("/")
    )
    try:
        assert (made.path / name / "file").read_bytes() == b"x" * 2_000_000
        assert (made.path / name / "file").stat().st_size == 2_000_000
        assert not (made.path / name / "other").exists()
        with refused(errno.EACCES):
            os.listdir(made.path / name)
        with refused(errno.EROFS):
            (made.path / name / "new").write_bytes(b"x")
        assert os.statvfs(made.path).f_bavail > 0
    finally:
        made.umount()

    answered = {
        operation
        for operation, answers in quiet.requests().items()
        if any(status.startswith("2") for status in answers)
    }
    assert answered <= {"GetDirectoryProperties", "GetFileProperties", "GetFile"}
    assert made.log().count("may not list directories") == 1
    assert made.log().count("the mount is read-only") == 1


# -- a daemon that dies --------------------------------------------------------------------------


@pytest.mark.semantics("S2.6", "S13.5")
def test_killed_daemon(here: Mount, new_mount: NewMount, name: str):
    """After ``kill -9`` the next mount takes the place, and lists what was written and not sent."""
    (here.path / f"{name}.sent").write_bytes(b"closed before")
    file = os.open(here.path / name, os.O_CREAT | os.O_RDWR)
    os.write(file, b"written, not closed")
    os.kill(here.pid(), signal.SIGKILL)
    eventually(lambda: _is_dead(here.path), "the mountpoint is dead", 30)
    with refused(errno.ENOTCONN, errno.ECONNABORTED):
        os.close(file)

    here.command("mount", here.target, here.path, *here.flags)

    assert (here.path / f"{name}.sent").read_bytes() == b"closed before"
    assert not (here.path / name).exists()
    (record,) = kept(here)
    assert record["path"] == name
    here.command("recover", "send", record["id"])
    assert kept(here) == []
    third = new_mount(SHARE)
    assert (third.path / name).read_bytes() == b"written, not closed"


def _is_dead(mountpoint: Path) -> bool:
    try:
        os.listdir(mountpoint)
    except OSError as error:
        return error.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    return False


@pytest.mark.semantics("S13.5")
def test_live_mount_is_not_detached(here: Mount):
    """A mountpoint that is served is in use, and stays."""
    second = here.command("mount", here.target, here.path, expect=None)

    assert second.returncode == 6
    assert os.listdir(here.path) is not None
