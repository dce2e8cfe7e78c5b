"""SMB file attributes as the service writes them (rest.md section 10)."""

from __future__ import annotations

from enum import IntFlag


class FileAttributes(IntFlag):
    """Attribute bits, in the order in which the service prints them."""

    NONE = 0
    READ_ONLY = 0x1
    HIDDEN = 0x2
    SYSTEM = 0x4
    DIRECTORY = 0x10
    ARCHIVE = 0x20
    TEMPORARY = 0x100
    OFFLINE = 0x1000
    NOT_CONTENT_INDEXED = 0x2000
    NO_SCRUB_DATA = 0x20000


_NAMES = {
    FileAttributes.READ_ONLY: "ReadOnly",
    FileAttributes.HIDDEN: "Hidden",
    FileAttributes.SYSTEM: "System",
    FileAttributes.DIRECTORY: "Directory",
    FileAttributes.ARCHIVE: "Archive",
    FileAttributes.TEMPORARY: "Temporary",
    FileAttributes.OFFLINE: "Offline",
    FileAttributes.NOT_CONTENT_INDEXED: "NotContentIndexed",
    FileAttributes.NO_SCRUB_DATA: "NoScrubData",
}
_BY_NAME = {name.lower(): bit for bit, name in _NAMES.items()} | {"none": FileAttributes.NONE}


def parse_attributes(text: str) -> FileAttributes:
    """Read ``ReadOnly | Archive``, with or without spaces, in any case.

    Raises:
        ValueError: a name is unknown.
    """
    result = FileAttributes.NONE
    for part in text.split("|"):
        bit = _BY_NAME.get(part.strip().lower())
        if bit is None:
            raise ValueError(f"unknown file attribute {part.strip()!r}")
        result |= bit
    return result


def format_attributes(attributes: FileAttributes) -> str:
    """Write attributes as the service does: names by bit value, joined by `` | ``."""
    return " | ".join(name for bit, name in _NAMES.items() if bit & attributes) or "None"
