"""``azfilesfs lease`` as its user sees it."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.errors import LeaseIdMissing
from azfilesfs.model.paths import SharePath
from tests.unit.cli.conftest import Done, Work

Command = Callable[..., Done]
OnShare = Callable[[Work], Any]
ID = str(uuid.UUID(int=5))
OTHER = str(uuid.UUID(int=6))


@pytest.fixture
def file(on_share: OnShare) -> SharePath:
    """Make a file."""
    path = SharePath((f"leased {uuid.uuid4().hex}",))
    on_share(lambda share: share.create_file(path))
    return path


def test_a_lease_on_a_file(command: Command, on_share: OnShare, file: SharePath):
    """It is held until it is given up with its id, which is all that acquire prints."""
    taken = command("lease", "acquire", "--share", "share", file)
    assert (taken.code, taken.err) == (0, "")
    number = str(uuid.UUID(taken.out.strip()))
    with pytest.raises(LeaseIdMissing):
        on_share(lambda share: share.delete_file(file))

    again = command("lease", "acquire", "--share", "share", file, "--id", OTHER)
    assert again.code == ExitCode.LEASED
    assert again.err.startswith(f"azfilesfs: share/{file} is leased already")
    wrong = command("lease", "release", "--share", "share", file, "--id", OTHER)
    assert (wrong.code, wrong.out) == (ExitCode.LEASED, "")

    given = command("lease", "release", "--share", "share", file, "--id", number.upper())
    assert given == (0, "released\n", "")
    none = command("lease", "release", "--share", "share", file, "--id", number)
    assert none.code == ExitCode.NOT_FOUND
    assert "has no lease" in none.err
    on_share(lambda share: share.delete_file(file))


def test_breaking_the_lease_on_a_file(command: Command, on_share: OnShare, file: SharePath):
    """Whoever held it, the file can be changed at once."""
    on_share(lambda share: share.acquire_file_lease(file))

    broken = command("lease", "break", "--share", "share", file)
    assert broken == (0, "broken\n", "")
    on_share(lambda share: share.delete_file(file))
    assert command("lease", "break", "--share", "share", file).code == ExitCode.NOT_FOUND


def test_json_of_a_file(command: Command, file: SharePath):
    """Each action says what it did."""
    words = ("--share", "share", file, "--json")
    acquired = json.loads(command("lease", "acquire", *words, "--id", ID).out)
    assert acquired == {
        "action": "acquire",
        "share": "share",
        "path": str(file),
        "lease_id": ID,
    }
    released = json.loads(command("lease", "release", *words, "--id", ID).out)
    assert released == {"action": "release", "share": "share", "path": str(file)}


def test_a_lease_on_a_share(command: Command):
    """It has a duration, is renewed, given up and broken."""
    share = ("--share", "other")
    assert command("lease", "acquire", *share, "--duration", 60, "--id", ID).out == f"{ID}\n"
    assert command("lease", "acquire", *share).code == ExitCode.LEASED
    assert command("lease", "renew", *share, "--id", ID) == (0, "renewed\n", "")
    assert command("lease", "renew", *share, "--id", OTHER).code == ExitCode.LEASED
    assert command("lease", "release", *share, "--id", ID).out == "released\n"
    assert command("lease", "release", *share, "--id", ID).code == ExitCode.NOT_FOUND

    assert command("lease", "acquire", *share, "--duration", "infinite").code == 0
    broken = command("lease", "break", *share, "--break-period", 0, "--json")
    assert json.loads(broken.out) == {
        "action": "break",
        "share": "other",
        "path": None,
        "seconds": 0,
    }
    assert command("lease", "acquire", *share, "--duration", 60).code == 0
    breaking = command("lease", "break", *share, "--break-period", 30)
    assert breaking.out.startswith("broken; another can be taken in ")
    assert command("lease", "break", *share, "--break-period", 0).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["acquire"], "name a PATH on a mount, or --share SHARE"),
        (["acquire", "/tmp/x"], "/tmp/x is not on a mount of azfilesfs: name its share"),
        (["acquire", "--share", "a/b"], "--share takes the name of a share alone"),
        (["acquire", "--share", ""], "--share takes the name of a share alone"),
        (["acquire", "--share", "S", "x"], "'S' is not a share name"),
        (["acquire", "--share", "share", "a/../b"], "a name must not be '.' or '..'"),
        (["acquire", "--share", "share", "--id", "no"], "--id takes a GUID"),
        (["acquire", "--share", "share", "--duration", "14"], "--duration takes 15 to 60 whole"),
        (["acquire", "--share", "share", "--duration", "1.5"], "--duration takes 15 to 60 whole"),
        (["acquire", "--share", "share", "f", "--duration", "20"], "without an end only"),
        (["renew", "--share", "share", "f", "--id", ID], "has no end, so the service does not"),
        (["renew", "--share", "share"], "renew needs the lease's --id"),
        (["release", "--share", "share", "f"], "release needs the lease's --id"),
        (["break", "--share", "share", "--break-period", "61"], "--break-period takes 0 to 60"),
        (["break", "--share", "share", "f", "--break-period", "9"], "at once: no --break-period"),
        (["break", "--share", "share", "--key", "hidden"], "use --key-file FILE"),
        ([], "required: ACTION"),
    ],
)
def test_what_is_refused(command: Command, words: list[str], said: str):
    """One line says what is wrong; the service is not asked to do half of it."""
    done = command("lease", *words)

    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert "hidden" not in done.err


@pytest.mark.parametrize("path", ["missing", "no/where", "directory"])
def test_what_is_not_there(command: Command, on_share: OnShare, path: str):
    """A file that is not there, and a directory, which has no lease."""
    if path == "directory":
        on_share(lambda share: share.create_directory(SharePath((path,))))
    done = command("lease", "acquire", "--share", "share", path)

    assert done.code == ExitCode.NOT_FOUND
    assert f"share/{path}: there is no such file" in done.err
    gone = command("lease", "acquire", "--share", "no-such-share", path)
    assert gone.code == ExitCode.NOT_FOUND


def test_credentials_that_cannot_be_right(command: Command, monkeypatch: pytest.MonkeyPatch):
    """They are refused in one line."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "nonsense")
    done = command("lease", "acquire", "--share", "share")

    assert done.code == ExitCode.USAGE
    assert done.err.count("\n") == 1
