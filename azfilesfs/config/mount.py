"""What one mount is to do, complete and checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from azfilesfs.config.convert import HostPort
from azfilesfs.config.credentials import (
    CredentialEnvironment,
    CredentialFiles,
    CredentialSources,
)
from azfilesfs.config.directories import BaseDirectories, base_directories
from azfilesfs.config.file import find, read
from azfilesfs.config.mount_options import CREDENTIAL_OPTIONS, MOUNT_OPTIONS
from azfilesfs.config.options import Sources
from azfilesfs.errors import ConfigurationError

_Config = TypeVar("_Config", bound="_Dataclass")
_PERMISSIONS: Final = 0o777
_LOCKS: Final = next(known for known in MOUNT_OPTIONS if known.name == "locks")


class _Dataclass(Protocol):
    """What every dataclass has, for the types of a function that makes any of them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, how and where to; no file means standard error or the journal."""

    level: str = "warning"
    format: str = "text"
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentationConfig:
    """How the share appears; modes are permission bits."""

    uid: int
    gid: int
    file_mode: int = 0o755
    dir_mode: int = 0o755
    umask: int = 0
    permissions: str = "checked"
    strict_modes: bool = False
    symlinks: str = "mf"
    read_only: bool = False
    no_exec: bool = False
    allow_other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingConfig:
    """How changes of others are treated; durations in seconds."""

    consistency: str = "close-to-open"
    attr_ttl: float = 1.0
    dir_ttl: float = 1.0
    on_conflict: str = "fail"
    exclusive_create: str = "service"
    close: str = "sync"
    single_writer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LockConfig:
    """Where locks hold (``service``, ``auto``, ``local``), and their times in seconds."""

    locks: str = "service"
    lock_session_ttl: int = 60
    lock_timeout: float | None = None
    break_foreign_leases: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Where caches and unsent data live, and how large they may become, in bytes."""

    cache: Path
    state: Path
    runtime: tuple[Path, ...]
    cache_size: int
    cache_memory: int
    staging_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """Deadlines in seconds, numbers of things, and rates per second; None for no limit."""

    operation_timeout: float = 60.0
    transfer_timeout: float = 300.0
    max_requests: int = 32
    max_connections: int = 256
    limit_read: int | None = None
    limit_write: int | None = None
    limit_requests: int | None = None
    transport: str = "fast"
    max_names: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """Everything about one mount.

    Attributes:
        share: name of the share.
        directory: directory in it that becomes the root of the mount, empty for its root.
        mountpoint: absolute.
    """

    share: str
    directory: str
    mountpoint: Path
    credentials: CredentialSources
    presentation: PresentationConfig
    sharing: SharingConfig
    locks: LockConfig
    storage: StorageConfig
    limits: LimitConfig
    log: LogConfig
    foreground: bool = False
    drain_timeout: float = 60.0
    metrics: HostPort | None = None


def credential_sources(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Mapping[str, str], name: str
) -> CredentialSources:
    """Say where credentials come from: flags, then the environment, then the configuration file.

    Raises:
        ConfigurationError: a flag or a key of the file has no such value.
    """
    levels: list[CredentialFiles | CredentialEnvironment] = [
        _credential_files(Sources(flags, {}, {}), "the command line"),
    ]
    named = {
        o.key: environment[o.variable] for o in CREDENTIAL_OPTIONS if environment.get(o.variable)
    }
    levels.append(CredentialEnvironment(dict(environment)))
    if "credentials" in named:
        levels.append(_credential_files(Sources(named, {}, {}), "AZFILESFS_CREDENTIALS"))
    names = {known.name for known in CREDENTIAL_OPTIONS}
    keys = {key: text for key, text in file.items() if key in names}
    levels.append(_credential_files(Sources({}, {}, keys, name), name))
    return CredentialSources(tuple(levels))


def _credential_files(sources: Sources, where: str) -> CredentialFiles:
    found = sources.values(CREDENTIAL_OPTIONS)
    ca_file = found["ca_file"]
    return CredentialFiles(
        where=where,
        connection_string_file=found["connection_string_file"],
        account=found["account"],
        key_file=found["key_file"],
        sas_file=found["sas_file"],
        credentials_file=found["credentials"],
        endpoint=found["endpoint"],
        ca_file=os.fspath(ca_file) if ca_file is not None else None,
    )


