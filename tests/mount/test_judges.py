"""Other clients of the service and the mount agree about every file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import features
from tests.mount.compare import picture
from tests.mount.harness import Emulator, Mount, run

pytestmark = [pytest.mark.mount]

RANGE = 4 * 1024 * 1024


@pytest.fixture
def made(new_mount: Callable[..., Mount]) -> Mount:
    """Mount a share that believes nothing for long."""
    return new_mount("others", "--attr-ttl", "0", "--dir-ttl", "0")


@pytest.mark.skipif(features.sdk_missing() is not None, reason=str(features.sdk_missing()))
@pytest.mark.parametrize("size", [0, 1, 1000, RANGE - 1, RANGE, RANGE + 1, 2 * RANGE + 77])
def test_the_official_sdk(made: Mount, emulator: Emulator, size: int):
    """What one writes the other reads back identical, at every size around a range."""
    from azure.storage.fileshare import ShareClient

    string = emulator.environment["AZURE_STORAGE_CONNECTION_STRING"]
    authority = emulator.environment["AZFILESFS_CA_FILE"]
    content = os.urandom(size)
    name = f"sdk {size}"
    with ShareClient.from_connection_string(
        string, share_name="others", connection_verify=authority
    ) as share:
        (made.path / name).write_bytes(content)
        file = share.get_file_client(name)
        assert file.download_file().readall() == content
        assert file.get_file_properties().size == size

        theirs = share.get_file_client(f"by {name}")
        theirs.upload_file(content, metadata={"made": "elsewhere"})
        assert (made.path / f"by {name}").read_bytes() == content
        with (made.path / f"by {name}").open("ab") as appended:
            appended.write(b"more")
        assert theirs.download_file().readall() == content + b"more"
        assert theirs.get_file_properties().metadata == {"made": "elsewhere"}


def rclone(emulator: Emulator, *words: object) -> str:
    """Run rclone with the emulator as its remote ``share:``."""
    binary = features.rclone_path()
    if binary is None:
        pytest.skip(str(features.rclone_missing()))
    settings = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_SHARE_TYPE": "azurefiles",
        "RCLONE_CONFIG_SHARE_SHARE_NAME": "others",
        "RCLONE_CONFIG_SHARE_CONNECTION_STRING": emulator.environment[
            "AZURE_STORAGE_CONNECTION_STRING"
        ],
        "RCLONE_CA_CERT": emulator.environment["AZFILESFS_CA_FILE"],
    }
    return run(binary, *words, environment=settings).stdout


def test_rclone_accepts_a_changed_file(made: Mount, emulator: Emulator, tmp_path: Path):
    """One byte of a file of rclone's is changed through the mount; rclone accepts it as it is."""
    (tmp_path / "file.txt").write_bytes(b"0123456789" * 500_000)
    rclone(emulator, "copyto", tmp_path / "file.txt", "share:rc/file.txt")
    emulator.reset()
    with (made.path / "rc" / "file.txt").open("r+b") as file:
        file.seek(2_500_000)
        file.write(b"X")
    assert emulator.count("PutRange") == 1

    rclone(emulator, "copyto", "share:rc/file.txt", tmp_path / "back.txt")
    back = (tmp_path / "back.txt").read_bytes()
    assert back[2_500_000:2_500_001] == b"X"
    assert len(back) == 5_000_000
    assert rclone(emulator, "cat", "share:rc/file.txt").encode() == back


def test_rclone_checks_a_tree(made: Mount, emulator: Emulator, tree: Path, tmp_path: Path):
    """A tree copied through the mount is what rclone copies back."""
    run("cp", "-a", tree / "package", made.path / "for rclone")
    rclone(emulator, "check", "--download", tree / "package", "share:for rclone")
    rclone(emulator, "copy", "share:for rclone", tmp_path / "back")

    assert picture(tmp_path / "back") == picture(tree / "package")
