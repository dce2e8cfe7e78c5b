"""Values as they travel in headers and listings; fast, for pages of 5,000 entries."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

from azfilesfs.model.attributes import FileAttributes, format_attributes
from azfilesfs.model.times import NS_PER_SECOND, TICK_NS, format_iso, format_rfc1123, parse_iso

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHORT_ISO = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d)?")


@lru_cache(maxsize=4096)
def _iso_seconds(seconds: int) -> str:
    return format_iso(seconds * NS_PER_SECOND)[:19]


def iso(ns: int) -> str:
    """Write a time as ISO 8601 with seven digits."""
    seconds, rest = divmod(ns, NS_PER_SECOND)
    return f"{_iso_seconds(seconds)}.{rest // TICK_NS:07d}Z"


@lru_cache(maxsize=4096)
def _rfc1123_seconds(seconds: int) -> str:
    return format_rfc1123(seconds * NS_PER_SECOND)


def rfc1123(ns: int) -> str:
    """Write a time as an HTTP date."""
    return _rfc1123_seconds(ns // NS_PER_SECOND)


@lru_cache(maxsize=1024)
def attributes_text(attributes: FileAttributes) -> str:
    """Write attributes; there are few combinations, and flags are slow to take apart."""
    return format_attributes(attributes)


def is_guid(text: str) -> bool:
    """Tell whether the text has the form of a GUID."""
    return _GUID.fullmatch(text) is not None


def sas_time(text: str) -> int:
    """Read a time of a SAS or an access policy: a date, a minute, a second or finer.

    Raises:
        ValueError: none of these.
    """
    plain = text.strip()
    short = _SHORT_ISO.fullmatch(plain.removesuffix("Z"))
    if short is not None:
        plain = plain.removesuffix("Z") + (":00Z" if short.group(1) else "T00:00:00Z")
    return parse_iso(plain)


def b64(data: bytes) -> str:
    """Encode in base64."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes | None:
    """Decode base64, None where it is not."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
