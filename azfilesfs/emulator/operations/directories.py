"""Create, get, set and delete directories."""

from __future__ import annotations

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.lookup import read_place, refuse_read_only, write_place
from azfilesfs.emulator.metadata import metadata_headers, parse_metadata
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import INHERITED_KEY, Service
from azfilesfs.emulator.smb import (
    apply_smb,
    new_attributes,
    parse_smb,
    require_smb,
    smb_headers,
    stamp_headers,
)
from azfilesfs.emulator.tree import Directory


def create_directory(service: Service, request: Request) -> Answer:
    """Create a directory; never over something that exists."""
    place = write_place(service, request)
    if place.node is not None or place.parent is None:
        raise ServiceError("ResourceAlreadyExists")
    require_smb(request)
    metadata = parse_metadata(request)
    now = service.clock.tick()
    change = parse_smb(request, place.share, now)
    creation = now if change.creation is None else change.creation
    directory = Directory(
        id=place.share.next_id(),
        name=place.path.name,
        parent=place.parent,
        attributes=new_attributes(change.attributes, is_directory=True),
        creation=creation,
        last_write=now if change.last_write is None else change.last_write,
        change=now if change.change is None else change.change,
        modified=creation,
        permission_key=change.permission_key or INHERITED_KEY,
        metadata=metadata,
    )
    place.parent.add(directory)
    service.save(place.share, directory)
    service.store.save_share(place.share)
    return Answer(201, _changed_headers(directory, request))


def _changed_headers(directory: Directory, request: Request) -> list[tuple[str, str]]:
    headers = stamp_headers(directory.modified)
    headers.append(("x-ms-request-server-encrypted", "true"))
    return headers + smb_headers(directory, request.version)


def get_directory_properties(service: Service, request: Request) -> Answer:
    """Return all properties as headers."""
    directory = read_place(service, request).directory(writes=False)
    headers = stamp_headers(directory.modified)
    headers += metadata_headers(directory.metadata)
    headers.append(("x-ms-server-encrypted", "true"))
    return Answer(200, headers + smb_headers(directory, request.version))


def set_directory_properties(service: Service, request: Request) -> Answer:
    """Set the SMB properties."""
    place = write_place(service, request)
    directory = place.directory(writes=True)
    require_smb(request)
    now = service.clock.tick()
    apply_smb(directory, parse_smb(request, place.share, now), now)
    service.save(place.share, directory)
    return Answer(200, _changed_headers(directory, request))


def delete_directory(service: Service, request: Request) -> Answer:
    """Delete an empty directory."""
    place = write_place(service, request)
    directory = place.directory(writes=True)
    if place.parent is None:
        raise ServiceError("CannotDeleteFileOrDirectory")
    if directory.children:
        raise ServiceError("DirectoryNotEmpty")
    refuse_read_only(directory)
    place.parent.remove(directory)
    service.forget(place.share, directory)
    return Answer(202)
