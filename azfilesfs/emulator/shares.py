"""Shares, accounts and the whole service: the state that operations work on."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from azfilesfs.emulator.clock import ServiceClock
from azfilesfs.emulator.content import Content
from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.leases import ShareLease
from azfilesfs.emulator.options import EmulatorOptions
from azfilesfs.emulator.tree import ROOT_ID, Directory, File, Node
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import check_share_name

DEFAULT_QUOTA_GIB: Final = 5120
INHERITED_PERMISSION: Final = (
    "O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;0x1301bf;;;AU)(A;OICIIO;SDGXGWGR;;;AU)"
)
"""What a new file or directory gets where the request names no permission."""


def permission_key(sddl: str) -> str:
    """Return the key under which a share stores a permission."""
    digest = hashlib.sha256(sddl.encode()).digest()
    return f"{int.from_bytes(digest[:8], 'big')}*{int.from_bytes(digest[8:16], 'big')}"


INHERITED_KEY: Final = permission_key(INHERITED_PERMISSION)


@dataclass(slots=True, kw_only=True)
class AccessPolicy:
    """A stored access policy; times and permission as the client wrote them."""

    id: str
    start: str = ""
    expiry: str = ""
    permission: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Share:
    """A share, a snapshot of one, or a deleted one.

    Attributes:
        snapshot: the snapshot's time as in ``sharesnapshot``, None for the share itself.
        version: names a deleted share for Restore Share.
        settings: properties that are stored and shown, by header name.
        permissions: SDDL texts by key.
        used: bytes that the files have together.
    """

    account: str
    name: str
    root: Directory
    modified: int
    snapshot: str | None = None
    version: str | None = None
    deleted_at: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    quota: int = DEFAULT_QUOTA_GIB
    tier: str = "TransactionOptimized"
    tier_changed: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    policies: list[AccessPolicy] = field(default_factory=list)
    permissions: dict[str, str] = field(default_factory=dict)
    lease: ShareLease = field(default_factory=ShareLease)
    ids_given: int = 0
    used: int = 0

    @property
    def key(self) -> str:
        """What identifies it in the data directory."""
        return f"{self.account}/{self.name}@{self.snapshot or ''}@{self.version or ''}"

    def next_id(self) -> int:
        """Return a file id that this share has not used, in the pattern of the service's ids."""
        number, self.ids_given = self.ids_given, self.ids_given + 1
        serial = (number >> 3) + 1
        spread = (serial & 0x3FFF) << 46 | (serial >> 14) << 14
        return 1 << 63 | (4 - number & 7) << 60 | spread


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """A storage account.

    Attributes:
        snapshots: by share name, then by time.
        deleted: shares that can be restored.
        gone: when shares were deleted last, by name.
        properties: the sections of the service properties as XML, empty for the defaults.
    """

    name: str
    key: bytes = field(repr=False)
    shares: dict[str, Share] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Share]] = field(default_factory=dict)
    deleted: list[Share] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)
    properties: str = ""


class Contents(Protocol):
    """Where contents of files come from."""

    def new(self) -> Content:
        """Return an empty content."""
        ...

    def sweep(self) -> None:
        """Remove what was discarded, after the commit."""
        ...


class Store(Protocol):
    """Where changes go; ``commit`` makes those since the last one durable together."""

    def save_account(self, account: Account) -> None:
        """Note that the account's own properties changed."""
        ...

    def save_share(self, share: Share) -> None:
        """Note that the share's own record changed."""
        ...

    def drop_share(self, share: Share) -> None:
        """Note that the share and all its nodes are gone."""
        ...

    def save_node(self, share: Share, node: Node) -> None:
        """Note that a node changed."""
        ...

    def drop_node(self, share: Share, node: Node) -> None:
        """Note that a node is gone."""
        ...

    def commit(self) -> None:
        """Make the changes durable."""
        ...

    def close(self) -> None:
        """Give the directory back."""
        ...


class MemoryStore:
    """Keeps nothing: the state in memory is all there is."""

    def save_account(self, account: Account) -> None:
        """Do nothing."""

    def save_share(self, share: Share) -> None:
        """Do nothing."""

    def drop_share(self, share: Share) -> None:
        """Do nothing."""

    def save_node(self, share: Share, node: Node) -> None:
        """Do nothing."""

    def drop_node(self, share: Share, node: Node) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Service:
    """The state of the whole service. Operations change it in one synchronous step each."""

    def __init__(self, options: EmulatorOptions, store: Store, contents: Contents) -> None:
        self.options = options
        self.store = store
        self.contents = contents
        self.clock = ServiceClock(options.clock, equal_ticks=options.equal_ticks)
        self.accounts = {
            name: Account(name=name, key=base64.b64decode(key, validate=True))
            for name, key in options.accounts.items()
        }

    def create_missing_shares(self) -> None:
        """Create the shares that the options name and that do not exist yet."""
        for account in self.accounts.values():
            for name in self.options.shares:
                check_share_name(name)
                if name not in account.shares:
                    self.add_share(account, name)
        self.commit()

    def add_share(self, account: Account, name: str) -> Share:
        """Create an empty share."""
        now = self.clock.tick()
        root = Directory(
            id=ROOT_ID,
            name="",
            parent=None,
            attributes=FileAttributes.DIRECTORY,
            creation=now,
            last_write=now,
            change=now,
            modified=now,
            permission_key=INHERITED_KEY,
        )
        share = Share(account=account.name, name=name, root=root, modified=now, tier_changed=now)
        share.permissions[INHERITED_KEY] = INHERITED_PERMISSION
        account.shares[name] = share
        self.store.save_share(share)
        self.store.save_node(share, root)
        return share

    def account(self, name: str) -> Account:
        """Return an account.

        Raises:
            ServiceError: there is none of that name.
        """
        account = self.accounts.get(name)
        if account is None:
            raise ServiceError("ResourceNotFound")
        return account

    def share(self, account_name: str, name: str, snapshot: str | None = None) -> Share:
        """Return a share or a snapshot, its lease settled.

        Raises:
            ServiceError: ShareNotFound, for a missing snapshot as well.
        """
        account = self.account(account_name)
        if snapshot:
            share = account.snapshots.get(name, {}).get(snapshot)
        else:
            share = account.shares.get(name)
        if share is None:
            raise ServiceError("ShareNotFound")
        share.lease.settle(self.clock.now())
        return share

    def save(self, share: Share, node: Node) -> None:
        """Note a changed node."""
        self.store.save_node(share, node)

    def forget(self, share: Share, node: Node) -> None:
        """Note a removed node, and give its content back."""
        self.store.drop_node(share, node)
        if isinstance(node, File):
            share.used -= node.size
            node.content.discard()

    def forget_share(self, share: Share) -> None:
        """Note a share that is gone for good."""
        self.store.drop_share(share)
        for node in share.root.walk():
            if isinstance(node, File):
                node.content.discard()

    def commit(self) -> None:
        """Make the changes of the current request durable."""
        self.store.commit()
        self.contents.sweep()

    def close(self) -> None:
        """Commit and give the data directory back."""
        self.commit()
        self.store.close()
