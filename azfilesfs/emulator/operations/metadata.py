"""Get and set the metadata of files and directories."""

from __future__ import annotations

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.lookup import (
    read_file,
    read_place,
    refuse_read_only,
    write_file,
    write_place,
)
from azfilesfs.emulator.metadata import metadata_headers, parse_metadata
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service, Share
from azfilesfs.emulator.smb import stamp_headers
from azfilesfs.emulator.tree import Node


def get_file_metadata(service: Service, request: Request) -> Answer:
    """Return a file's metadata."""
    _, file = read_file(service, request)
    return _shown(file)


def get_directory_metadata(service: Service, request: Request) -> Answer:
    """Return a directory's metadata."""
    return _shown(read_place(service, request).directory(writes=False))


def _shown(node: Node) -> Answer:
    headers = stamp_headers(node.modified) + metadata_headers(node.metadata)
    headers.append(("x-ms-server-encrypted", "true"))
    return Answer(200, headers)


def set_file_metadata(service: Service, request: Request) -> Answer:
    """Replace a file's metadata."""
    share, file = write_file(service, request)
    refuse_read_only(file)
    return _replaced(service, request, share, file)


def set_directory_metadata(service: Service, request: Request) -> Answer:
    """Replace a directory's metadata."""
    place = write_place(service, request)
    return _replaced(service, request, place.share, place.directory(writes=True))


def _replaced(service: Service, request: Request, share: Share, node: Node) -> Answer:
    node.metadata = parse_metadata(request)
    node.change = node.modified = service.clock.tick()
    service.save(share, node)
    headers = stamp_headers(node.modified)
    headers.append(("x-ms-request-server-encrypted", "true"))
    return Answer(200, headers)
