"""Rename files and directories, with or without replacing what is at the destination."""

from __future__ import annotations

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import ServiceError, invalid_header
from azfilesfs.emulator.lookup import Place, find, lease_id, refuse_read_only, write_place
from azfilesfs.emulator.metadata import parse_metadata
from azfilesfs.emulator.operations.files import DEFAULT_TYPE
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service
from azfilesfs.emulator.smb import apply_smb, parse_smb, smb_headers, stamp_headers
from azfilesfs.emulator.sources import check_source_sas, parse_source
from azfilesfs.emulator.tree import Directory, File, Node

_SOURCE = "x-ms-file-rename-source"


def rename_file(service: Service, request: Request) -> Answer:
    """Rename a file."""
    return _rename(service, request, wants_directory=False)


def rename_directory(service: Service, request: Request) -> Answer:
    """Rename a directory with everything below it."""
    return _rename(service, request, wants_directory=True)


def _rename(service: Service, request: Request, *, wants_directory: bool) -> Answer:
    target = write_place(service, request)
    node = _source_node(service, request, target, wants_directory=wants_directory)
    if isinstance(node, File):
        node.lease.check(lease_id(request, "x-ms-source-lease-id"), writes=True)
    replaced = _replaced_node(request, target, node)
    metadata = parse_metadata(request)
    now = service.clock.tick()
    change = parse_smb(request, target.share, now)
    parent = target.parent
    if parent is None or node.parent is None:
        raise ServiceError("InvalidUri")
    if replaced is not None:
        parent.remove(replaced)
        service.forget(target.share, replaced)
        service.store.save_share(target.share)
    node.parent.remove(node)
    node.name = target.path.name
    parent.add(node)
    if metadata:
        node.metadata = metadata
    if isinstance(node, File) and request.header("x-ms-content-type"):
        node.headers.content_type = request.header("x-ms-content-type") or DEFAULT_TYPE
    apply_smb(node, change, now)
    service.save(target.share, node)
    headers = stamp_headers(node.modified)
    headers.append(("x-ms-request-server-encrypted", "true"))
    return Answer(200, headers + smb_headers(node, request.version))


def _source_node(
    service: Service, request: Request, target: Place, *, wants_directory: bool
) -> Node:
    source = parse_source(request, _SOURCE, service.accounts)
    if (source.account, source.share) != (request.account, target.share.name):
        raise invalid_header(_SOURCE, "")
    if source.snapshot is not None:
        raise invalid_header(_SOURCE, "")
    check_source_sas(service, request, source)
    place = find(target.share, source.path)
    node = place.node
    if node is None:
        raise ServiceError("ResourceNotFound")
    if isinstance(node, Directory) != wants_directory:
        raise ServiceError("ResourceTypeMismatch")
    if place.parent is None:
        raise invalid_header(_SOURCE, "")
    above: Node | None = target.parent
    while above is not None:
        # A directory cannot move into itself.
        if above is node:
            raise ServiceError("SharingViolation")
        above = above.parent
    return node


def _replaced_node(request: Request, target: Place, node: Node) -> Node | None:
    """Return what the rename replaces; a change of case replaces nothing.

    Raises:
        ServiceError: something is there and must not be replaced.
    """
    replace = request.flag("x-ms-file-rename-replace-if-exists")
    ignore_read_only = request.flag("x-ms-file-rename-ignore-readonly")
    existing = target.node
    destination_lease = lease_id(request, "x-ms-destination-lease-id")
    if existing is node:
        return None
    if existing is None:
        if destination_lease is not None:
            raise ServiceError("LeaseNotPresentWithFileOperation")
        return None
    if not replace or isinstance(existing, Directory):
        raise ServiceError("ResourceAlreadyExists")
    if isinstance(existing, File):
        existing.lease.check(destination_lease, writes=True)
    if not ignore_read_only:
        refuse_read_only(existing)
    return existing
