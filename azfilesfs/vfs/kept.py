"""Kept records: unsent bytes that no mount works on any more, for ``azfilesfs recover``.

A record is a directory ``kept/<id>`` with the staged bytes (``data``), their ``journal`` and
``record.json``; it came there by one rename. The JSON file is a convenience: without it the journal
still says everything but the reason.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.disk import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    boot_id,
    private_directory,
    write_private,
    write_whole,
)
from azfilesfs.vfs.journal import (
    Acknowledgement,
    FileState,
    Origin,
    read_acknowledgement,
    read_path,
    read_validator,
    replay,
)

_log = logging.getLogger(__name__)

DATA: Final = "data"
JOURNAL: Final = "journal"
RECORD: Final = "record.json"
_ID_BYTES: Final = 5  # ten digits to type; a collision is noticed and another is drawn
_ACKNOWLEDGED: Final = "; its close had been answered: the next mount sends it"
_ABANDONED: Final = "the process that held it ended before it was sent"
_REBOOTED: Final = "; the machine has restarted since, which may have cost the newest bytes"
_DAMAGED: Final = "; its journal is damaged, so newer changes are missing"
_UNREADABLE: Final = (
    "; its journal cannot be read: path and version are unknown, all bytes were kept"
)
_NO_REASON: Final = "the reason was not saved"
_GONE: Final = ".gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """One kept file.

    Attributes:
        id: its name for the user, unique on the mount.
        share: ``account/share``.
        path: where the file was; the root where that is unknown.
        reason: why it was kept, for the user.
        kept_ns: when, in Unix nanoseconds.
        host: where it was written.
        pid: by which process.
        base: the remote version that the dirty bytes stand on, None for a file that was never on
            the service.
        base_limit: bytes of the base below this offset belong to the file, zeros follow where
            nothing is dirty.
        size: the local size.
        dirty: the unsent bytes.
        directory: where data, journal and record are.
        acknowledged: what a close was answered on before it was sent, None where there was none:
            then it is never sent by itself.
    """

    id: str
    share: str
    path: SharePath
    reason: str
    kept_ns: int
    host: str
    pid: int
    base: Validator | None
    base_limit: int
    size: int
    dirty: tuple[ByteRange, ...]
    directory: Path
    acknowledged: Acknowledgement | None = None

    @property
    def dirty_bytes(self) -> int:
        """Number of unsent bytes."""
        return sum(extent.length for extent in self.dirty)

    @property
    def data(self) -> Path:
        """The sparse file that holds the dirty bytes at their offsets."""
        return self.directory / DATA

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "id": self.id,
            "share": self.share,
            "path": list(self.path.components),
            "reason": self.reason,
            "kept_ns": self.kept_ns,
            "host": self.host,
            "pid": self.pid,
            "base": self.base,
            "base_limit": self.base_limit,
            "size": self.size,
            "dirty": list(self.dirty),
            "acknowledged": self.acknowledged,
        }


class Layout:
    """The directories of one staging area: ``live`` belongs to its owner alone."""

    def __init__(self, state_directory: Path) -> None:
        """Name the directories below a mount's state directory."""
        self.root = state_directory / "staging"
        self.live = self.root / "live"
        self.kept = self.root / "kept"
        self.lock = self.root / "lock"

    def prepare(self) -> None:
        """Make the directories, or check that they are private.

        Raises:
            UnsafeDirectory: one is a link, of another owner or open to others.
            OSError: one cannot be made.
        """
        for directory in (self.root, self.live, self.kept):
            private_directory(directory)

    def new_directory(self) -> Path:
        """Make a directory for a new live file, under an id that neither a live nor a kept one has.

        Raises:
            OSError: the disk refused.
        """
        while True:
            directory = self.live / secrets.token_hex(_ID_BYTES)
            if (self.kept / directory.name).exists():
                continue
            with suppress(FileExistsError):
                directory.mkdir(PRIVATE_DIRECTORY)
                return directory


def keep(layout: Layout, directory: Path, state: FileState, reason: str) -> KeptRecord:
    """Move a live file's directory to the kept ones, with one rename.

    Raises:
        OSError: the rename was refused; the file is still live.
    """
    record = _record(layout.kept / directory.name, state, reason, time.time_ns())
    try:
        rewrite(replace(record, directory=directory))
    except OSError as error:
        # A full disk must not stop the rename; the journal has all but the reason.
        _log.warning("kept %s without its reason (%s): %s", record.id, error, reason)
    directory.rename(record.directory)
    return record


def rewrite(record: KeptRecord) -> None:
    """Replace what is written about a record; its bytes stay as they are.

    Raises:
        OSError: the disk refused; the old text stays.
    """
    content = json.dumps(record.document()).encode("ascii")
    write_private(record.directory / RECORD, content)


def load(directory: Path) -> KeptRecord | None:
    """Read one kept record; None where it is gone."""
    if directory.name.endswith(_GONE):
        return None
    try:
        return _from_document(json.loads((directory / RECORD).read_bytes()), directory)
    except FileNotFoundError:
        if not directory.is_dir():
            return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.warning("the record %s is damaged (%s); reading its journal", directory.name, error)
    found = _rebuilt(directory)
    if found is None:
        return None
    return _record(directory, found.state, _NO_REASON + found.remark, directory.stat().st_ctime_ns)


