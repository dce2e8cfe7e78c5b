"""Entries of a listing in the form in which the service writes them, read by one pattern each.

A page of 5,000 entries has 120,000 tags, and a parser that calls back for each takes a hundred
milliseconds. The pattern is a strict part of XML: elements in the documented order, each once, with
text that needs no decoding. What is not of this form is left to the parser, which judges it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from azfilesfs.model.attributes import parse_attributes
from azfilesfs.model.properties import ListedEntry, pack
from azfilesfs.model.times import NS_PER_SECOND, TICK_NS, parse_iso, parse_rfc1123

_TEXT: Final = r"([^<>&\x00-\x1f\ufffe\uffff]*)"
_NAME: Final = r"([^<>\x00-\x1f\ufffe\uffff]*)"
_ESCAPES: Final = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_REFERENCE: Final = re.compile("(&(?:lt|gt|quot|apos|amp);)")
_ISO_LENGTH: Final = len("2022-11-30T22:57:12.2909957Z")
_RFC_LENGTH: Final = len("Mon, 27 Jan 2014 22:15:50 GMT")
_NUMBER_DIGITS: Final = 20


def _optional(tag: str, text: str = _TEXT) -> str:
    return f"(?:<{tag}>{text}</{tag}>)?"


HEAD: Final = re.compile(
    r'\ufeff?(?:<\?xml version="1\.0" encoding="utf-8" ?\?>)?'
    r"<EnumerationResults(?: [A-Za-z]+=\"[^<>\"]*\")*>"
    + "".join(
        rf"(?:<{tag}(?: Encoded=\"[a-z]*\")?>[^<>]*</{tag}>|<{tag} />)?"
        for tag in ("Prefix", "Marker", "MaxResults", "DirectoryId")
    )
    + "<Entries>",
    re.IGNORECASE,
)
"""What stands before the first entry; only behind it this module may read."""

_ENTRY: Final = re.compile(
    rf'<(?P<tag>File|Directory)><Name(?: Encoded="(true|false)")?>{_NAME}</Name>'
    + _optional("FileId", r"([0-9]*)")
    + "(?:<Properties />|<Properties>"
    + _optional("Content-Length", r"([0-9]*)")
    + _optional("CreationTime")
    + _optional("LastAccessTime")
    + _optional("LastWriteTime")
    + _optional("ChangeTime")
    + _optional("Last-Modified")
    + _optional("Etag")
    + "</Properties>)"
    + _optional("Attributes")
    + _optional("PermissionKey")
    + r"</(?P=tag)>"
)


def read_entry(text: str, position: int) -> tuple[ListedEntry, int] | None:
    """Read the entry at a position; return it and where it ends, None if that is for the parser.

    An entry that lacks something, or has a value that cannot be read, is for the parser too: it
    knows what to say about it.
    """
    match = _ENTRY.match(text, position)
    if match is None:
        return None
    tag, encoded, name, file_id, size, created, _, written, changed, modified, etag, bits, key = (
        match.groups()
    )
    is_directory = tag == "Directory"
    if (not is_directory and not size) or max(len(size or ""), len(file_id or "")) > _NUMBER_DIGITS:
        return None
    try:
        packed = pack(
            is_directory=is_directory,
            size=0 if is_directory else int(size),
            etag=_quoted(etag) if etag else None,
            file_id=int(file_id) if file_id else None,
            times=(
                _http_date(modified) if modified else None,
                _time(created) if created else None,
                _time(written) if written else None,
                _time(changed) if changed else None,
            ),
            attributes=_attributes(bits) if bits else None,
        )
    except ValueError:
        return None
    if packed is None:
        return None
    if "&" in name and (name := _unescaped(name)) is None:
        return None
    if encoded == "true":
        name = unquote(name, errors="surrogateescape")
    return ListedEntry.file_or_directory(name, packed, _shared(key) if key else None), match.end()


def _unescaped(name: str) -> str | None:
    """Replace the five names that XML knows, None where the text has other references."""
    parts = _REFERENCE.split(name)
    if any("&" in part for part in parts[::2]):
        return None
    return "".join(_ESCAPES.get(part, part) for part in parts)


def _quoted(etag: str) -> str:
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


def _time(text: str) -> int:
    """Read an ISO time; the minute, which many entries share, is read once."""
    digits = text[17:19] + text[20:27]
    if (
        len(text) == _ISO_LENGTH
        and text[16] + text[19] + text[27] == ":.Z"
        and digits.isascii()
        and digits.isdigit()
        and text[17] < "6"
    ):
        rest = int(digits)
        return _minute(text[:16]) + rest // 10**7 * NS_PER_SECOND + rest % 10**7 * TICK_NS
    return parse_iso(text)


@lru_cache(1024)
def _minute(text: str) -> int:
    return parse_iso(f"{text}:00Z")


def _http_date(text: str) -> int:
    """Read an HTTP date; the day is read once."""
    digits = text[17:19] + text[20:22] + text[23:25]
    is_usual = len(text) == _RFC_LENGTH and text[16] + text[19] + text[22] + text[25:] == " :: GMT"
    if not is_usual or not digits.isascii() or not digits.isdigit():
        return parse_rfc1123(text)
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        return parse_rfc1123(text)
    return _day(text[:16]) + ((hours * 60 + minutes) * 60 + seconds) * NS_PER_SECOND


@lru_cache(1024)
def _day(text: str) -> int:
    return parse_rfc1123(f"{text} 00:00:00 GMT")


_attributes = lru_cache(64)(parse_attributes)


@lru_cache(256)
def _shared(text: str) -> str:
    """Return one object for equal texts."""
    return text