def split_share(argument: str) -> tuple[str, str]:
    """Split ``SHARE[/DIR]``.

    Raises:
        ConfigurationError: it names no share, or a URL.
    """
    if "://" in argument:
        raise ConfigurationError("name the share, not a URL: SHARE or SHARE/DIR (see --endpoint)")
    share, _, directory = argument.strip("/").partition("/")
    if not share:
        raise ConfigurationError("name a share: SHARE or SHARE/DIR")
    return share, directory.strip("/")


def load_file(
    flags: Mapping[str, str], environment: Mapping[str, str], command: str, share: str | None
) -> tuple[dict[str, str], str]:
    """Find and read the configuration file; return its settings and its name for messages.

    Raises:
        ConfigurationError: it is missing though named, unreadable or malformed.
    """
    home = base_directories(environment, os.getuid()).config
    path = find(flags.get("config") or environment.get("AZFILESFS_CONFIG") or None, home)
    if path is None:
        return {}, "the configuration file"
    return read(path, command, share), os.fspath(path)


def build_mount(
    target: str, mountpoint: str, flags: Mapping[str, str], environment: Mapping[str, str]
) -> MountConfig:
    """Build the configuration of a mount from flags, environment and file, in this order of
    strength.

    Raises:
        ConfigurationError: a value is wrong or a part is not available.
    """
    share, directory = split_share(target)
    file, name = load_file(flags, environment, "mount", share)
    sources = Sources(flags, environment, file, name)
    values = sources.values(MOUNT_OPTIONS)
    base = base_directories(environment, os.getuid())
    return MountConfig(
        share=share,
        directory=directory,
        mountpoint=Path(os.path.abspath(mountpoint)),
        credentials=credential_sources(flags, environment, file, name),
        presentation=_presentation(values),
        sharing=_take(SharingConfig, values),
        locks=_locks(sources, values),
        storage=_storage(values, base),
        limits=_take(LimitConfig, values),
        log=log_config(values),
        foreground=values["foreground"],
        drain_timeout=values["drain_timeout"],
        metrics=values["metrics"],
    )


def log_config(values: Mapping[str, Any]) -> LogConfig:
    """Take the settings of the log."""
    return LogConfig(
        level=values["log_level"], format=values["log_format"], file=values["log_file"]
    )


def _take(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    return kind(**{field.name: values[field.name] for field in fields(kind)})


def _presentation(values: Mapping[str, Any]) -> PresentationConfig:
    """Take the settings of how files appear.

    Unchecked, whoever gets in may change everything, so nobody else may get in.
    """
    if values["allow_other"] and values["permissions"] == "unchecked":
        raise ConfigurationError(
            "--allow-other and --permissions=unchecked contradict each other: every user could "
            "change everything"
        )
    owner = {
        "uid": values["uid"] if values["uid"] is not None else os.getuid(),
        "gid": values["gid"] if values["gid"] is not None else os.getgid(),
    }
    modes = {name: values[name] & _PERMISSIONS for name in ("file_mode", "dir_mode", "umask")}
    found = _take(PresentationConfig, {**values, **owner, **modes})
    return found


def _locks(sources: Sources, values: Mapping[str, Any]) -> LockConfig:
    """Take the settings of locks; those of a single writer are local.

    Unlocking sends nothing of what the kernel has collected, so a lock between hosts would not
    protect what was written under it.
    """
    found = _take(LockConfig, values)
    if not values["single_writer"]:
        return found
    if values["read_only"]:
        raise ConfigurationError("--single-writer and --read-only contradict each other")
    if found.locks != "local" and sources.is_set(_LOCKS):
        raise ConfigurationError(
            f"--single-writer keeps locks on this mount alone: locks must be local, not "
            f"{found.locks}"
        )
    return replace(found, locks="local")


def _storage(values: Mapping[str, Any], base: BaseDirectories) -> StorageConfig:
    places = {
        "cache": values["cache_dir"] or base.cache,
        "state": values["state_dir"] or base.state,
        "runtime": (*base.runtime, (values["state_dir"] or base.state) / "running"),
    }
    found = _take(StorageConfig, {**values, **places})
    return found
