"""Files of other clients, changed through the mount: content, metadata, headers, stored MD5."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import features
from tests.mount.harness import Emulator, Mount, mounted, run

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(features.sdk_missing() is not None, reason=str(features.sdk_missing())),
]

SHARE = "others"
RANGE = 4 << 20


@pytest.fixture(scope="module")
def made(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount the share once for all tests here; it asks for names each time."""
    place = tmp_path_factory.mktemp("judged")
    with mounted(place, emulator, SHARE, "--attr-ttl", "0", "--dir-ttl", "0") as mount:
        yield mount


@pytest.fixture
def sdk(emulator: Emulator) -> Iterator[Any]:
    """Give the share as the official SDK has it."""
    from azure.storage.fileshare import ShareClient

    with ShareClient.from_connection_string(
        emulator.environment["AZURE_STORAGE_CONNECTION_STRING"],
        SHARE,
        connection_verify=emulator.environment["AZFILESFS_CA_FILE"],
    ) as client:
        yield client


def rclone(emulator: Emulator, *words: object, expect: int = 0) -> str:
    """Run rclone; the share is its remote ``share:``."""
    binary = features.rclone_path()
    if binary is None:
        pytest.skip(str(features.rclone_missing()))
    settings = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_SHARE_TYPE": "azurefiles",
        "RCLONE_CONFIG_SHARE_SHARE_NAME": SHARE,
        "RCLONE_CONFIG_SHARE_CONNECTION_STRING": emulator.environment[
            "AZURE_STORAGE_CONNECTION_STRING"
        ],
        "RCLONE_CA_CERT": emulator.environment["AZFILESFS_CA_FILE"],
    }
    done = run(binary, *words, environment=settings, expect=expect)
    return done.stdout + done.stderr


SIZES = [0, 1, RANGE - 1, RANGE, RANGE + 1, 3 * RANGE + 12_345]


@pytest.mark.parametrize("size", SIZES)
def test_written_through_the_mount(made: Mount, sdk: Any, size: int):
    """The official SDK reads what was written through the mount, in size, bytes and time."""
    content = os.urandom(size)
    path = made.path / f"mount {size} ü"
    path.write_bytes(content)

    file = sdk.get_file_client(path.name)
    assert file.download_file().readall() == content
    properties = file.get_file_properties()
    assert properties.size == size
    shown = properties.last_write_time
    assert shown.timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_written_through_the_sdk(made: Mount, sdk: Any, size: int):
    """The mount reads what the official SDK has uploaded, and after it what it has changed."""
    content = os.urandom(size)
    file = sdk.get_file_client(f"sdk {size}")
    file.upload_file(content)
    assert (made.path / f"sdk {size}").read_bytes() == content

    changed = os.urandom(size)
    file.upload_file(changed)
    assert (made.path / f"sdk {size}").read_bytes() == changed


@pytest.mark.semantics("S3.8")
def test_what_a_changed_byte_leaves_alone(made: Mount, sdk: Any):
    """Metadata, headers and attributes of an SDK's file stay; its stored MD5 goes."""
    from azure.storage.fileshare import ContentSettings

    content = os.urandom(2 * RANGE)
    settings = ContentSettings(
        content_type="image/x-judge",
        content_language="nds",
        content_disposition="inline",
        cache_control="no-store",
        content_md5=bytearray(hashlib.md5(content).digest()),
    )
    file = sdk.get_file_client("with headers")
    file.upload_file(content, content_settings=settings, metadata={"Owner": "judge", "n": "1"})
    before = file.get_file_properties()

    with (made.path / "with headers").open("r+b") as opened:
        opened.seek(RANGE + 5)
        opened.write(b"X")

    after = file.get_file_properties()
    assert file.download_file().readall() == content[: RANGE + 5] + b"X" + content[RANGE + 6 :]
    assert after.metadata == {"Owner": "judge", "n": "1"}
    assert after.content_settings.content_md5 is None
    for name in ("content_type", "content_language", "content_disposition", "cache_control"):
        assert getattr(after.content_settings, name) == getattr(settings, name)
    assert after.file_attributes == before.file_attributes
    assert after.permission_key == before.permission_key
    assert after.creation_time == before.creation_time
    assert after.file_id == before.file_id


@pytest.mark.semantics("S3.8")
def test_rclone_file_with_one_byte_changed(
    made: Mount, emulator: Emulator, sdk: Any, tmp_path: Path
):
    """rclone has no objection to its file after one byte was changed through the mount."""
    local = tmp_path / "source" / "file.txt"
    local.parent.mkdir()
    local.write_bytes(b"0123456789" * 500_000)
    rclone(emulator, "copy", local.parent, "share:rclone")
    file = sdk.get_file_client("rclone/file.txt")
    file.set_file_metadata({"Kept": "yes"})
    before = file.get_file_properties()
    assert before.content_settings.content_md5 == hashlib.md5(local.read_bytes()).digest()
    rclone(emulator, "check", local.parent, "share:rclone")

    for path in (local, made.path / "rclone" / "file.txt"):
        with path.open("r+b") as opened:
            opened.seek(2_500_000)
            opened.write(b"X")

    rclone(emulator, "check", local.parent, "share:rclone")
    rclone(emulator, "check", "--download", local.parent, "share:rclone")
    (listed,) = json.loads(rclone(emulator, "lsjson", "--hash", "share:rclone"))
    assert listed["Size"] == 5_000_000
    assert listed.get("Hashes", {}).get("md5", "") == ""
    after = file.get_file_properties()
    assert after.content_settings.content_md5 is None
    assert after.content_settings.content_type == before.content_settings.content_type
    assert after.metadata == {"Kept": "yes"}


def test_changed_byte_is_not_hidden_from_rclone(made: Mount, emulator: Emulator, tmp_path: Path):
    """Where only the share's file was changed, a comparison by content says so."""
    local = tmp_path / "source" / "file.txt"
    local.parent.mkdir()
    local.write_bytes(b"0123456789" * 1000)
    rclone(emulator, "copy", local.parent, "share:differs")

    with (made.path / "differs" / "file.txt").open("r+b") as opened:
        opened.write(b"X")

    said = rclone(emulator, "check", "--download", local.parent, "share:differs", expect=1)
    assert "1 differences found" in said


def test_tree_of_rclone(made: Mount, emulator: Emulator, tree: Path):
    """A tree that rclone has copied in shows the same through the mount."""
    rclone(emulator, "copy", tree / "package", "share:package")
    run("diff", "-r", tree / "package", made.path / "package")
    names = {path.name for path in (made.path / "package").iterdir()}
    assert names == {path.name for path in (tree / "package").iterdir()}
