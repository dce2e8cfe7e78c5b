"""What the service says of a file, a directory or a share.

Immutable; a field that an answer lacks is None.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.versions import PartialValidator, Validator

UNKNOWN_SIZE: Final = -1
"""``Properties.size`` where the answer does not say the size, as those of Set Properties and
Rename.
"""


_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


def _no_metadata() -> Mapping[str, str]:
    return _NO_METADATA


class EntryKind(Enum):
    """What an entry of a directory is."""

    FILE = "File"
    DIRECTORY = "Directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentHeaders:
    """The HTTP properties of a file.

    The service sets them as a group: those not sent are cleared.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    content_md5: bytes | None = None

    def after_change(self) -> ContentHeaders | None:
        """Return what to send so that a stored MD5 goes and the rest stays; None: there is none.

        One header at least is sent, since a request without any would be about something else.
        """
        if self.content_md5 is None:
            return None
        kept = replace(self, content_md5=None)
        return kept if kept != ContentHeaders() else NEW_CONTENT


NEW_CONTENT: Final = ContentHeaders(content_type="application/octet-stream")
"""What the service gives to a new file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseInfo:
    """``x-ms-lease-state``, ``-status`` and ``-duration`` as sent."""

    state: str | None = None
    status: str | None = None
    duration: str | None = None

    @property
    def is_leased(self) -> bool:
        """Whether an active lease is on the resource."""
        return self.status == "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyState:
    """The last server-side copy onto a file."""

    copy_id: str
    status: str
    source: str | None = None
    progress: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """Properties of a file or directory.

    Times are Unix nanoseconds, sizes bytes (0 for directories).

    ``size`` is UNKNOWN_SIZE where the answer had none; nothing that depends on it can be had then.
    """

    kind: EntryKind
    size: int = 0
    etag: str | None = None
    last_modified_ns: int | None = None
    file_id: int | None = None
    parent_id: int | None = None
    creation_time_ns: int | None = None
    last_write_time_ns: int | None = None
    change_time_ns: int | None = None
    attributes: FileAttributes | None = None
    permission_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=_no_metadata)
    content: ContentHeaders = ContentHeaders()
    lease: LeaseInfo = LeaseInfo()
    copy: CopyState | None = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.kind is EntryKind.DIRECTORY

    def validator(self) -> Validator | None:
        """Return what identifies this version, None where the answer lacked a part of it."""
        if self.file_id is None or self.etag is None or self.change_time_ns is None:
            return None
        if self.size == UNKNOWN_SIZE:
            return None
        return Validator(self.file_id, self.etag, self.size, self.change_time_ns)

    def partial_validator(self) -> PartialValidator:
        """Return as much of the validator as the answer had."""
        size = None if self.size == UNKNOWN_SIZE else self.size
        return PartialValidator(self.file_id, self.etag, size, self.change_time_ns)


class Basics(NamedTuple):
    """What stat(2) shows of an entry; times are Unix nanoseconds, None where unknown."""

    is_directory: bool
    size: int
    file_id: int | None
    last_write_time_ns: int | None
    change_time_ns: int | None
    last_modified_ns: int | None


# flags, attributes, size, ETag as a number, file id, and the times of last modification, creation,
# last write and change
_PACKED = struct.Struct("<BIqQQqqqq")
_SIZE, _SIZE_OFFSET = struct.Struct("<q"), struct.calcsize("<BI")
_FILE_ID = struct.Struct("<Q")
_FILE_ID_OFFSET = struct.calcsize("<BIqQ")
_IS_DIRECTORY, _HAS_ID, _ETAG_IS_NUMBER, _ETAG_IS_TEXT = 1, 2, 4, 8
_NO_ATTRIBUTES = 0xFFFF_FFFF
_NO_TIME = -(1 << 63)


class ListedEntry:
    """One entry of a listing: the name as stored, and what the listing says of it. Immutable.

    Millions of these are kept, so the properties are packed into some 100 bytes, and are made
    again when somebody asks for them. What does not fit is kept as it is.
    """

    __slots__ = ("_packed", "_permission_key", "name")

    def __init__(self, name: str, properties: Properties) -> None:
        self.name = name
        self._permission_key = properties.permission_key
        packed = _pack(properties)
        self._packed: bytes | Properties = packed if packed is not None else properties

    @classmethod
    def file_or_directory(cls, name: str, packed: bytes, permission_key: str | None) -> ListedEntry:
        """Make an entry of what ``pack`` returned."""
        entry = cls.__new__(cls)
        entry.name, entry._packed, entry._permission_key = name, packed, permission_key
        return entry

    @property
    def properties(self) -> Properties:
        """Everything that the listing says."""
        packed = self._packed
        return packed if isinstance(packed, Properties) else _unpack(packed, self._permission_key)

    def basics(self) -> Basics:
        """Return what stat(2) shows, without making ``Properties``."""
        packed = self._packed
        if isinstance(packed, Properties):
            return Basics(
                packed.is_directory,
                packed.size,
                packed.file_id,
                packed.last_write_time_ns,
                packed.change_time_ns,
                packed.last_modified_ns,
            )
        flags, _, size, _, file_id, modified, _, written, changed = _PACKED.unpack_from(packed)
        return Basics(
            bool(flags & _IS_DIRECTORY),
            size,
            file_id if flags & _HAS_ID else None,
            None if written == _NO_TIME else written,
            None if changed == _NO_TIME else changed,
            None if modified == _NO_TIME else modified,
        )

    @property
    def kind(self) -> EntryKind:
        """Whether it is a file or a directory."""
        packed = self._packed
        if isinstance(packed, Properties):
            return packed.kind
        return EntryKind.DIRECTORY if packed[0] & _IS_DIRECTORY else EntryKind.FILE

    @property
    def size(self) -> int:
        """Bytes; 0 for directories."""
        packed = self._packed
        if isinstance(packed, Properties):
            return packed.size
        size: int
        (size,) = _SIZE.unpack_from(packed, _SIZE_OFFSET)
        return size

    @property
    def file_id(self) -> int | None:
        """The service's id, None where the listing does not say."""
        packed = self._packed
        if isinstance(packed, Properties):
            return packed.file_id
        (file_id,) = _FILE_ID.unpack_from(packed, _FILE_ID_OFFSET)
        return file_id if packed[0] & _HAS_ID else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ListedEntry):
            return NotImplemented
        return self.name == other.name and self.properties == other.properties

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"ListedEntry({self.name!r}, {self.properties!r})"


