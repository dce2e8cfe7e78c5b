"""Shares and nodes as JSON data, and back, for the data directory."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from azfilesfs.emulator.disk_content import DiskContents
from azfilesfs.emulator.leases import FileLease, ShareLease
from azfilesfs.emulator.shares import AccessPolicy, Service, Share
from azfilesfs.emulator.tree import (
    ROOT_ID,
    ContentHeaders,
    CopyRecord,
    Directory,
    Epoch,
    File,
    Node,
)
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.ranges import ByteRange

_SHARE_FIELDS = (
    "account",
    "name",
    "modified",
    "snapshot",
    "version",
    "deleted_at",
    "metadata",
    "quota",
    "tier",
    "tier_changed",
    "settings",
    "permissions",
    "ids_given",
)
_NODE_FIELDS = (
    "id",
    "name",
    "creation",
    "last_write",
    "change",
    "modified",
    "permission_key",
    "metadata",
)


def share_record(share: Share) -> dict[str, Any]:
    """Return a share without its tree."""
    record = {name: getattr(share, name) for name in _SHARE_FIELDS}
    record["policies"] = [asdict(policy) for policy in share.policies]
    record["lease"] = asdict(share.lease)
    return record


def load_share(record: dict[str, Any]) -> Share:
    """Return a share with an empty tree."""
    data = dict(record)
    data["policies"] = [AccessPolicy(**policy) for policy in data["policies"]]
    data["lease"] = ShareLease(**data["lease"])
    root = Directory(
        id=ROOT_ID,
        name="",
        parent=None,
        attributes=FileAttributes.DIRECTORY,
        creation=data["modified"],
        last_write=data["modified"],
        change=data["modified"],
        modified=data["modified"],
        permission_key="",
    )
    return Share(root=root, **data)


def node_record(node: Node) -> dict[str, Any]:
    """Return a file or directory without its children or content."""
    record: dict[str, Any] = {name: getattr(node, name) for name in _NODE_FIELDS}
    record["parent"] = node.parent_id
    record["attributes"] = int(node.attributes)
    if isinstance(node, File):
        record["size"] = node.size
        record["content"] = node.content.key
        record["written"] = _bounds(node.written)
        record["headers"] = asdict(node.headers)
        record["lease"] = asdict(node.lease)
        record["epochs"] = [
            {
                "since": epoch.since,
                "written": _bounds(epoch.written),
                "cleared": _bounds(epoch.cleared),
            }
            for epoch in node.epochs
        ]
        record["copy"] = asdict(node.copy) if node.copy is not None else None
    return record


def load_node(record: dict[str, Any], contents: DiskContents) -> tuple[Node, int]:
    """Return a file or directory, not yet in its parent, and the parent's id."""
    data: dict[str, Any] = {name: record[name] for name in _NODE_FIELDS}
    data["parent"] = None
    data["attributes"] = FileAttributes(record["attributes"])
    if "content" not in record:
        return Directory(**data), record["parent"]
    file = File(
        **data,
        size=record["size"],
        content=contents.open(record["content"]),
        written=_extents(record["written"]),
        headers=ContentHeaders(**record["headers"]),
        lease=FileLease(**record["lease"]),
        epochs=[
            Epoch(
                since=item["since"],
                written=_extents(item["written"]),
                cleared=_extents(item["cleared"]),
            )
            for item in record["epochs"]
        ],
        copy=CopyRecord(**record["copy"]) if record["copy"] is not None else None,
    )
    return file, record["parent"]


def load_account(service: Service, record: dict[str, Any]) -> None:
    """Give an account its own properties back, where the options still name it."""
    account = service.accounts.get(record["name"])
    if account is not None:
        account.properties = record["properties"]


def _bounds(extents: ExtentMap) -> list[int]:
    return [bound for extent in extents for bound in extent]


def _extents(bounds: list[int]) -> ExtentMap:
    pairs = iter(bounds)
    return ExtentMap(ByteRange(*pair) for pair in zip(pairs, pairs, strict=True))