def load_all(layout: Layout) -> list[KeptRecord]:
    """Read every kept record of an area, oldest first."""
    if not layout.kept.is_dir():
        return []
    found = (load(directory) for directory in layout.kept.iterdir())
    return sorted(
        (record for record in found if record is not None),
        key=lambda record: (record.kept_ns, record.id),
    )


def remove(directory: Path) -> None:
    """Remove a staged file; after an interruption at any point, what is left does not count.

    Raises:
        OSError: something could not be removed.
    """
    gone = directory.with_name(directory.name + _GONE)
    directory.rename(gone)
    _erase(gone)


def _erase(directory: Path) -> None:
    for name in (RECORD, JOURNAL, DATA):
        (directory / name).unlink(missing_ok=True)
        (directory / f"{name}.new").unlink(missing_ok=True)
    directory.rmdir()


def adopt_leftovers(layout: Layout) -> list[KeptRecord]:
    """Make kept records of what a dead owner left live; the caller owns the area.

    Raises:
        OSError: the disk refused.
    """
    for directory in sorted(layout.kept.iterdir()):
        if directory.name.endswith(_GONE):
            _erase(directory)
    found = [_adopted(layout, directory) for directory in sorted(layout.live.iterdir())]
    return [record for record in found if record is not None]


def _adopted(layout: Layout, directory: Path) -> KeptRecord | None:
    if directory.name.endswith(_GONE):
        _erase(directory)
        return None
    if (directory / RECORD).exists() and (record := load(directory)) is not None:
        # The owner died between writing the record and the rename: its own reason stands.
        target = layout.kept / directory.name
        directory.rename(target)
        return replace(record, directory=target)
    found = _rebuilt(directory)
    if found is None or not (found.state.is_unsent or found.is_suspect):
        remove(directory)
        return None
    promise = _ACKNOWLEDGED if found.state.acknowledged is not None else ""
    return keep(layout, directory, found.state, _ABANDONED + found.remark + promise)


class _Rebuilt(NamedTuple):
    state: FileState
    remark: str
    is_suspect: bool  # the state may be short of something


def _rebuilt(directory: Path) -> _Rebuilt | None:
    """Read the journal of a directory; None where no byte was ever written there."""
    try:
        journal = (directory / JOURNAL).read_bytes()
    except FileNotFoundError:
        journal = b""
    found = replay(journal)
    if found.state is None:
        return _without_journal(directory)
    remark = _DAMAGED if found.damaged else ""
    if found.damaged:
        found.state.acknowledged = None
    if found.state.origin.boot != boot_id():
        remark += _REBOOTED
        _restore(directory, found.state)
    return _Rebuilt(found.state, remark, found.damaged)


def _restore(directory: Path, state: FileState) -> None:
    """Put the bytes that a journal holds itself into the data, which a crash may have cost."""
    if not state.content:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory / DATA, flags, PRIVATE_FILE)
    try:
        for start, data in state.content:
            for extent in state.dirty.within(ByteRange(start, start + len(data))):
                piece = data[extent.start - start : extent.stop - start]
                write_whole(descriptor, memoryview(piece), extent.start)
    finally:
        os.close(descriptor)


def _without_journal(directory: Path) -> _Rebuilt | None:
    try:
        facts = (directory / DATA).stat()
    except FileNotFoundError:
        return None
    if facts.st_size == 0:
        return None
    origin = Origin(
        share="", host=socket.gethostname(), pid=0, boot="", created_ns=facts.st_mtime_ns
    )
    state = FileState(origin, SharePath.ROOT, None, 0, 0)
    state.written(ByteRange(0, facts.st_size))
    return _Rebuilt(state, _UNREADABLE, is_suspect=True)


def _record(directory: Path, state: FileState, reason: str, kept_ns: int) -> KeptRecord:
    return KeptRecord(
        id=directory.name,
        share=state.origin.share,
        path=state.path,
        reason=reason,
        kept_ns=kept_ns,
        host=state.origin.host,
        pid=state.origin.pid,
        base=state.base,
        base_limit=state.base_limit,
        size=state.size,
        dirty=tuple(state.dirty),
        directory=directory,
        acknowledged=state.acknowledged,
    )


def _from_document(document: dict[str, Any], directory: Path) -> KeptRecord:
    return KeptRecord(
        id=directory.name,
        share=str(document["share"]),
        path=read_path(document["path"]),
        reason=str(document["reason"]),
        kept_ns=int(document["kept_ns"]),
        host=str(document["host"]),
        pid=int(document["pid"]),
        base=read_validator(document["base"]),
        base_limit=int(document["base_limit"]),
        size=int(document["size"]),
        dirty=tuple(ByteRange(int(start), int(stop)) for start, stop in document["dirty"]),
        directory=directory,
        acknowledged=read_acknowledgement(document.get("acknowledged")),
    )
