"""One request as the service sees it: whose account, which share and path, which parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

from azfilesfs.emulator.errors import ServiceError, invalid_header, invalid_query, missing_header
from azfilesfs.emulator.grants import NO_GRANT, Grant
from azfilesfs.errors import InvalidPath, NameTooLong
from azfilesfs.model.paths import SharePath

Body = bytes | bytearray | memoryview
TRAILING_DOT_SINCE = "2022-11-02"
_HOST_SUFFIXES = ("-ipv6", "-dualstack", "-secondary")
CONTROL_SEGMENT = "_emulator"
OFFLOAD_KEY = "azfilesfs.offload"
"""Set in the scope's state by the private socket, before which nginx moves the bytes of contents.

Its value is the path of a file that has the body, or None.
"""


@dataclass(slots=True)
class Request:
    """A parsed request.

    Attributes:
        raw_path: the path as sent, percent-encoded.
        account: the account named by the host or by the first segment of the path.
        segments: the path below the account, decoded and split; the share comes first.
        query: parameters by lower-case name, decoded; repeated ones are joined by commas in order.
        headers: by lower-case name.
        metadata_names: ``x-ms-meta-`` names without prefix as spelled, by lower-case name.
        peer: address of the other side.
        grant: what the credential allows, set by authentication.
        version: the service version that applies, set by authentication.
        md5: digest of the body, where it was computed beforehand.
        is_offloaded: the bytes of contents pass the emulator by, so that nothing is computed over
            them that the client does not ask for.
        body_file: a file that has the body and may be taken away.
    """

    method: str
    scheme: str
    host: str
    raw_path: str
    account: str
    path_style: bool
    segments: tuple[str, ...]
    has_trailing_slash: bool
    query: dict[str, str]
    headers: dict[str, str]
    metadata_names: dict[str, str]
    peer: str
    body: Body = b""
    version: str = ""
    grant: Grant = NO_GRANT
    md5: bytes | None = None
    is_offloaded: bool = False
    body_file: Path | None = None

    @property
    def wants_body_md5(self) -> bool:
        """Whether the digest of the body is checked or shown."""
        return not self.is_offloaded or "content-md5" in self.headers

    @property
    def share(self) -> str:
        """The share's name, empty for the service."""
        return self.segments[0] if self.segments else ""

    @property
    def endpoint(self) -> str:
        """The service's URL as this request addressed it, with a slash at the end."""
        account = f"/{self.account}" if self.path_style else ""
        return f"{self.scheme}://{self.host}{account}/"

    @property
    def snapshot(self) -> str | None:
        """The snapshot that the request names."""
        return self.query.get("sharesnapshot")

    def path(self) -> SharePath:
        """Return the path inside the share, checked; trailing dots are trimmed unless allowed.

        Raises:
            ServiceError: a name is refused.
        """
        keep_dots = self.version >= TRAILING_DOT_SINCE and self.flag("x-ms-allow-trailing-dot")
        return checked_path(self.segments[1:], keep_dots=keep_dots)

    def header(self, name: str) -> str | None:
        """Return a header's value; an empty one counts as absent."""
        return self.headers.get(name) or None

    def required(self, name: str) -> str:
        """Return a header's value.

        Raises:
            ServiceError: MissingRequiredHeader.
        """
        value = self.headers.get(name)
        if not value:
            raise missing_header(name)
        return value

    def flag(self, name: str) -> bool:
        """Return a true or false header, False where it is absent.

        Raises:
            ServiceError: InvalidHeaderValue.
        """
        value = self.headers.get(name, "").lower()
        if value not in {"", "true", "false"}:
            raise invalid_header(name, value)
        return value == "true"

    def number(self, name: str) -> int | None:
        """Return a header that is a whole number, None where it is absent.

        Raises:
            ServiceError: InvalidHeaderValue.
        """
        value = self.header(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise invalid_header(name, value)
        return int(value)

    def page_size(self, limit: int) -> int | None:
        """Return ``maxresults``, None where it is absent.

        Raises:
            ServiceError: it is not a number, or below 1.
        """
        text = self.query.get("maxresults")
        if not text:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise invalid_query("maxresults", text)
        if int(text) < 1:
            extras = {
                "QueryParameterName": "maxresults",
                "QueryParameterValue": text,
                "MinimumAllowed": "1",
                "MaximumAllowed": str(limit),
            }
            raise ServiceError("OutOfRangeQueryParameterValue", extras=extras)
        return int(text)

    def body_md5(self) -> bytes:
        """Return the MD5 of the body."""
        if self.md5 is None:
            self.md5 = hashlib.md5(self.body, usedforsecurity=False).digest()
        return self.md5


def checked_path(segments: Iterable[str], *, keep_dots: bool) -> SharePath:
    """Return a path of decoded names.

    Raises:
        ServiceError: a name is refused, or the path is too long or too deep.
    """
    names = tuple(segments)
    if not keep_dots:
        names = tuple(name.rstrip(".") if name.endswith(".") else name for name in names)
    path = SharePath(names)
    try:
        path.check()
    except NameTooLong:
        raise ServiceError("InvalidFileOrDirectoryPathName") from None
    except InvalidPath:
        raise ServiceError("InvalidResourceName") from None
    return path


def decode_path(raw_path: str) -> tuple[tuple[str, ...], bool]:
    """Decode and split a path: ``%2F`` separates like ``/``; a slash at its end is reported.

    Raises:
        ServiceError: InvalidUri, where it is not UTF-8.
    """
    try:
        text = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise ServiceError("InvalidUri") from None
    text = text.removeprefix("/")
    trailing = text.endswith("/")
    text = text.removesuffix("/")
    return (tuple(text.split("/")) if text else ()), trailing


def parse_query(text: str) -> dict[str, str]:
    """Decode a query string; names in lower case, values of repeated names sorted and joined."""
    values: dict[str, list[str]] = {}
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            values.setdefault(unquote_plus(name).lower(), []).append(_decode_value(value))
    return {name: ",".join(sorted(several)) for name, several in values.items()}


def _decode_value(value: str) -> str:
    # "+" stands for itself in the signatures of SAS tokens that were not encoded with care.
    return unquote_to_bytes(value).decode("utf-8", "replace") if "%" in value else value


def account_of_host(host: str, accounts: Iterable[str]) -> str | None:
    """Return the account of a host-style URL (``ACCOUNT.file...``), None for others."""
    label, _, rest = host.partition(".")
    if not rest.startswith("file."):
        return None
    for suffix in _HOST_SUFFIXES:
        if label.endswith(suffix) and label not in accounts:
            label = label.removesuffix(suffix)
    return label


def parse(scope: Mapping[str, Any], accounts: Iterable[str]) -> Request:
    """Parse an ASGI scope.

    Raises:
        ServiceError: InvalidUri.
    """
    headers: dict[str, str] = {}
    metadata_names: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        spelled = raw_name.decode("latin-1")
        name = spelled.lower()
        value = raw_value.decode("latin-1").strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
        if name.startswith("x-ms-meta-"):
            metadata_names[name[10:]] = spelled[10:]
    raw_path = _raw_path(scope)
    host = headers.get("host", "")
    segments, trailing = decode_path(raw_path)
    account = account_of_host(host, accounts)
    path_style = account is None
    if account is None:
        account, segments = (segments[0], segments[1:]) if segments else ("", ())
    client = scope.get("client")
    state = scope.get("state") or {}
    return Request(
        method=scope["method"].upper(),
        scheme=scope.get("scheme", "http"),
        host=host,
        raw_path=raw_path,
        account=account,
        path_style=path_style,
        segments=segments,
        has_trailing_slash=trailing,
        query=parse_query(scope["query_string"].decode("latin-1")),
        headers=headers,
        metadata_names=metadata_names,
        peer=client[0] if client else "",
        is_offloaded=OFFLOAD_KEY in state,
        body_file=state.get(OFFLOAD_KEY),
    )


def _raw_path(scope: Mapping[str, Any]) -> str:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = scope["path"].encode("utf-8")
    text = raw.partition(b"?")[0].decode("latin-1")
    if text.startswith(("http://", "https://")):
        text = "/" + text.split("://", 1)[1].partition("/")[2]
    return text
