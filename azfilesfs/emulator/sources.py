"""URLs inside headers: the sources of Rename, Copy File and Put Range From URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from azfilesfs.emulator.auth_sas import Token, check_token
from azfilesfs.emulator.errors import ServiceError, invalid_header
from azfilesfs.emulator.request import (
    TRAILING_DOT_SINCE,
    Request,
    account_of_host,
    checked_path,
    decode_path,
    parse_query,
)
from azfilesfs.emulator.shares import Service
from azfilesfs.model.paths import SharePath


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrl:
    """A file or directory named by a URL; ``query`` may carry a SAS, so it is never shown."""

    account: str
    share: str
    path: SharePath
    snapshot: str | None
    raw_path: str
    query: dict[str, str]

    def __repr__(self) -> str:
        return f"SourceUrl({self.account}/{self.share}/{self.path})"


def parse_source(request: Request, name: str, accounts: Iterable[str]) -> SourceUrl:
    """Read a URL header of a request.

    Raises:
        ServiceError: it is missing, or not a URL of this service.
    """
    text = request.required(name)
    try:
        parts = urlsplit(text)
        host = parts.netloc
    except ValueError:
        raise invalid_header(name, "") from None
    if not parts.path.startswith("/") or "?" in parts.path:
        raise invalid_header(name, "")
    # The raw path is percent-encoded by rule, but clients exist that send it as UTF-8.
    raw_path = parts.path.encode("latin-1", "replace").decode("latin-1")
    segments, _ = decode_path(raw_path)
    account = account_of_host(host, accounts)
    if account is None and segments and (request.path_style or segments[0] in set(accounts)):
        account, segments = segments[0], segments[1:]
    if not account or not segments:
        raise invalid_header(name, "")
    keep_dots = request.version >= TRAILING_DOT_SINCE and request.flag(
        "x-ms-source-allow-trailing-dot"
    )
    query = parse_query(parts.query)
    return SourceUrl(
        account=account,
        share=segments[0],
        path=checked_path(segments[1:], keep_dots=keep_dots),
        snapshot=query.get("sharesnapshot"),
        raw_path=raw_path,
        query=query,
    )


def source_token(service: Service, request: Request, source: SourceUrl) -> Token:
    """Return the SAS of a source as it is used by a request."""
    return Token(
        query=source.query,
        account=source.account,
        share=source.share,
        path=str(source.path),
        scheme=request.scheme,
        peer=request.peer,
        now=service.clock.now(),
    )


def check_source_sas(service: Service, request: Request, source: SourceUrl) -> None:
    """Check the SAS that the source of a rename carries; a file SAS must come with one.

    Raises:
        ServiceError: 403.
    """
    if "sig" in source.query:
        check_token(service, source_token(service, request, source))
    elif request.grant.is_file_only:
        raise ServiceError("AuthorizationFailure")


def refuse_unverified(status: int, message: str | None = None) -> ServiceError:
    """Return the refusal of a copy whose source cannot be read."""
    return ServiceError("CannotVerifyCopySource", status=status, message=message)
