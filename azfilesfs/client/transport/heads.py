"""The heads of requests and answers: written and read strictly. Pure.

What arrives is not trusted: a head is read by llhttp in its strict mode (through httptools, which
nothing else imports), is bounded, and must say unmistakably where its body ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar, overload

import httptools
import httpx

from azfilesfs.model.limits import KIB

T = TypeVar("T")

HEAD_BYTES: Final = 64 * KIB
"""A longer head of an answer is refused; the service's have 2 KiB."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[\x21-\x7e]*")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END: Final = b"\r\n\r\n"


class Origin(NamedTuple):
    """Where a connection leads."""

    is_https: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port, as CONNECT names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Headers(Mapping[str, str]):
    """Headers by name in any case; repeated ones are joined by commas."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        """Take names and values as they arrived."""
        self._values = {name.lower(): value for name, value in pairs}
        if len(self._values) < len(pairs):
            self._values = _joined(pairs)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...

    def get(self, name: str, /, default: str | T | None = None) -> str | T | None:
        """Return a header, or what stands for one that is not there; asked for dozens of times."""
        return self._values.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers of which some are repeated."""
    values: dict[str, str] = {}
    for name, value in pairs:
        lowered = name.lower()
        before = values.get(lowered)
        values[lowered] = value if before is None else f"{before}, {value}"
    return values


@lru_cache(maxsize=64)
def origin_of(prefix: str) -> Origin:
    """Return where ``scheme://authority`` leads.

    Raises:
        httpx.InvalidURL: it is not http or https, or names no host, a user or no port number.
    """
    url = httpx.URL(prefix)
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise httpx.InvalidURL("no address of a service")
    is_https = url.scheme == "https"
    host = url.raw_host.decode("ascii").strip("[]")
    return Origin(is_https, host, url.port or (443 if is_https else 80))


def split_url(url: str) -> tuple[Origin, str]:
    """Return where a complete, percent-encoded URL leads, and its path and query as they stand.

    Raises:
        httpx.InvalidURL: it is not one.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    if not slash or _TARGET.fullmatch(target) is None or "#" in target:
        raise httpx.InvalidURL("no percent-encoded URL with a path")
    return origin_of(f"{scheme}://{authority}"), f"/{target}"


@lru_cache(maxsize=512)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def request_head(
    method: str, target: str, origin: Origin, headers: Mapping[str, str], length: int
) -> bytes:
    """Return the head of a request whose body has this many bytes.

    Raises:
        httpx.LocalProtocolError: a header would break the request, or contradicts the body.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    has_host = has_length = False
    for name, value in headers.items():
        lowered = name.lower()
        if lowered == "host":
            has_host = True
        elif lowered == "content-length":
            has_length = True
            if value != str(length):
                raise httpx.LocalProtocolError("Content-Length is not the length of the body")
        elif lowered == "transfer-encoding":
            continue
        if not _is_token(name):
            raise httpx.LocalProtocolError("a header has a name that cannot be sent")
        lines.append(f"{name}: {value}")
    if not has_host:
        lines.insert(1, f"Host: {origin.authority}")
    if length and not has_length:
        lines.append(f"Content-Length: {length}")
    # A tab is allowed in a line, and so does not hide an end of line inside of one.
    if not _is_token(method) or _UNPRINTABLE.search("\t".join(lines)):
        raise httpx.LocalProtocolError("a header has a value that cannot be sent")
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


class AnswerHead:
    """Status and headers of one answer, and how its body is to be read.

    Attributes:
        status: HTTP status.
        raw_headers: names and values as they arrived.
        headers: the same, by name in any case.
        length: of the body; None for one that is chunked or ends with the connection.
        is_chunked: whether the body comes in chunks.
        keeps: whether the connection may serve another request afterwards.
        text: the head as it arrived.
    """

    __slots__ = ("headers", "is_chunked", "keeps", "length", "raw_headers", "status", "text")

    def __init__(self, data: bytes, method: str) -> None:
        """Read a head, complete with its empty line; ``method`` is that of the request.

        Raises:
            httpx.RemoteProtocolError: it is not one.
        """
        found = _Found()
        parser = httptools.HttpResponseParser(found)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise httpx.RemoteProtocolError("it switches to another protocol") from None
        except httptools.HttpParserError as error:
            raise httpx.RemoteProtocolError(f"{type(error).__name__}: {error}") from error
        version = parser.get_http_version()
        if not found.is_complete or version not in {"1.0", "1.1"}:
            raise httpx.RemoteProtocolError("the head is not one of HTTP/1")
        self.text = data
        self.status = parser.get_status_code()
        self.raw_headers = found.pairs
        self.headers = Headers(found.pairs)
        self.is_chunked = False
        self.length = self._framing(method)
        words = self.headers.get("connection", "").lower().replace(",", " ").split()
        ends_itself = self.length is not None or self.is_chunked
        self.keeps = version == "1.1" and "close" not in words and ends_itself

    def _framing(self, method: str) -> int | None:
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if coding is not None and (coding.strip().lower() != "chunked" or length is not None):
            raise httpx.RemoteProtocolError("the end of the body cannot be told")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
            raise httpx.RemoteProtocolError("Content-Length is not a number")
        if method == "HEAD" or self.status in {204, 304} or self.status < 200:
            return 0
        self.is_chunked = coding is not None
        return int(length) if length is not None else None


class _Found:
    """What the parser tells of a head."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def cut_head(received: bytes) -> int:
    """Return where the head that ``received`` begins with ends, 0 where it is not complete yet.

    Raises:
        httpx.RemoteProtocolError: it is not HTTP, or too long.
    """
    if not received.startswith(b"HTTP/"[: len(received)]):
        raise httpx.RemoteProtocolError("it does not begin with HTTP/")
    end = received.find(_END)
    if (len(received) if end < 0 else end) > HEAD_BYTES:
        raise httpx.RemoteProtocolError("the head is too long")
    return end + len(_END) if end >= 0 else 0


def has_final_answer(received: bytes) -> bool:
    """Tell whether an answer has begun that is not one of the interim ones (1xx)."""
    # The status follows "HTTP/1.1 ".
    while received[9:10] == b"1":
        received = received.partition(_END)[2]
    return len(received) > 9


class Chunks:
    """Takes a chunked body apart."""

    def __init__(self, head: bytes) -> None:
        """Begin after ``head``, which has been found to be good."""
        self._parts: list[bytes] = []
        self._answers = 0
        self.is_complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(head)

    @property
    def is_clean(self) -> bool:
        """Whether nothing came after the end of the body."""
        return self.is_complete and self._answers == 1

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body in ``data``.

        Raises:
            httpx.RemoteProtocolError: it is not chunked as announced.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_complete:
                raise httpx.RemoteProtocolError("a chunk is malformed") from error
            self._answers += 1
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def on_message_begin(self) -> None:
        """Count the answers that begin; a second one was not asked for."""
        self._answers += 1

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._answers == 1:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self.is_complete = True
