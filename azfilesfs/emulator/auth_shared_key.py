"""SharedKey signatures, by the emulator's own reading of the rules (rest.md section 6.1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final

from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.request import Request
from azfilesfs.model.times import NS_PER_SECOND, parse_rfc1123

MAX_SKEW_SECONDS: Final = 15 * 60
_SLOTS: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_FOLDED: Final = re.compile(r"\s*\r?\n\s*")
_SIGNATURE: Final = re.compile(r"sig=[^&\s]*")


@lru_cache(maxsize=4096)
def collation_key(name: str) -> tuple[str, tuple[int, ...]]:
    """Return what header names are sorted by: ``-`` counts last, ``_`` comes before digits.

    Where two names differ by dashes only, the one whose first dash comes earlier is the later one.
    """
    plain = name.replace("-", "").replace("_", "\x01")
    dashes = tuple(-index for index, character in enumerate(name) if character == "-")
    return plain, dashes


def string_to_sign(request: Request, *, lite: bool = False) -> str:
    """Return the text that the Authorization header of a request signs."""
    headers = request.headers
    names = sorted((name for name in headers if name.startswith("x-ms-")), key=collation_key)
    canonical = "".join(f"{name}:{_FOLDED.sub(' ', headers[name])}\n" for name in names)
    if lite:
        slots = [headers.get(name, "") for name in ("content-md5", "content-type", "date")]
    else:
        slots = [headers.get(name, "") for name in _SLOTS]
        if slots[2] == "0":
            slots[2] = ""
    if "x-ms-date" in headers:
        slots[2 if lite else 5] = ""
    top = "\n".join([request.method, *slots])
    return f"{top}\n{canonical}{_resource(request, lite=lite)}"


def _resource(request: Request, *, lite: bool) -> str:
    resource = f"/{request.account}{request.raw_path or '/'}"
    if lite:
        comp = request.query.get("comp")
        return resource if comp is None else f"{resource}?comp={comp}"
    return resource + "".join(f"\n{name}:{request.query[name]}" for name in sorted(request.query))


def sign(key: bytes, text: str) -> str:
    """Return the signature of a text, in base64."""
    digest = hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")


def check_shared_key(request: Request, key: bytes, authorization: str, now: int | None) -> None:
    """Check the Authorization header of a request.

    Args:
        request: the request.
        key: the account's key.
        authorization: the header, ``SharedKey`` or ``SharedKeyLite``.
        now: Unix nanoseconds to compare the request's date with; None does not compare.

    Raises:
        ServiceError: AuthenticationFailed.
    """
    scheme, _, credential = authorization.partition(" ")
    account, _, signature = credential.strip().partition(":")
    if account != request.account:
        raise ServiceError("AuthenticationFailed")
    check_date(request, now)
    text = string_to_sign(request, lite=scheme.lower() == "sharedkeylite")
    if not hmac.compare_digest(sign(key, text).encode(), signature.encode("latin-1", "replace")):
        shown = _SIGNATURE.sub("sig=REDACTED", text).replace("\n", "\\n")
        raise ServiceError(
            "AuthenticationFailed",
            message="Server failed to authenticate the request. Make sure the value of "
            "Authorization header is formed correctly including the signature.",
            extras={
                "AuthenticationErrorDetail": "The MAC signature found in the HTTP request is not "
                f"the same as any computed signature. Server used following string to sign: "
                f"'{shown}'."
            },
        )


def check_date(request: Request, now: int | None) -> None:
    """Refuse a request without a date, or with one more than 15 minutes off.

    Raises:
        ServiceError: AuthenticationFailed.
    """
    text = request.headers.get("x-ms-date") or request.headers.get("date")
    if not text:
        raise ServiceError("AuthenticationFailed")
    try:
        moment = parse_rfc1123(text)
    except (ValueError, TypeError):
        raise ServiceError("AuthenticationFailed") from None
    if now is not None and abs(now - moment) > MAX_SKEW_SECONDS * NS_PER_SECOND:
        raise ServiceError(
            "AuthenticationFailed",
            extras={"AuthenticationErrorDetail": f"Request date header too old: '{text}'"},
        )
