"""The data directory: a SQLite file for everything but contents, sparse files for those.

Tables: ``records(key, data)`` has accounts and shares, ``nodes(share, id, data)`` has files and
directories. ``data`` is JSON. Every request is one transaction, committed before its answer is
sent, so a killed process loses nothing that was acknowledged. The write-ahead log is not synced at
each commit: a machine that loses power may lose the last requests, and keeps a consistent state.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from azfilesfs.emulator.disk_content import DiskContents
from azfilesfs.emulator.records import (
    load_account,
    load_node,
    load_share,
    node_record,
    share_record,
)
from azfilesfs.emulator.shares import Account, Service, Share
from azfilesfs.emulator.tree import ROOT_ID, Directory, File, Node

LAYOUT: Final = 1
"""Number of the layout of the data directory; others are refused."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (
    share TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (share, id)
) WITHOUT ROWID;
"""


class SqliteStore:
    """Collects the changes of a request and commits them together."""

    def __init__(self, database: sqlite3.Connection, lock: int) -> None:
        self._database = database
        self._lock = lock
        self._records: dict[str, dict[str, Any] | None] = {}
        self._nodes: dict[tuple[str, int], tuple[Share, Node] | None] = {}
        self._shares: dict[str, Share] = {}
        self._dropped: list[str] = []

    @classmethod
    def open(cls, directory: Path) -> SqliteStore:
        """Open or create a data directory, which nobody else may use until it is closed.

        Raises:
            OSError: it cannot be made or read, is in use, or has another layout.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            database = _open_database(directory / "state.db")
        except BlockingIOError:
            os.close(lock)
            raise BlockingIOError(f"{directory} is in use by another emulator") from None
        except BaseException:
            os.close(lock)
            raise
        return cls(database, lock)

    def load(self, service: Service, contents: DiskContents) -> None:
        """Fill a service with what the directory holds; remove contents nothing refers to."""
        keys: set[str] = set()
        for key, text in self._database.execute("SELECT key, data FROM records"):
            data = json.loads(text)
            kind = key.partition("/")[0]
            if kind == "account":
                load_account(service, data)
            elif kind == "share":
                share = load_share(data)
                keys |= self._load_tree(share, contents)
                _attach(service, share)
        contents.keep_only(keys)

    def _load_tree(self, share: Share, contents: DiskContents) -> set[str]:
        nodes: dict[int, tuple[Node, int]] = {}
        keys: set[str] = set()
        rows = self._database.execute("SELECT data FROM nodes WHERE share = ?", (share.key,))
        for (text,) in rows:
            node, parent_id = load_node(json.loads(text), contents)
            if node.id == ROOT_ID and isinstance(node, Directory):
                share.root = node
            else:
                nodes[node.id] = (node, parent_id)
            if isinstance(node, File):
                keys.add(node.content.key)
                share.used += node.size
        for node, parent_id in nodes.values():
            directory = share.root if parent_id == ROOT_ID else nodes[parent_id][0]
            if isinstance(directory, Directory):
                directory.add(node)
        return keys

    def save_account(self, account: Account) -> None:
        """Note that the account's own properties changed."""
        self._records[f"account/{account.name}"] = {
            "name": account.name,
            "properties": account.properties,
        }

    def save_share(self, share: Share) -> None:
        """Note that the share's own record changed."""
        self._shares[share.key] = share

    def drop_share(self, share: Share) -> None:
        """Note that the share and all its nodes are gone."""
        key = share.key
        self._shares.pop(key, None)
        self._nodes = {which: what for which, what in self._nodes.items() if which[0] != key}
        self._dropped.append(key)

    def save_node(self, share: Share, node: Node) -> None:
        """Note that a node changed."""
        self._nodes[share.key, node.id] = (share, node)

    def drop_node(self, share: Share, node: Node) -> None:
        """Note that a node is gone."""
        self._nodes[share.key, node.id] = None

    def commit(self) -> None:
        """Write the changes in one transaction."""
        if not (self._records or self._shares or self._nodes or self._dropped):
            return
        database = self._database
        with database:
            for key in self._dropped:
                database.execute("DELETE FROM records WHERE key = ?", (f"share/{key}",))
                database.execute("DELETE FROM nodes WHERE share = ?", (key,))
            for key, data in self._records.items():
                self._put_record(key, data)
            for key, share in self._shares.items():
                self._put_record(f"share/{key}", share_record(share))
            for (key, node_id), found in self._nodes.items():
                if found is None:
                    database.execute(
                        "DELETE FROM nodes WHERE share = ? AND id = ?", (key, str(node_id))
                    )
                else:
                    text = json.dumps(node_record(found[1]), separators=(",", ":"))
                    database.execute(
                        "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", (key, str(node_id), text)
                    )
        self._dropped.clear()
        self._records.clear()
        self._shares.clear()
        self._nodes.clear()

    def _put_record(self, key: str, data: dict[str, Any] | None) -> None:
        text = json.dumps(data, separators=(",", ":"))
        self._database.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the database and let others use the directory."""
        self._database.close()
        os.close(self._lock)


def _open_database(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout not in {0, LAYOUT}:
            raise OSError(f"{path} has layout {layout}, not {LAYOUT}")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {LAYOUT}")
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be used: {error}") from error
    return database


def _attach(service: Service, share: Share) -> None:
    account = service.accounts.get(share.account)
    if account is None:
        return
    if share.version is not None:
        account.deleted.append(share)
    elif share.snapshot is not None:
        account.snapshots.setdefault(share.name, {})[share.snapshot] = share
    else:
        account.shares[share.name] = share
