"""The emulator behind nginx: what passes it by, what stays here, and who may say so."""

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.content import ContentSlice, MemoryContent
from azfilesfs.emulator.front import serve_front
from azfilesfs.emulator.offload import (
    CONTENT_LOCATION,
    KEPT_HEADERS,
    OffloadDirectory,
    redirected,
)
from azfilesfs.emulator.options import EmulatorOptions
from tests.unit.emulator.harness import FakeClock, make_caller, put_file, read
from tests.unit.emulator.test_server import SHARE, raw_request

BIG = 256 * 1024


@dataclass
class Answered:
    """An answer as nginx gets it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Front:
    """A running emulator and a connection of nginx to it."""

    app: EmulatorApp
    directory: OffloadDirectory
    stream: trio.SocketStream
    bodies: int = 0

    async def ask(self, method: str, target: str, body: bytes = b"", /, **headers: str) -> Answered:
        """Send a request as nginx passes it on, with a small body in the connection."""
        request = raw_request(method, target, body, **headers)
        head, _, rest = request.partition(b"\r\n\r\n")
        told = b"\r\nx-azfilesfs-peer: 192.0.2.7\r\nx-azfilesfs-scheme: https"
        if method == "PUT":
            told += b"\r\nx-azfilesfs-length: %d" % len(body)
        await self.stream.send_all(head + told + b"\r\n\r\n" + rest)
        return await self.answer(is_head=method == "HEAD")

    async def upload(self, target: str, data: bytes, **headers: str) -> Answered:
        """Send a request whose body nginx has put into a file."""
        self.bodies += 1
        file = self.directory.bodies / f"{self.bodies:010d}"
        file.write_bytes(data)
        request = raw_request("PUT", target, data, **headers)
        head = request.partition(b"\r\n\r\n")[0]
        head = head.replace(b"content-length:", b"x-azfilesfs-length:")
        told = b"\r\nX-Azfilesfs-Body: %s\r\n\r\n" % os.fsencode(file)
        await self.stream.send_all(head + told)
        return await self.answer()

    async def answer(self, *, is_head: bool = False) -> Answered:
        """Read an answer; status 0 where the connection ends before."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = await self.stream.receive_some()
            if not part:
                return Answered(0, {}, data)
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        while not is_head and len(body) < int(fields.get("content-length", 0)):
            part = await self.stream.receive_some()
            if not part:
                break
            body += part
        while "transfer-encoding" in fields and not body.endswith(b"0\r\n\r\n"):
            body += await self.stream.receive_some()
        return Answered(int(lines[0].split()[1]), fields, body)

    def content_file(self, answered: Answered) -> Path:
        """Return the file that an answer tells nginx to send."""
        name = answered.headers["x-accel-redirect"]
        assert name.startswith(CONTENT_LOCATION)
        return self.directory.path.parent / "data" / "content" / name.removeprefix(CONTENT_LOCATION)


@asynccontextmanager
async def fronted(folder: Path) -> AsyncIterator[Front]:
    """Serve an emulator on the private socket while the block runs."""
    options = EmulatorOptions(shares=("share",), clock=FakeClock(), data=folder / "data")
    app = create_app(options)
    directory = OffloadDirectory(folder / "offload")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_front, app, directory)
            stream = await trio.open_unix_socket(directory.socket)
            front = Front(app, directory, stream)
            try:
                yield front
            finally:
                await trio.aclose_forcefully(front.stream)
            nursery.cancel_scope.cancel()
    finally:
        app.close()


async def make_file(front: Front, name: str, size: int, **headers: str) -> None:
    """Make an empty file."""
    sent = {"x_ms_type": "file", "x_ms_content_length": str(size), **headers}
    assert (await front.ask("PUT", f"{SHARE}/{name}", **sent)).status == 201


