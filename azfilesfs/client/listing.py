"""The XML of List Directories and Files, pulled through the parser piece by piece.

A page of 5,000 entries is 2.7 MB and would hold the event loop for about 100 ms; so entries of the
usual form are read by a pattern, at a third of the cost, and what remains is fed to a parser in
pieces, with checkpoints on the way. Names are passed on as listed: whether one can be shown is for
the caller to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

import trio

from azfilesfs.client.listing_entries import HEAD, read_entry
from azfilesfs.client.xml_documents import decoded_name, feed, new_parser
from azfilesfs.errors import ProtocolError
from azfilesfs.model.attributes import parse_attributes
from azfilesfs.model.limits import KIB
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.model.times import parse_iso, parse_rfc1123

T = TypeVar("T")

_FEED_BYTES: Final = 16 * KIB
_ENTRIES_AT_ONCE: Final = 200
_KINDS: Final = {"File": EntryKind.FILE, "Directory": EntryKind.DIRECTORY}


@dataclass(frozen=True, slots=True)
class Listing:
    """One page as parsed.

    Attributes:
        entries: in the service's order.
        next_marker: where the next page begins, None on the last one.
        directory_id: file id of the listed directory, None where the service version has none.
    """

    entries: tuple[ListedEntry, ...]
    next_marker: str | None
    directory_id: int | None


async def parse_listing(data: bytes) -> Listing:
    """Read one page.

    Raises:
        ProtocolError: it is not well-formed XML, not a listing, or an entry lacks its name or has a
            value that cannot be read.
    """
    first, rest = await _usual_entries(data)
    reader = _Reader()
    parser = new_parser(reader.start, reader.end, reader.text)
    view = memoryview(rest)
    for offset in range(0, len(view), _FEED_BYTES):
        feed(parser, view[offset : offset + _FEED_BYTES], is_final=False)
        await trio.lowlevel.checkpoint()
    feed(parser, b"", is_final=True)
    listing = reader.result()
    return replace(listing, entries=(*first, *listing.entries)) if first else listing


async def _usual_entries(data: bytes) -> tuple[list[ListedEntry], bytes]:
    """Read the entries at the beginning that have the usual form; return the page without them."""
    entries: list[ListedEntry] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return entries, data
    head = HEAD.match(text)
    if head is None:
        return entries, data
    position = head.end()
    while (read := read_entry(text, position)) is not None:
        entry, position = read
        entries.append(entry)
        if len(entries) % _ENTRIES_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return entries, (text[: head.end()] + text[position:]).encode() if entries else data


class _Reader:
    """The handlers of the parser, and what they have gathered.

    Invariant: ``_fields`` is not None only inside an entry.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._is_listing = False
        self._entries: list[ListedEntry] = []
        self._fields: dict[str, str] | None = None
        self._kind = EntryKind.FILE
        self._text = ""
        self._name_attributes: Mapping[str, str] = {}
        self._next_marker: str | None = None
        self._directory_id: int | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take in a start tag."""
        self._depth += 1
        self._text = ""
        if self._depth == 1:
            self._is_listing = name == "EnumerationResults"
        elif self._depth == 3 and name in _KINDS:
            self._kind = _KINDS[name]
            self._fields = {}
        elif self._depth == 4 and name == "Name":
            self._name_attributes = attributes

    def text(self, data: str) -> None:
        """Take in character data."""
        self._text += data

    def end(self, name: str) -> None:
        """Take in an end tag."""
        if self._fields is not None and self._depth == 3:
            self._entries.append(self._entry(self._fields))
            self._fields = None
        elif self._fields is not None:
            self._fields[name] = self._text
        elif self._depth == 2 and name == "NextMarker":
            self._next_marker = self._text or None
        elif self._depth == 2 and name == "DirectoryId":
            self._directory_id = _number(self._text)
        self._depth -= 1
        self._text = ""

    def result(self) -> Listing:
        """Return the page."""
        if not self._is_listing:
            raise ProtocolError("the answer is not a listing")
        return Listing(tuple(self._entries), self._next_marker, self._directory_id)

    def _entry(self, fields: dict[str, str]) -> ListedEntry:
        if "Name" not in fields:
            raise ProtocolError("an entry of the listing has no name")
        is_file = self._kind is EntryKind.FILE
        if is_file and "Content-Length" not in fields:
            raise ProtocolError("a file of the listing has no size")
        try:
            properties = Properties(
                kind=self._kind,
                size=_number(fields["Content-Length"]) if is_file else 0,
                etag=_parsed(fields, "Etag", quoted_etag),
                last_modified_ns=_parsed(fields, "Last-Modified", _http_date),
                file_id=_parsed(fields, "FileId", _number),
                creation_time_ns=_parsed(fields, "CreationTime", _time),
                last_write_time_ns=_parsed(fields, "LastWriteTime", _time),
                change_time_ns=_parsed(fields, "ChangeTime", _time),
                attributes=_parsed(fields, "Attributes", _attributes),
                permission_key=fields.get("PermissionKey") or None,
            )
        except ValueError as error:
            raise ProtocolError(
                f"an entry of the listing has a value that cannot be read: {error}"
            ) from error
        return ListedEntry(decoded_name(fields["Name"], self._name_attributes), properties)


def _parsed(fields: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    text = fields.get(name)
    return parse(text) if text else None


def quoted_etag(text: str) -> str:
    """Return an ETag with its quotes, so that those of listings and headers compare equal."""
    return text if text.startswith(('"', "W/")) else f'"{text}"'


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ProtocolError("the listing has something else where a number belongs")
    return int(text)


# The few distinct attributes and the equal times of an entry are read once.
_attributes = lru_cache(64)(parse_attributes)
_time = lru_cache(64)(parse_iso)
_http_date = lru_cache(64)(parse_rfc1123)
