"""The state of one staged file (what is dirty, where, on which base) and its journal.

A journal is a file of records, each with a checksum, appended by one ``write(2)``
(``journal_file.py``). The same class applies a change to the live state and replays it, so the two
cannot differ. Scheme and proofs: docs/internals/staging.md.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple
from zlib import crc32

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

_FRAME: Final = struct.Struct(
    "<BI"
)  # kind, length of the payload; the payload and a CRC-32 of all before it follow
_EXTENT: Final = struct.Struct("<QQ")
_OFFSET: Final = struct.Struct("<Q")
_FRAMED_EXTENT: Final = struct.Struct("<BIQQ")
_CHECKSUM: Final = struct.Struct("<I")
EXTENT_RECORD_BYTES: Final = _FRAMED_EXTENT.size + _CHECKSUM.size
_FORMAT: Final = 1


class Kind(IntEnum):
    """What a record says. Zero is no kind: a page of zeros is no record."""

    HEADER = 1
    WRITTEN = 2
    UPLOADED = 3
    TRUNCATED = 4
    RELOCATED = 5
    REBASED = 6
    UNLINKED = 7
    ACKNOWLEDGED = 8
    CONTENT = 9


class Acknowledgement(NamedTuple):
    """What a close was answered on, before the bytes were sent (``--close=async``).

    The times are those that the file is to have on the service, and the last-write time that its
    base had there; all may be unknown.
    """

    mtime_ns: int | None
    ctime_ns: int | None
    base_write_ns: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Who began the file and when: the share is ``account/share``, ``boot`` names the boot."""

    share: str
    host: str
    pid: int
    boot: str
    created_ns: int


@dataclass(slots=True)
class FileState:
    """What the journal knows of a file; each method is one change.

    Attributes:
        base: the remote version that the dirty bytes stand on; None: the file is not on the service
            yet.
        base_limit: bytes of the base below this offset still belong to the file; from it on, what
            is not dirty is zeros.
        size: the local size.
        is_unlinked: whether the file has lost its name; then nobody misses its bytes.
        dirty: bytes not yet on the service; never past ``size``.
        acknowledged: what a close was answered on; None where there was none, or where the file
            was changed after it.
        content: bytes that the journal itself holds, with their offsets; in a replay only.
    """

    origin: Origin
    path: SharePath
    base: Validator | None
    base_limit: int
    size: int
    dirty: ExtentMap = field(default_factory=ExtentMap)
    is_unlinked: bool = False
    acknowledged: Acknowledgement | None = None
    content: list[tuple[int, bytes]] = field(default_factory=list)

    def written(self, extent: ByteRange) -> None:
        """Note bytes written by a program."""
        self.dirty.add(extent)
        self.size = max(self.size, extent.stop)
        self.acknowledged = None

    def uploaded(self, extent: ByteRange) -> None:
        """Note bytes that the service has."""
        self.dirty.remove(extent)

    def truncated(self, size: int) -> None:
        """Note a new size, smaller or greater."""
        self.dirty.truncate(size)
        self.base_limit = min(self.base_limit, size)
        self.size = size
        self.acknowledged = None

    def rebased(self, base: Validator | None, base_limit: int) -> None:
        """Note another base version and how much of it belongs to the file."""
        self.base = base
        self.base_limit = base_limit

    @property
    def is_unsent(self) -> bool:
        """Whether the service lacks anything of this file: bytes, its size, or its existence."""
        if self.is_unlinked:
            return False
        if self.base is None or self.dirty:
            return True
        return self.size != self.base.size or self.base_limit < self.base.size

    def records(self) -> Iterator[bytes]:
        """Yield the shortest journal that rebuilds this state."""
        yield header_record(self)
        for extent in self.dirty:
            yield extent_record(Kind.WRITTEN, extent)
        if self.is_unlinked:
            yield unlinked_record()
        if self.acknowledged is not None:
            yield acknowledged_record(self.acknowledged)


def _framed(kind: Kind, payload: bytes) -> bytes:
    body = _FRAME.pack(kind, len(payload)) + payload
    return body + _CHECKSUM.pack(crc32(body))


def _document_record(kind: Kind, document: object) -> bytes:
    return _framed(kind, json.dumps(document, separators=(",", ":")).encode("ascii"))


def extent_record(kind: Kind, extent: ByteRange) -> bytes:
    """Encode a record about an extent: WRITTEN or UPLOADED."""
    body = _FRAMED_EXTENT.pack(kind, _EXTENT.size, extent[0], extent[1])
    return body + _CHECKSUM.pack(crc32(body))


def truncated_record(size: int) -> bytes:
    """Encode a change of size."""
    return extent_record(Kind.TRUNCATED, ByteRange(size, size))


