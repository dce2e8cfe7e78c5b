"""What an operation asks for, before it is signed and sent; and the times that it may carry."""

from __future__ import annotations

import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import AzureFilesError, InvalidPath, InvalidRequest
from azfilesfs.model.attributes import FileAttributes, format_attributes
from azfilesfs.model.limits import KIB
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.model.times import floor_to_tick, format_iso

Buffer = bytes | bytearray | memoryview

_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRINTABLE = re.compile(r"[\x20-\x7e\t]*")
SMALL_ANSWER_BYTES: Final = 256 * KIB
"""More than any error document or header-only answer has."""


class TimeMark(Enum):
    """Words that the service takes in place of a time."""

    NOW = "now"
    PRESERVE = "preserve"
    SOURCE = "source"


NOW: Final = TimeMark.NOW
PRESERVE: Final = TimeMark.PRESERVE


@dataclass(frozen=True, slots=True)
class Times:
    """Times to set: Unix nanoseconds (cut to 100 ns when sent), NOW, PRESERVE, or None.

    An omitted time means: on create, now; on Set Properties, what it was (rest.md sections 3.4 and
    5.2).
    """

    creation_ns: int | TimeMark | None = None
    last_write_ns: int | TimeMark | None = None
    change_ns: int | TimeMark | None = None

    def headers(self) -> dict[str, str]:
        """Return the ``x-ms-file-*-time`` headers of the given times."""
        given = {
            "x-ms-file-creation-time": self.creation_ns,
            "x-ms-file-last-write-time": self.last_write_ns,
            "x-ms-file-change-time": self.change_ns,
        }
        return {name: format_time(value) for name, value in given.items() if value is not None}


def format_time(value: int | TimeMark) -> str:
    """Write one time, or the word that stands for it."""
    if isinstance(value, TimeMark):
        return value.value
    return format_iso(floor_to_tick(value))


class Target(Enum):
    """What kind of thing an operation addresses; a 404 without further word is a 404 of that."""

    SERVICE = "service"
    SHARE = "share"
    DIRECTORY = "directory"
    FILE = "file"


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


Settle = Callable[[AzureFilesError], Awaitable[WireAnswer | None]]
Fence = Callable[[], Awaitable[None]]
"""Asked before each attempt at a change; what it raises keeps the attempt from being sent."""

LEASE_HEADERS: Final = (
    "x-ms-lease-id",
    "x-ms-source-lease-id",
    "x-ms-destination-lease-id",
)


# Not frozen: with so many fields that would triple what making one costs.
@dataclass(slots=True, kw_only=True)
class Call:
    """One operation, apart from credential, version and date, which each attempt adds anew.

    Attributes:
        name: the operation as the REST reference calls it, without spaces.
        method: HTTP method.
        target: what it addresses.
        share: share name, None for the account.
        path: path in the share, None for the share itself.
        query: names and values, not encoded.
        headers: headers of the operation itself.
        source: header name and path of a second resource of the share, sent as a URL (with the SAS
            where one is used).
        body: what is sent.
        success: the statuses that mean done.
        budget: class of its deadline.
        mutates: whether it may change something, so that a lost answer is ambiguous.
        repeat: whether it may be repeated after a failure at all.
        reads: about how many bytes of a file the answer brings.
        body_limit: more bytes than this in the answer are a ProtocolError; None for no limit.
        since: oldest service version at which the request means what it says.
        settle: asked after an ambiguous failure whether the request took effect after all; its
            answer then stands for the request's own.
        fence: asked before each attempt, where ``mutates``.
    """

    name: str
    method: str
    target: Target
    share: str | None = None
    path: SharePath | None = None
    query: Mapping[str, str] = field(default_factory=_nothing)
    headers: Mapping[str, str] = field(default_factory=_nothing)
    source: tuple[str, SharePath] | None = None
    body: Buffer = b""
    success: frozenset[int] = frozenset({200})
    budget: Budget = Budget.SMALL
    mutates: bool = False
    repeat: bool = True
    reads: int = 0
    body_limit: int | None = SMALL_ANSWER_BYTES
    since: str = ""
    settle: Settle | None = None
    fence: Fence | None = None

    @property
    def shown_path(self) -> str | None:
        """The path as messages show it."""
        return str(self.path) if self.path is not None else None


def check_sendable(path: SharePath) -> None:
    """Check that a path can be written into a URL without becoming another one.

    Names that other clients made stay reachable even where the service would not create them today.

    Raises:
        InvalidPath: a component is empty, ``.`` or ``..``, contains a slash or NUL, or is not
            Unicode.
    """
    for name in path.components:
        _check_sendable_name(name)


@lru_cache(maxsize=1024)
def _check_sendable_name(name: str) -> None:
    """Check a name; good ones are remembered, as those of directories come again."""
    if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise InvalidPath(f"{name!r} cannot be a name in a share")
    if not name.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        raise InvalidPath("a name must not contain a lone surrogate")


def metadata_headers(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return metadata as ``x-ms-meta-`` headers.

    Raises:
        InvalidRequest: a name is not an identifier, or a value is not printable ASCII.
    """
    headers: dict[str, str] = {}
    for name, value in (metadata or {}).items():
        if _METADATA_NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f"{name!r} is not a metadata name: letters, digits and underscores"
            )
        if _PRINTABLE.fullmatch(value) is None or value != value.strip():
            raise InvalidRequest(f"the value of metadata {name!r} is not printable ASCII")
        headers[f"x-ms-meta-{name}"] = value
    return headers


def attribute_headers(attributes: FileAttributes | None) -> dict[str, str]:
    """Return the attributes as a header, nothing for None."""
    return {} if attributes is None else {"x-ms-file-attributes": format_attributes(attributes)}


def lease_headers(lease_id: str | None, name: str = "x-ms-lease-id") -> dict[str, str]:
    """Return the lease id as a header, nothing for None."""
    return {} if lease_id is None else {name: lease_id}


def content_headers(content: ContentHeaders | None) -> dict[str, str]:
    """Return the HTTP properties as headers, nothing for None. Those that are None are not sent.

    Raises:
        InvalidRequest: a value contains a control character.
    """
    if content is None:
        return {}
    md5 = content.content_md5
    given = {
        "x-ms-content-type": content.content_type,
        "x-ms-content-encoding": content.content_encoding,
        "x-ms-content-language": content.content_language,
        "x-ms-content-disposition": content.content_disposition,
        "x-ms-cache-control": content.cache_control,
        "x-ms-content-md5": base64_text(md5) if md5 is not None else None,
    }
    headers = {name: value for name, value in given.items() if value is not None}
    for name, value in headers.items():
        if any(ord(character) < 0x20 for character in value):
            raise InvalidRequest(f"the value for {name} contains a control character")
    return headers


def base64_text(data: bytes) -> str:
    """Return bytes as base64 text, the form of every hash in a header."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")
