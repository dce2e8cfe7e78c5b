"""A model of the service, as far as locks see it: every request is one atomic step.

Pure: a state is a value, a request gives the next state and the answer.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Break,
    Change,
    Create,
    Delete,
    Done,
    Entry,
    Found,
    Head,
    List,
    Listed,
    Move,
    Probe,
    Refusal,
    Refused,
    Release,
    Request,
)


@dataclass(frozen=True, slots=True)
class Write:
    """A write of the file's bytes by a mount, in one of its lock epochs."""

    path: str
    lease_id: str | None
    mount: int
    epoch: int


class File(NamedTuple):
    """What a path names: the file and its lease; a broken lease leaves its id behind."""

    path: str
    file_id: str
    version: int = 0
    lease: str = ""
    broken: str = ""

    @property
    def etag(self) -> str:
        """The version, as the service tells it."""
        return f"{self.file_id}/{self.version}"


class Service(NamedTuple):
    """The files, and the private ones with the time of their last change."""

    files: tuple[File, ...]
    names: frozenset[tuple[str, str, int]] = frozenset()

    def file(self, path: str) -> File | None:
        """Return what a path names."""
        return next((one for one in self.files if one.path == path), None)

    def put(self, file: File) -> "Service":
        """Return the state with a file changed."""
        files = tuple(file if one.path == file.path else one for one in self.files)
        return self._replace(files=files)

    def find(self, directory: str, name: str) -> tuple[str, str, int] | None:
        """Return a private file; a name that ends in ``*`` stands for whatever begins so."""
        stem = name[:-1] if name.endswith("*") else None
        for one in self.names:
            matches = one[1].startswith(stem) if stem is not None else one[1] == name
            if one[0] == directory and matches:
                return one
        return None


MISSING, CONFLICT = Refused(Refusal.MISSING), Refused(Refusal.CONFLICT)
MISMATCH, UNLEASED = Refused(Refusal.MISMATCH), Refused(Refusal.UNLEASED)


@lru_cache(maxsize=200_000)
def apply(service: Service, request: Request | Write, now_ns: int) -> tuple[Service, Answer]:
    """Apply a request."""
    if isinstance(request, Create | Delete | Move | Probe | List):
        return _private(service, request, now_ns)
    file = service.file(request.path)
    if file is None:
        return service, MISSING
    if isinstance(request, Head | Write):
        refusal = _fenced(file, request.lease_id)
        if refusal is None and isinstance(request, Write) and file.lease and not request.lease_id:
            refusal = MISMATCH
        if refusal is not None:
            return service, refusal
        if isinstance(request, Head):
            return service, Found(file.file_id, file.etag, bool(file.lease))
        return service, Done(file.etag)
    return _lease(service, file, request)


def _fenced(file: File, lease_id: str | None) -> Refused | None:
    if lease_id is None or lease_id == file.lease:
        return None
    return MISMATCH if file.lease else UNLEASED


def _lease(
    service: Service, file: File, request: Acquire | Change | Release | Break
) -> tuple[Service, Answer]:
    after: File | None = None
    if isinstance(request, Acquire):
        if file.lease in ("", request.lease_id):
            after = file._replace(lease=request.lease_id, broken="")
    elif isinstance(request, Change):
        if file.lease and file.lease in (request.lease_id, request.proposed_id):
            after = file._replace(lease=request.proposed_id)
    elif isinstance(request, Release):
        if request.lease_id in (file.lease, file.broken):
            after = file._replace(lease="", broken="")
    elif file.lease or file.broken:
        after = file._replace(lease="", broken=file.lease or file.broken)
    if after is None:
        return service, CONFLICT
    return service.put(after), Done(after.etag)


def _private(
    service: Service, request: Create | Delete | Move | Probe | List, now_ns: int
) -> tuple[Service, Answer]:
    names = service.names
    if isinstance(request, List):
        entries = tuple(
            sorted(
                (Entry(name, changed) for directory, name, changed in names
                 if directory == request.directory and name.startswith(request.prefix)),
                key=lambda entry: entry.name,
            )
        )  # fmt: skip
        return service, Listed(entries, now_ns)
    found = service.find(request.directory, request.name)
    if isinstance(request, Create):
        gone = names - {found} if found else names
        new = gone | {(request.directory, request.name, now_ns)}
        return service._replace(names=new), Done()
    if found is None:
        return service, MISSING
    if isinstance(request, Probe):
        return service, Found("", "", False)
    if isinstance(request, Delete):
        return service._replace(names=names - {found}), Done()
    if service.find(request.to_directory, request.to_name):
        return service, CONFLICT
    new = (names - {found}) | {(request.to_directory, request.to_name, now_ns)}
    return service._replace(names=new), Done()