def relocated_record(path: SharePath) -> bytes:
    """Encode a rename."""
    return _document_record(Kind.RELOCATED, {"path": path.components})


def rebased_record(base: Validator | None, base_limit: int) -> bytes:
    """Encode another base version."""
    return _document_record(Kind.REBASED, {"base": base, "base_limit": base_limit})


def unlinked_record() -> bytes:
    """Encode the loss of the name."""
    return _framed(Kind.UNLINKED, b"")


def acknowledged_record(acknowledgement: Acknowledgement) -> bytes:
    """Encode that a close was answered."""
    return _document_record(Kind.ACKNOWLEDGED, acknowledgement)


def content_record(start: int, data: bytes) -> bytes:
    """Encode dirty bytes themselves, so that they are as durable as the journal."""
    return _framed(Kind.CONTENT, _OFFSET.pack(start) + data)


def header_record(state: FileState) -> bytes:
    """Encode everything but the dirty extents."""
    origin = state.origin
    document = {
        "format": _FORMAT,
        "share": origin.share,
        "host": origin.host,
        "pid": origin.pid,
        "boot": origin.boot,
        "created_ns": origin.created_ns,
        "path": state.path.components,
        "base": state.base,
        "base_limit": state.base_limit,
        "size": state.size,
    }
    return _document_record(Kind.HEADER, document)


def read_path(value: object) -> SharePath:
    """Read a path out of a parsed document.

    Raises:
        ValueError: it is not a list of texts.
    """
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("not a path")
    return SharePath(tuple(value))


def read_validator(value: object) -> Validator | None:
    """Read a validator out of a parsed document.

    Raises:
        ValueError: it is neither null nor a validator.
    """
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[1], str):
        raise ValueError("not a validator")
    file_id, etag, size, change_time_ns = value
    return Validator(int(file_id), etag, int(size), int(change_time_ns))


def read_acknowledgement(value: object) -> Acknowledgement | None:
    """Read an acknowledgement out of a parsed document.

    Raises:
        ValueError: it is neither null nor an acknowledgement.
    """
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("not an acknowledgement")
    return Acknowledgement(*(None if time is None else int(time) for time in value))


@dataclass(frozen=True, slots=True)
class Replay:
    """What a journal says.

    Attributes:
        state: the state after its last whole record, None where not even the header is whole.
        damaged: a record is whole and yet wrong: more than a torn end. What follows it is unknown.
    """

    state: FileState | None
    damaged: bool


def replay(journal: bytes) -> Replay:
    """Rebuild the state that a journal describes; a torn last record was never written."""
    state: FileState | None = None
    position = 0
    while position + _FRAME.size <= len(journal):
        kind, length = _FRAME.unpack_from(journal, position)
        end = position + _FRAME.size + length
        if end + _CHECKSUM.size > len(journal):
            return Replay(state, damaged=False)
        if crc32(memoryview(journal)[position:end]) != _CHECKSUM.unpack_from(journal, end)[0]:
            return Replay(state, damaged=True)
        try:
            state = _applied(state, Kind(kind), journal[position + _FRAME.size : end])
        except (ValueError, TypeError, KeyError, struct.error):
            return Replay(state, damaged=True)
        position = end + _CHECKSUM.size
    return Replay(state, damaged=False)


def _applied(state: FileState | None, kind: Kind, payload: bytes) -> FileState:
    if kind is Kind.HEADER:
        return _read_header(json.loads(payload))
    if state is None:
        raise ValueError("no header")
    if kind is Kind.UNLINKED:
        state.is_unlinked = True
    elif kind is Kind.ACKNOWLEDGED:
        state.acknowledged = read_acknowledgement(json.loads(payload))
    elif kind is Kind.CONTENT:
        state.content.append((_OFFSET.unpack_from(payload)[0], payload[_OFFSET.size :]))
    elif kind is Kind.RELOCATED:
        state.path = read_path(json.loads(payload)["path"])
    elif kind is Kind.REBASED:
        document = json.loads(payload)
        state.rebased(read_validator(document["base"]), int(document["base_limit"]))
    else:
        extent = ByteRange(*_EXTENT.unpack(payload))
        if kind is Kind.WRITTEN:
            state.written(extent)
        elif kind is Kind.UPLOADED:
            state.uploaded(extent)
        else:
            state.truncated(extent.start)
    return state


def _read_header(document: dict[str, Any]) -> FileState:
    if document["format"] != _FORMAT:
        raise ValueError("a journal of another format")
    origin = Origin(
        share=str(document["share"]),
        host=str(document["host"]),
        pid=int(document["pid"]),
        boot=str(document["boot"]),
        created_ns=int(document["created_ns"]),
    )
    return FileState(
        origin,
        read_path(document["path"]),
        read_validator(document["base"]),
        int(document["base_limit"]),
        int(document["size"]),
    )
