"""Where caches, state and configuration live: XDG base directories, /var for root's services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

NAME: Final = "azfilesfs"
_ID_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class BaseDirectories:
    """The directories of this program for one user; none need exist.

    Attributes:
        cache: what may be deleted at any time while nothing is mounted.
        state: what must not be deleted: unsent data.
        config: where the configuration file is looked for.
        runtime: where running mounts are registered, the first that can be written; all are
        searched.
    """

    cache: Path
    state: Path
    config: Path
    runtime: tuple[Path, ...]


def base_directories(environment: Mapping[str, str], uid: int) -> BaseDirectories:
    """Return where things belong for this user and environment."""
    root = uid == 0
    home = _absolute(environment.get("HOME")) or Path("/")
    # systemd hands its CacheDirectory= and StateDirectory= over in these; several are joined by
    # colons.
    cache = _first(environment, "CACHE_DIRECTORY") or _below(environment, "XDG_CACHE_HOME")
    state = _first(environment, "STATE_DIRECTORY") or _below(environment, "XDG_STATE_HOME")
    config = _below(environment, "XDG_CONFIG_HOME")
    cache = cache or (Path("/var/cache") if root else home / ".cache") / NAME
    state = state or (Path("/var/lib") if root else home / ".local" / "state") / NAME
    config = config or home / ".config" / NAME
    runtime = [_below(environment, "XDG_RUNTIME_DIR"), Path("/run") / NAME if root else None]
    places = (*(place for place in runtime if place is not None), state / "running")
    return BaseDirectories(cache, state, config, places)


def _absolute(value: str | None) -> Path | None:
    # The XDG specification has relative paths ignored.
    return Path(value) if value and os.path.isabs(value) else None


def _below(environment: Mapping[str, str], name: str) -> Path | None:
    found = _absolute(environment.get(name))
    return found / NAME if found is not None else None


def _first(environment: Mapping[str, str], name: str) -> Path | None:
    return _absolute(environment.get(name, "").partition(":")[0])


def mount_id(endpoint: str, share: str, directory: str, mountpoint: Path) -> str:
    """Name what belongs to one mount: the same again only for the same directory and mountpoint."""
    parts = (endpoint.rstrip("/").lower(), share, directory, os.fspath(mountpoint))
    digest = sha256()
    for part in parts:
        # Length first, so that no two lists of parts run into the same bytes.
        data = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:_ID_DIGITS]
