"""One tiny workload from end to end: emulator, nginx, mount, curl, results file."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench.nginx import NginxMissing, find_nginx
from scripts.bench.seed import MIB, SeedFile
from scripts.bench.service import served
from tests.conftest import fuse_mounts_below
from tests.features import REPOSITORY, fuse_missing


def nginx_missing() -> str | None:
    """Say why nginx cannot stand before the emulator."""
    try:
        find_nginx()
    except NginxMissing as error:
        return str(error)
    return None


needs_nginx = pytest.mark.skipif(nginx_missing() is not None, reason=str(nginx_missing()))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Make a directory whose path is short: the name of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="azb") as made:
        yield Path(made)


@needs_nginx
def test_nginx_moves_the_bytes(short_path: Path):
    """Bytes that nginx moves arrive whole, under the emulator's headers, and are counted."""
    files = [SeedFile("folder/random", MIB + 77), SeedFile("sparse", 5 << 30, is_sparse=True)]
    with served(short_path / "s", files) as service:
        rest = service.rest
        name = service.content_name("folder/random")
        content = (service.paths.data / "content" / name).read_bytes()
        rest.reset_counts()
        status, fields, body = rest.ask(
            "GET", rest.path("folder/random"), x_ms_range="bytes=7-", If_None_Match="*"
        )
        assert (status, body) == (206, content[7:])
        assert fields["content-range"] == f"bytes 7-{MIB + 76}/{MIB + 77}"
        assert fields["content-length"] == str(MIB + 70)
        assert fields["accept-ranges"] == "bytes"
        assert fields["x-ms-type"] == "File"
        assert fields["etag"].startswith('"0x')
        assert fields["server"].startswith("Windows-Azure-File")
        assert "cache-control" not in fields
        assert not [header for header in fields if header.startswith("x-azfilesfs")]
        assert rest.counts().sent == MIB + 70

        whole = rest.ask("GET", rest.path("folder/random"))
        assert (whole[0], whole[2]) == (200, content)
        hole = rest.read("sparse", (5 << 30) - MIB, MIB)
        assert hole == bytes(MIB)

        rest.create("new", 2 * MIB)
        data = os.urandom(MIB)
        put = rest.ask(
            "PUT", rest.path("new", "comp=range"), data, x_ms_write="update",
            x_ms_range=f"bytes={MIB}-{2 * MIB - 1}", x_azfilesfs_body="/etc/passwd",
        )  # fmt: skip
        assert put[0] == 201
        assert rest.read("new") == bytes(MIB) + data
        assert list(service.paths.offload.bodies.iterdir()) == []


@needs_nginx
@pytest.mark.slow
@pytest.mark.skipif(fuse_missing() is not None, reason=str(fuse_missing()))
def test_one_row(short_path: Path):
    """A row runs alone with its own results file, and leaves nothing behind."""
    for folder in ("disk", "memory"):
        (short_path / folder).mkdir()
    file = short_path / "results.json"
    done = subprocess.run(
        [
            REPOSITORY / "scripts" / "bench" / "run", "--quick", "--only", "one-byte,read-back",
            "--results", file, "--disk", short_path / "disk", "--memory", short_path / "memory",
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert rows["one-byte"]["samples"]["requests"]["ours"][0] >= 1
    assert rows["read-back"]["samples"]["requests a file"]["ours"][0] >= 1
    assert rows["read-back"]["cpu"]["ours"].keys() == {"daemon", "emulator", "nginx"}
    assert "<= 64 KiB sent: met" in done.stdout
    assert fuse_mounts_below(short_path) == []
    assert list((short_path / "disk").iterdir()) == list((short_path / "memory").iterdir()) == []


@needs_nginx
@pytest.mark.slow
def test_stopped(short_path: Path):
    """SIGTERM ends a run with its service, its mounts and its folders."""
    for folder in ("disk", "memory"):
        (short_path / folder).mkdir()
    command: list[str | Path] = [
        REPOSITORY / "scripts" / "bench" / "run", "--only", "scaling-mounts", "--results",
        short_path / "r.json", "--disk", short_path / "disk", "--memory", short_path / "memory",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        said = b""
        for said in run.stderr:
            if b"turn 1" in said:
                break
        assert b"turn 1" in said
        run.terminate()
        assert run.wait(60) == 143
    assert fuse_mounts_below(short_path) == []
    assert list((short_path / "disk").iterdir()) == list((short_path / "memory").iterdir()) == []