async def test_large_part_is_left_to_nginx(tmp_path: Path):
    """The answer to a large download names content and part, and its bytes are counted."""
    data = os.urandom(BIG)
    async with fronted(tmp_path) as front:
        await make_file(front, "f", BIG)
        put = await front.upload(
            f"{SHARE}/f?comp=range", data, x_ms_range=f"bytes=0-{BIG - 1}", x_ms_write="update"
        )
        assert put.status == 201
        front.app.requests.reset()
        got = await front.ask("GET", f"{SHARE}/f", x_ms_range=f"bytes=10-{BIG - 1}")

        assert got.status == 200
        assert got.body == b""
        assert got.headers["x-azfilesfs-range"] == f"bytes=10-{BIG - 1}"
        assert got.headers["x-ms-type"] == "File"
        assert "content-range" not in got.headers
        assert front.content_file(got).read_bytes() == data
        assert "." not in front.content_file(got).name
        assert front.app.requests.counts()["bytes"] == {"in": 0, "out": BIG - 10}

        whole = await front.ask("GET", f"{SHARE}/f")
        assert "x-azfilesfs-range" not in whole.headers
        assert front.content_file(whole) == front.content_file(got)


async def test_upload_from_a_file(tmp_path: Path):
    """A body that nginx has put into a file is stored and counted; its MD5 only if it was sent."""
    data = os.urandom(BIG)
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    where = {"x_ms_range": f"bytes=0-{BIG - 1}", "x_ms_write": "update"}
    async with fronted(tmp_path) as front:
        await make_file(front, "f", BIG)
        plain = await front.upload(f"{SHARE}/f?comp=range", data, **where)
        assert plain.status == 201
        assert "content-md5" not in plain.headers
        checked = await front.upload(f"{SHARE}/f?comp=range", data, content_md5=digest, **where)
        assert checked.headers["content-md5"] == digest
        wrong = base64.b64encode(bytes(16)).decode()
        refused = await front.upload(f"{SHARE}/f?comp=range", data, content_md5=wrong, **where)
        assert refused.headers["x-ms-error-code"] == "Md5Mismatch"
        assert front.app.requests.counts()["bytes"]["in"] == 3 * BIG

        read = await front.ask("GET", f"{SHARE}/f", x_ms_range="bytes=100-4195")
        assert read.body == data[100:4196]
        assert list(front.directory.bodies.iterdir()) == []


async def test_hole_at_the_end(tmp_path: Path):
    """What was never written reads as zeros: the content's file is as long as the size says."""
    async with fronted(tmp_path) as front:
        await make_file(front, "sparse", 64 << 30)
        got = await front.ask("GET", f"{SHARE}/sparse", x_ms_range=f"bytes={60 << 30}-")

        assert front.content_file(got).stat().st_size == 64 << 30
        assert front.content_file(got).stat().st_blocks == 0


async def test_what_the_emulator_sends_itself(tmp_path: Path):
    """Small parts, and answers with headers that nginx does not repeat, come whole."""
    async with fronted(tmp_path) as front:
        await make_file(front, "f", BIG)
        small = await front.ask("GET", f"{SHARE}/f", x_ms_range="bytes=5-4100")
        assert (small.status, small.body) == (206, bytes(4096))
        assert small.headers["content-range"] == f"bytes 5-4100/{BIG}"

        await make_file(front, "g", BIG, x_ms_meta_colour="blue")
        described = await front.ask("GET", f"{SHARE}/g")
        assert (described.status, described.body) == (200, bytes(BIG))
        assert described.headers["x-ms-meta-colour"] == "blue"

        summed = await front.ask(
            "GET", f"{SHARE}/f", x_ms_range=f"bytes=0-{BIG - 1}",
            x_ms_range_get_content_md5="true",
        )  # fmt: skip
        assert (summed.status, len(summed.body)) == (206, BIG)
        assert "content-md5" in summed.headers


async def test_faults_stay_here(tmp_path: Path):
    """A spoiled body is sent by the emulator; a cut ends the connection, which nginx answers."""
    async with fronted(tmp_path) as front:
        await make_file(front, "f", BIG)
        front.app.faults.add(operation="GetFile", nth=1, corrupt=True)
        front.app.faults.add(operation="GetFile", nth=2, cut="body")
        spoiled = await front.ask("GET", f"{SHARE}/f")
        assert spoiled.body.count(0) == BIG - 1
        cut = await front.ask("GET", f"{SHARE}/f")
        assert len(cut.body) == BIG // 2
        assert front.app.requests.of("GetFile", "cut") == 1


