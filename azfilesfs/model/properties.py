"""What the service says of a file, a directory or a share.

Immutable; a field that an answer lacks is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.versions import PartialValidator, Validator

UNKNOWN_SIZE: Final = -1
"""``Properties.size`` where the answer does not say the size, as those of Set Properties and
Rename.
"""


def _no_metadata() -> Mapping[str, str]:
    return MappingProxyType({})


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
    content: ContentHeaders = field(default_factory=ContentHeaders)
    lease: LeaseInfo = field(default_factory=LeaseInfo)
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


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One entry of a listing: the name as stored, and what the listing says of it."""

    name: str
    properties: Properties
