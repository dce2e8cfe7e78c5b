"""Bytes that pass the emulator by: nginx before it takes and sends the contents of files.

nginx writes the body of a large upload to a file and says where; the answer to a large download
says which part of which content nginx shall send. Everything else stays here: signatures, leases,
faults, delays, counts. What the two tell each other stands in headers that count only on the
private socket of ``emulator.front``, and that nginx sets or removes in every request.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.content import ContentSlice
from azfilesfs.model.limits import KIB

OFFLOAD_BYTES: Final = 64 * KIB
"""Parts below this are sent by the emulator itself, which costs less than asking nginx to."""

BODY_HEADER: Final = "x-azfilesfs-body"
LENGTH_HEADER: Final = "x-azfilesfs-length"
PEER_HEADER: Final = "x-azfilesfs-peer"
SCHEME_HEADER: Final = "x-azfilesfs-scheme"
RANGE_HEADER: Final = "x-azfilesfs-range"
REQUEST_HEADERS: Final = (BODY_HEADER, LENGTH_HEADER, PEER_HEADER, SCHEME_HEADER)
"""What nginx tells of each request: file of the body, Content-Length, address, http or https."""

CONTENT_LOCATION: Final = "/_azfilesfs_content/"
"""The internal location of nginx below which contents have the names of their files."""

KEPT_HEADERS: Final = (
    "server",
    "date",
    "x-ms-request-id",
    "x-ms-version",
    "x-ms-client-request-id",
    "last-modified",
    "etag",
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "content-md5",
    "accept-ranges",
    "x-ms-content-md5",
    "x-ms-type",
    "x-ms-server-encrypted",
    "x-ms-file-permission-key",
    "x-ms-file-attributes",
    "x-ms-file-creation-time",
    "x-ms-file-last-write-time",
    "x-ms-file-change-time",
    "x-ms-file-id",
    "x-ms-file-parent-id",
    "x-ms-lease-status",
    "x-ms-lease-state",
    "x-ms-lease-duration",
    "x-ms-copy-id",
    "x-ms-copy-source",
    "x-ms-copy-status",
    "x-ms-copy-progress",
    "x-ms-copy-completion-time",
    "x-ms-copy-status-description",
)
"""What nginx is configured to repeat. An answer with others, as metadata, is sent from here."""

_MADE_BY_NGINX: Final = frozenset({"content-range"})


@dataclass(frozen=True, slots=True)
class OffloadDirectory:
    """The directory that the emulator and nginx share; nobody else may look into it."""

    path: Path

    @property
    def socket(self) -> Path:
        """Where the emulator listens."""
        return self.path / "emulator.sock"

    @property
    def bodies(self) -> Path:
        """Where nginx puts the bodies of uploads."""
        return self.path / "bodies"

    def prepare(self) -> None:
        """Make it, and remove bodies that nobody took.

        Raises:
            OSError: it cannot be made, belongs to somebody else, or others may enter it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self.path} is not private to this user (mode 0700)")
        self.bodies.mkdir(mode=0o700, exist_ok=True)
        for left in self.bodies.iterdir():
            left.unlink()
        self.socket.unlink(missing_ok=True)

    def body_file(self, name: str) -> Path:
        """Return the file into which nginx put a body.

        Raises:
            ValueError: it lies elsewhere.
        """
        path = Path(name)
        if path.parent != self.bodies or path.name in {"", ".", ".."}:
            raise ValueError("a body lies outside its directory")
        return path


def mapped(path: Path) -> memoryview:
    """Return a file's bytes, mapped rather than read.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)


def redirected(answer: Answer) -> Answer | None:
    """Return what to tell nginx instead of sending a content, None where it must be sent here."""
    body = answer.body
    if not isinstance(body, ContentSlice) or answer.status not in {200, 206}:
        return None
    names = {name for name, _ in answer.headers}
    if not names <= (_MADE_BY_NGINX | set(KEPT_HEADERS)):
        return None
    headers = [pair for pair in answer.headers if pair[0] not in _MADE_BY_NGINX]
    headers.append(("x-accel-redirect", CONTENT_LOCATION + body.key))
    if answer.status == 206:
        headers.append((RANGE_HEADER, f"bytes={body.start}-{body.start + body.length - 1}"))
    return Answer(200, headers)