async def test_listings_and_heads(tmp_path: Path):
    """Answers without a length travel in chunks, and HEAD has no body."""
    async with fronted(tmp_path) as front:
        await make_file(front, "f", BIG)
        listed = await front.ask("GET", f"{SHARE}?restype=directory&comp=list")
        assert listed.headers["transfer-encoding"] == "chunked"
        assert b"<Name>f</Name>" in listed.body
        head = await front.ask("HEAD", f"{SHARE}/f")
        assert (head.status, head.headers["content-length"]) == (200, str(BIG))


async def test_control_is_for_this_machine(tmp_path: Path):
    """The control interface judges by the address that nginx tells, not by the socket."""
    async with fronted(tmp_path) as front:
        answered = await front.ask("GET", "/_emulator/requests")
        assert answered.status == 403


@pytest.mark.parametrize("name", ["/etc/passwd", "../data/state.db", ".", ""])
def test_bodies_outside_their_directory(tmp_path: Path, name: str):
    """A body's file lies in the directory for bodies, or it is refused."""
    directory = OffloadDirectory(tmp_path / "offload")
    directory.prepare()
    with pytest.raises(ValueError, match="outside"):
        directory.body_file(name if name.startswith("/") else f"{directory.bodies}/{name}")


async def test_such_a_request_ends_the_connection(tmp_path: Path):
    """A file elsewhere is not read, also through a link."""
    async with fronted(tmp_path) as front:
        (front.directory.bodies / "link").symlink_to("/etc/passwd")
        head = raw_request("PUT", f"{SHARE}/f?comp=range").partition(b"\r\n\r\n")[0]
        told = b"\r\nx-azfilesfs-body: %s/link\r\n\r\n" % os.fsencode(front.directory.bodies)
        await front.stream.send_all(head + told)
        assert (await front.answer()).status == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: ten\r\n\r\n",
        b"x" * (256 * 1024),
    ],
)
async def test_what_is_not_http(tmp_path: Path, sent: bytes):
    """What nginx would not send ends the connection, and the next one is served."""
    async with fronted(tmp_path) as front:
        with trio.fail_after(5):
            with suppress(trio.BrokenResourceError):
                await front.stream.send_all(sent)
                assert (await front.answer()).status == 0
        await front.stream.aclose()
        front.stream = await trio.open_unix_socket(front.directory.socket)
        await make_file(front, "f", 1)


async def test_clients_cannot_speak_for_nginx():
    """On the public address the headers of the private socket mean nothing."""
    call = make_caller()
    await put_file(call, "f", bytes(BIG))
    headers = {
        "x_azfilesfs_body": "/etc/passwd",
        "x_azfilesfs_length": "1",
        "x_azfilesfs_peer": "127.0.0.1",
    }
    assert await read(call, "f", **headers) == bytes(BIG)


async def test_directory_must_be_private(tmp_path: Path):
    """Others could speak for nginx in a directory that they may enter."""
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="not private"):
        OffloadDirectory(tmp_path).prepare()


async def test_names_of_sockets_are_short(tmp_path: Path):
    """A directory too deep for a socket is named."""
    app = make_caller().app
    with pytest.raises(OSError, match="too long"):
        await serve_front(app, OffloadDirectory(tmp_path / ("x" * 120)))


def test_only_contents_are_redirected():
    """Refusals and documents are never sent by nginx."""
    part = ContentSlice(MemoryContent(), 0, 5)
    assert redirected(Answer(200, [], b"text", 4)) is None
    assert redirected(Answer(416, [], part, 5)) is None
    assert redirected(Answer(200, [("x-ms-meta-a", "b")], part, 5)) is None
    assert redirected(Answer(200, [(KEPT_HEADERS[0], "b")], part, 5)) is not None
