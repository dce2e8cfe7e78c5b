"""``azfilesfs locks`` and ``azfilesfs lease`` with paths on a mount."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.mount.harness import Mount

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]


def test_a_lease_by_a_path(common: Mount, folder: Path):
    """The file is leased at the service; names are spelled as on the mount."""
    path = folder / 'quotes " and: colons'
    path.write_bytes(b"content")
    number = common.command("lease", "acquire", path).stdout.strip()

    done = common.command("lease", "acquire", path, expect=ExitCode.LEASED)
    assert done.stderr.count("\n") == 1
    acquired = common.command("lease", "release", path, "--id", number, "--json").stdout
    assert json.loads(acquired)["path"] == str(path.relative_to(common.path))
    common.command("lease", "release", path, "--id", number, expect=ExitCode.NOT_FOUND)
    common.command("lease", "acquire", folder, expect=ExitCode.NOT_FOUND)


def test_the_share_by_its_mountpoint(common: Mount):
    """A mount of a whole share stands for the share."""
    number = common.command("lease", "acquire", common.path, "--duration", 15).stdout.strip()
    common.command("lease", "renew", common.path, "--id", number)
    common.command("lease", "acquire", "--share", "tests", expect=ExitCode.LEASED)
    assert common.command("lease", "break", common.path, "--break-period", 0).stdout == "broken\n"


def test_a_directory_of_a_share_by_its_mountpoint(common: Mount, folder: Path, new_mount: NewMount):
    """A mount of a directory stands for that directory, which has no lease."""
    made = new_mount(f"tests/{folder.name}")
    made.command("lease", "acquire", made.path, expect=ExitCode.NOT_FOUND)
    (made.path / "file").touch()
    number = made.command("lease", "acquire", made.path / "file").stdout.strip()
    common.command("lease", "release", folder / "file", "--id", number)


def test_breaking_a_foreign_lease(common: Mount, folder: Path):
    """What another program left on a file is broken, and the file can be written again."""
    path = folder / "file"
    path.touch()
    common.command("lease", "acquire", path)
    common.command("locks", "break", path, expect=ExitCode.USAGE)
    done = common.command("locks", "break", path, "--yes")

    assert "exclusive lock of a client that is no mount of azfilesfs" in done.stdout
    path.write_bytes(b"after")
    assert "is not locked" in common.command("locks", "break", path).stdout


def test_listing_by_a_path(common: Mount, folder: Path):
    """A mount is asked over its socket, which is private; by any path on it."""
    (socket,) = (common.home / "state").rglob("control")
    mode = socket.stat().st_mode

    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    for words in ((), (common.path,), (folder,), ("--share", "tests")):
        found = json.loads(common.command("locks", "list", *words, "--json").stdout)
        assert [one for one in found if str(one["path"]).startswith(folder.name)] == []


def test_the_socket_goes_with_the_mount(new_mount: NewMount):
    """An unmount removes it; a killed process leaves it, and the next mount replaces it."""
    made = new_mount("others")
    (socket,) = (made.home / "state").rglob("control")
    made.umount()
    assert not socket.exists()
    assert made.command("locks", "list").stdout == ""
    made.mount()
    assert made.command("locks", "list", made.path).returncode == 0
