"""From a request to the nodes it means, refusing in the service's order: share, parent, leaf."""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.emulator.errors import ServiceError, invalid_query
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service, Share
from azfilesfs.emulator.tree import Directory, File, Node
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath


@dataclass(slots=True)
class Place:
    """Where a path leads: its parent exists, the entry itself may not.

    ``parent`` is None for the root only, which then is the ``node``.
    """

    share: Share
    path: SharePath
    parent: Directory | None
    node: Node | None

    def file(self, *, writes: bool) -> File:
        """Return the file.

        Raises:
            ServiceError: ResourceNotFound; a directory counts as missing to readers, as a
                mismatch to writers.
        """
        if isinstance(self.node, File):
            return self.node
        raise ServiceError(
            "ResourceTypeMismatch" if writes and self.node is not None else "ResourceNotFound"
        )

    def directory(self, *, writes: bool) -> Directory:
        """Return the directory.

        Raises:
            ServiceError: ResourceNotFound; a file counts as missing to readers, as a mismatch to
                writers.
        """
        if isinstance(self.node, Directory):
            return self.node
        raise ServiceError(
            "ResourceTypeMismatch" if writes and self.node is not None else "ResourceNotFound"
        )


def find(share: Share, path: SharePath) -> Place:
    """Walk to a path.

    Raises:
        ServiceError: ParentNotFound, where a directory on the way is missing or is a file.
    """
    if path.is_root:
        return Place(share, path, None, share.root)
    directory = share.root
    for name in path.components[:-1]:
        child = directory.get(name)
        if not isinstance(child, Directory):
            raise ServiceError("ParentNotFound")
        directory = child
    return Place(share, path, directory, directory.get(path.name))


def read_place(service: Service, request: Request) -> Place:
    """Walk to the path of a reading request; a snapshot may be named.

    Raises:
        ServiceError: a name is refused, or share or parent is missing.
    """
    path = request.path()
    return find(service.share(request.account, request.share, request.snapshot), path)


def write_place(service: Service, request: Request) -> Place:
    """Walk to the path of a changing request.

    Raises:
        ServiceError: as ``read_place``, and a snapshot is named.
    """
    if request.snapshot is not None:
        raise invalid_query("sharesnapshot", request.snapshot)
    return read_place(service, request)


def read_file(service: Service, request: Request) -> tuple[Share, File]:
    """Return the file that a reading request means, its lease checked.

    Raises:
        ServiceError: it is missing, or the lease id is wrong.
    """
    place = read_place(service, request)
    _refuse_slash(request)
    file = place.file(writes=False)
    file.lease.check(lease_id(request), writes=False)
    return place.share, file


def write_file(service: Service, request: Request) -> tuple[Share, File]:
    """Return the file that a changing request means, its lease checked; it may be read-only.

    Raises:
        ServiceError: it is missing, or the lease id is missing or wrong.
    """
    place = write_place(service, request)
    _refuse_slash(request)
    file = place.file(writes=True)
    file.lease.check(lease_id(request), writes=True)
    return place.share, file


def _refuse_slash(request: Request) -> None:
    """Refuse a file's path that ends like a directory's.

    Raises:
        ServiceError: InvalidUri.
    """
    if request.has_trailing_slash:
        raise ServiceError("InvalidUri")


def lease_id(request: Request, name: str = "x-ms-lease-id") -> str | None:
    """Return the lease id that a request carries, in lower case."""
    value = request.header(name)
    return value.lower() if value is not None else None


def refuse_read_only(node: Node) -> None:
    """Refuse to change or remove what carries the ReadOnly attribute.

    Raises:
        ServiceError: ReadOnlyAttribute.
    """
    if node.attributes & FileAttributes.READ_ONLY:
        raise ServiceError("ReadOnlyAttribute")
