"""Who serves which mountpoint: a small record per running mount, found again by the mountpoint.

Records lie in the runtime directory of the user (or of root); a process that was killed leaves its
record, which its start time then shows to be stale.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from azfilesfs.daemon.processes import Process
from azfilesfs.fuse.mountinfo import canonical

_PRIVATE: Final = 0o700
STATUS: Final = "status.json"

Phase = Literal["starting", "serving", "stopping", "draining", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What commands need to know about a running mount; it holds no secret.

    Attributes:
        directory: directory in the share that is the mount's root, empty for the share's.
        state: state directory of this mount, where its status is.
        credentials: flags that name its credential files.
        drain_timeout: how long its stopping may take, in seconds.
    """

    mountpoint: str
    pid: int
    started: int
    share: str
    directory: str
    account: str
    endpoint: str
    state: str
    drain_timeout: float
    credentials: dict[str, str] = field(default_factory=dict)

    @property
    def process(self) -> Process:
        """The process that serves the mount."""
        return Process(self.pid, self.started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a mount is: what is unsent, and in the end its exit status."""

    pid: int
    phase: Phase = "starting"
    dirty_files: int = 0
    dirty_bytes: int = 0
    exit_code: int | None = None


def _file_name(mountpoint: Path) -> str:
    digest = sha256(os.fsencode(canonical(mountpoint))).hexdigest()
    return f"{digest[:24]}.json"


@contextmanager
def registered(record: Record, places: Sequence[Path]) -> Iterator[None]:
    """Keep a record in the first place that can be written, for as long as the block runs.

    A mount that cannot be registered anywhere still works; ``azfilesfs umount`` then cannot find
    it.
    """
    path = _write_first(record, places)
    try:
        yield
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()


def _write_first(record: Record, places: Sequence[Path]) -> Path | None:
    for place in places:
        path = place / _file_name(Path(record.mountpoint))
        with suppress(OSError):
            place.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            write_json(path, asdict(record))
            return path
    return None


def find(mountpoint: Path, places: Sequence[Path]) -> Record | None:
    """Return the newest record of a mountpoint, running or stale; None if there is none."""
    paths = [place / _file_name(mountpoint) for place in places]
    found = [record for path in paths if (record := _read_record(path)) is not None]
    return max(found, key=lambda record: (record.process.is_alive, record.started), default=None)


def running(places: Sequence[Path]) -> list[Record]:
    """Return the records of all mounts whose process lives, by mountpoint."""
    paths = [path for place in places for path in place.glob("*.json")]
    found = [record for path in paths if (record := _read_record(path)) is not None]
    alive = {record.mountpoint: record for record in found if record.process.is_alive}
    return [alive[mountpoint] for mountpoint in sorted(alive)]


def _read_record(path: Path) -> Record | None:
    document = _read_json(path)
    try:
        # Whoever may write there may not make us believe in a process of somebody else's.
        if document is None or path.stat().st_uid not in {os.getuid(), 0}:
            return None
        return Record(**document)
    except (OSError, TypeError):
        return None


class StatusFile:
    """The status of one mount in its state directory; it outlives the process."""

    def __init__(self, directory: Path) -> None:
        """Begin with the start."""
        self._path = directory / STATUS
        self._status = Status(pid=os.getpid())
        self.update()

    def update(self, **changes: Any) -> None:  # noqa: ANN401  # fields of Status, checked there
        """Change some fields; a full disk does not stop a mount."""
        self._status = replace(self._status, **changes)
        try:
            write_json(self._path, asdict(self._status))
        except OSError:
            with suppress(OSError):
                _overwrite(self._path, asdict(self._status))


def read_status(directory: Path) -> Status | None:
    """Return the last status of a mount, None if it has none or it cannot be read."""
    document = _read_json(directory / STATUS)
    try:
        return Status(**document) if document is not None else None
    except TypeError:
        return None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace a small file in one step.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _overwrite(path: Path, document: dict[str, Any]) -> None:
    """Write a small file in its place: a full disk has no block for a new one, but it has this."""
    data = json.dumps(document).encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # Blanks cover what is left of a longer one; a cut first would give the block away.
        os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
