"""How kept records are shown: a table, one record in full, or JSON. Names are never trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from azfilesfs.errors import InvalidPath
from azfilesfs.model.names import to_local
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.kept import KeptRecord

_HEADINGS = ("ID", "WHEN", "BYTES", "BASE", "FILE", "REASON")


def local_path(path: SharePath) -> str:
    """Spell a path of the share as a mount shows it; a name that no mount shows stays as it is."""
    return "/".join(_local_name(name) for name in path.components)


def _local_name(name: str) -> str:
    try:
        return to_local(name).decode("utf-8")
    except InvalidPath:
        return name


def printable(text: str) -> str:
    """Escape what is not printable, so that no name can steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def file_of(record: KeptRecord) -> str:
    """Name the file that a record belongs to, with account and share."""
    return printable(f"{record.share}/{local_path(record.path)}")


def moment(ns: int) -> str:
    """Write a time: UTC, to the second."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(record: KeptRecord) -> dict[str, Any]:
    """Return a record as the JSON of ``--json`` has it."""
    base = record.base
    return {
        "id": record.id,
        "share": record.share,
        "path": local_path(record.path),
        "reason": record.reason,
        "when": moment(record.kept_ns),
        "host": record.host,
        "pid": record.pid,
        "bytes": record.dirty_bytes,
        "size": record.size,
        "base": None if base is None else base._asdict(),
        "base_limit": record.base_limit,
        "extents": [list(extent) for extent in record.dirty],
        "data": str(record.data),
    }


def as_json(value: object) -> str:
    """Write JSON in which every character is ASCII."""
    return json.dumps(value, indent=2)


def table(records: Sequence[KeptRecord]) -> str:
    """Write a table of records, a line each."""
    rows = [_HEADINGS, *(_row(record) for record in records)]
    # The last column may be as long as it likes.
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def _row(record: KeptRecord) -> tuple[str, ...]:
    base = "new file" if record.base is None else record.base.etag.strip('"')
    return (
        record.id,
        moment(record.kept_ns),
        str(record.dirty_bytes),
        printable(base),
        file_of(record),
        printable(record.reason),
    )


def description(record: KeptRecord) -> str:
    """Write everything that is known about one record."""
    base = record.base
    lines = {
        "id": record.id,
        "file": file_of(record),
        "reason": printable(record.reason),
        "kept": moment(record.kept_ns),
        "written by": f"process {record.pid} on {printable(record.host)}",
        "size": f"{record.size} bytes",
        "unsent": f"{record.dirty_bytes} bytes in {len(record.dirty)} extent(s)",
        "base": "none: the file was never on the share"
        if base is None
        else f"ETag {printable(base.etag)}, {base.size} bytes, file id {base.file_id}",
        "bytes": printable(str(record.data)),
    }
    if base is not None and record.base_limit < base.size:
        lines["cut"] = f"of the base only the first {record.base_limit} bytes belong to the file"
    width = max(map(len, lines)) + 1
    facts = [f"{name + ':':{width}} {text}" for name, text in lines.items()]
    extents = [f"  {extent.start} to {extent.stop} ({extent.length})" for extent in record.dirty]
    return "\n".join([*facts, *(["extents:"] if extents else []), *extents])