def pack(
    *,
    is_directory: bool,
    size: int,
    etag: str | None,
    file_id: int | None,
    times: tuple[int | None, int | None, int | None, int | None],
    attributes: int | None,
) -> bytes | None:
    """Pack what a listing says, None where a value does not fit.

    Args:
        is_directory: whether it is a directory.
        size: bytes.
        etag: with its quotes.
        file_id: the service's id.
        times: Unix nanoseconds of last modification, creation, last write and change.
        attributes: the bits of ``FileAttributes``.
    """
    flags = (_IS_DIRECTORY if is_directory else 0) | (0 if file_id is None else _HAS_ID)
    number, rest = 0, b""
    if etag is not None:
        number = _etag_number(etag)
        if number:
            flags |= _ETAG_IS_NUMBER
        else:
            flags |= _ETAG_IS_TEXT
            rest = etag.encode("utf-8", "surrogatepass")
    if _NO_TIME in times or attributes == _NO_ATTRIBUTES:
        return None
    try:
        fixed = _PACKED.pack(
            flags,
            _NO_ATTRIBUTES if attributes is None else attributes,
            size,
            number,
            file_id or 0,
            *[_NO_TIME if time is None else time for time in times],
        )
    except struct.error:
        return None
    return fixed + rest if rest else fixed


def _etag_number(etag: str) -> int:
    """Return the number in an ETag as the service writes them, 0 for another form."""
    try:
        number = int(etag[3:-1], 16)
    except ValueError:
        return 0
    return number if f'"0x{number:X}"' == etag and 0 < number < 1 << 64 else 0


def _pack(properties: Properties) -> bytes | None:
    packed = pack(
        is_directory=properties.is_directory,
        size=properties.size,
        etag=properties.etag,
        file_id=properties.file_id,
        times=(
            properties.last_modified_ns,
            properties.creation_time_ns,
            properties.last_write_time_ns,
            properties.change_time_ns,
        ),
        attributes=properties.attributes,
    )
    if packed is None or _unpack(packed, properties.permission_key) != properties:
        return None
    return packed


@lru_cache(maxsize=1024)
def _unpack(packed: bytes, permission_key: str | None) -> Properties:
    flags, attributes, size, number, file_id, modified, creation, written, changed = (
        _PACKED.unpack_from(packed)
    )
    etag = None
    if flags & _ETAG_IS_NUMBER:
        etag = f'"0x{number:X}"'
    elif flags & _ETAG_IS_TEXT:
        etag = packed[_PACKED.size :].decode("utf-8", "surrogatepass")
    return Properties(
        kind=EntryKind.DIRECTORY if flags & _IS_DIRECTORY else EntryKind.FILE,
        size=size,
        etag=etag,
        last_modified_ns=None if modified == _NO_TIME else modified,
        file_id=file_id if flags & _HAS_ID else None,
        creation_time_ns=None if creation == _NO_TIME else creation,
        last_write_time_ns=None if written == _NO_TIME else written,
        change_time_ns=None if changed == _NO_TIME else changed,
        attributes=None if attributes == _NO_ATTRIBUTES else FileAttributes(attributes),
        permission_key=permission_key,
    )
