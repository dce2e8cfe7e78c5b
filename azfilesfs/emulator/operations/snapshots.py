"""Snapshots of shares, and the end of shares: delete and restore."""

from __future__ import annotations

import copy
from typing import Final

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import ServiceError, invalid_header, missing_header
from azfilesfs.emulator.leases import FileLease, ShareLease
from azfilesfs.emulator.lookup import lease_id
from azfilesfs.emulator.metadata import parse_metadata
from azfilesfs.emulator.operations.shares import write_share
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Account, Service, Share
from azfilesfs.emulator.smb import stamp_headers
from azfilesfs.emulator.tree import ContentHeaders, Directory, Epoch, File, Node
from azfilesfs.emulator.wire import iso
from azfilesfs.model.times import NS_PER_SECOND, ns_to_ticks

MAX_SNAPSHOTS: Final = 200
REMOVAL_SECONDS: Final = 30
USAGE_SINCE: Final = "2024-11-04"


def snapshot_share(service: Service, request: Request) -> Answer:
    """Take a snapshot: a copy of the tree that shares the contents."""
    share = write_share_for_snapshot(service, request)
    account = service.account(request.account)
    family = account.snapshots.setdefault(share.name, {})
    if len(family) >= MAX_SNAPSHOTS:
        raise ServiceError("ShareSnapshotCountExceeded")
    moment = service.clock.now() // NS_PER_SECOND * NS_PER_SECOND
    while iso(moment) in family:
        moment += NS_PER_SECOND
    name = iso(moment)
    metadata = parse_metadata(request) or dict(share.metadata)
    twin = copy.copy(share)
    twin.snapshot, twin.metadata = name, metadata
    twin.lease, twin.permissions = ShareLease(), dict(share.permissions)
    twin.settings, twin.policies = dict(share.settings), list(share.policies)
    twin.root = _copy_tree(service, share, twin)
    family[name] = twin
    service.store.save_share(twin)
    return Answer(201, [*stamp_headers(share.modified), ("x-ms-snapshot", name)])


def write_share_for_snapshot(service: Service, request: Request) -> Share:
    """Return the share to take a snapshot of; a lease does not stand in the way.

    Raises:
        ServiceError: it is missing.
    """
    return service.share(request.account, request.share)


def _copy_tree(service: Service, share: Share, twin: Share) -> Directory:
    root = _copy_directory(share.root, None)
    pending = [(share.root, root)]
    service.save(twin, root)
    while pending:
        old, new = pending.pop()
        for child in old.children.values():
            copied = _copy_node(child, new)
            new.add(copied)
            service.save(twin, copied)
            if isinstance(child, File):
                child.epochs.append(Epoch(since=twin.snapshot or ""))
                service.save(share, child)
            if isinstance(child, Directory) and isinstance(copied, Directory):
                pending.append((child, copied))
    return root


def _copy_node(node: Node, parent: Directory) -> Node:
    if isinstance(node, Directory):
        return _copy_directory(node, parent)
    if not isinstance(node, File):
        raise TypeError(node)
    file = copy.copy(node)
    file.parent, file.metadata = parent, dict(node.metadata)
    file.content, file.written = node.content.clone(), node.written.copy()
    file.headers = ContentHeaders(**vars_of(node.headers))
    file.epochs = [epoch.copy() for epoch in node.epochs]
    file.lease = FileLease()
    return file


def vars_of(headers: ContentHeaders) -> dict[str, str | None]:
    """Return the fields of a slotted object."""
    return {name: getattr(headers, name) for name in headers.__slots__}


def _copy_directory(directory: Directory, parent: Directory | None) -> Directory:
    twin = copy.copy(directory)
    twin.parent, twin.metadata = parent, dict(directory.metadata)
    twin.children = {}
    twin._order = None
    return twin


def delete_share(service: Service, request: Request) -> Answer:
    """Delete a share, a snapshot, or a share with its snapshots."""
    account = service.account(request.account)
    if request.snapshot is not None:
        return _delete_snapshot(service, request, account)
    deleted_at = account.gone.get(request.share)
    removed_at = None if deleted_at is None else deleted_at + REMOVAL_SECONDS * NS_PER_SECOND
    is_gone = request.share not in account.shares
    if is_gone and removed_at is not None and service.clock.now() < removed_at:
        # While the service removes a share, deleting it once more succeeds.
        return Answer(202)
    share = write_share(service, request)
    family = account.snapshots.get(share.name, {})
    mode = request.headers.get("x-ms-delete-snapshots", "").lower()
    if mode not in {"", "include", "include-leased"}:
        raise invalid_header("x-ms-delete-snapshots", mode)
    if family and not mode:
        raise ServiceError("ShareHasSnapshots")
    if mode == "include":
        _refuse_leased(service, family)
    for snapshot in family.values():
        service.forget_share(snapshot)
    account.snapshots.pop(share.name, None)
    del account.shares[share.name]
    _retire(service, account, share)
    headers = (
        [("x-ms-file-share-usage-bytes", str(share.used))] if request.version >= USAGE_SINCE else []
    )
    return Answer(202, headers)


def _refuse_leased(service: Service, family: dict[str, Share]) -> None:
    for snapshot in family.values():
        snapshot.lease.settle(service.clock.now())
        if snapshot.lease.state in {"leased", "breaking"}:
            raise ServiceError("DeleteShareWhenSnapshotLeased")


def _delete_snapshot(service: Service, request: Request, account: Account) -> Answer:
    snapshot = service.share(request.account, request.share, request.snapshot)
    snapshot.lease.check(lease_id(request), writes=True)
    del account.snapshots[snapshot.name][snapshot.snapshot or ""]
    service.forget_share(snapshot)
    return Answer(202)


def _retire(service: Service, account: Account, share: Share) -> None:
    now = account.gone[share.name] = service.clock.tick()
    if not service.options.soft_delete:
        service.forget_share(share)
        return
    service.store.drop_share(share)
    share.version, share.deleted_at = f"01{ns_to_ticks(now):X}", now
    share.lease = ShareLease()
    account.deleted.append(share)
    service.store.save_share(share)
    for node in share.root.walk():
        service.save(share, node)


def restore_share(service: Service, request: Request) -> Answer:
    """Bring a deleted share back under its name."""
    account = service.account(request.account)
    name = request.header("x-ms-deleted-share-name")
    version = request.header("x-ms-deleted-share-version")
    if name is None or version is None:
        raise missing_header(
            "x-ms-deleted-share-name" if name is None else "x-ms-deleted-share-version"
        )
    if request.share in account.shares:
        raise ServiceError("ShareAlreadyExists")
    share = next(
        (gone for gone in account.deleted if (gone.name, gone.version) == (name, version)), None
    )
    if share is None:
        raise ServiceError("ShareNotFound")
    account.deleted.remove(share)
    service.store.drop_share(share)
    share.name, share.version, share.deleted_at = request.share, None, None
    account.shares[share.name] = share
    share.modified = service.clock.tick()
    service.store.save_share(share)
    for node in share.root.walk():
        service.save(share, node)
    return Answer(201, stamp_headers(share.modified))
