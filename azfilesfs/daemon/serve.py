"""Serving one mount from start to end: the composition root.

Nurseries mirror lifetimes: signals and metrics live longest, then connections, caches and the
staging area, then the filesystem with its uploads, then the session with the kernel. Stopping goes
the other way: the session ends, what is dirty is sent under a shielded deadline, connections close.
(docs/internals/architecture.md)
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from azfilesfs.cache import BlockCache
from azfilesfs.client import (
    BreakerPolicy,
    ClientOptions,
    Credential,
    RetryPolicy,
    RetryRule,
    ShareServiceClient,
    TimeoutPolicy,
    TransportKind,
    default_rules,
    may_write,
)
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import MountConfig
from azfilesfs.daemon.allocator import Allocator, trimmed_at_rest
from azfilesfs.daemon.collector import collecting_seldom
from azfilesfs.daemon.control import serve_control
from azfilesfs.daemon.credentials import ReloadingCredentials
from azfilesfs.daemon.directories import MountDirectories
from azfilesfs.daemon.locking import lock_options, lock_requests, lock_source
from azfilesfs.daemon.notify import ServiceManager
from azfilesfs.daemon.registry import StatusFile
from azfilesfs.daemon.shutdown import Shutdown, receive_signals
from azfilesfs.daemon.stopping import Stopping
from azfilesfs.daemon.telemetry import Telemetry
from azfilesfs.errors import ConnectionFailed, DnsResolutionFailed
from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.fuse.session import MountFailed, MountOptions, Session, mounted
from azfilesfs.model.limits import MIB
from azfilesfs.model.names import to_service
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.types import (
    CloseMode,
    Consistency,
    ExclusiveCreate,
    OnConflict,
    Symlinks,
    VfsOptions,
)

_log = logging.getLogger(__name__)

_SESSION_RECORD: Final = "session"
_SHARE_OF_DEADLINE: Final = 0.95
"""So that the client gives up first and says why, before the guard cuts the operation off."""

_CONNECTING: Final = RetryRule(5, 0.5)
_UPLOADS_AT_ONCE: Final = 4
"""So many large files may share a limit of bandwidth and still be sent within their deadlines."""
_PROBE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a mount is built from; made before the event loop starts, where it can still fail
    simply.

    Attributes:
        ready: called once, when the share has answered and the kernel has the mount.
    """

    config: MountConfig
    credentials: ReloadingCredentials
    directories: MountDirectories
    manager: ServiceManager
    ready: Callable[[], None]


def root_path(directory: str) -> SharePath:
    """Return the directory of the share that is mounted; names are spelled as on the mount.

    Raises:
        InvalidPath: it can be no directory of a share.
    """
    names = [name for name in directory.split("/") if name]
    path = SharePath(tuple(to_service(os.fsencode(name)) for name in names))
    path.check()
    return path


def source_name(config: MountConfig, account: str) -> str:
    """Return what mount(8) shows as the source."""
    return "/".join(part for part in (account, config.share, config.directory) if part)


def filesystem_options(config: MountConfig, credential: Credential) -> VfsOptions:
    """Translate the configuration into the filesystem's terms.

    A credential that says of itself that it may not write makes the mount read-only.
    """
    shown, sharing, limits = config.presentation, config.sharing, config.limits
    read_only = shown.read_only
    if not read_only and not may_write(credential):
        _log.warning("the SAS has no write permission: the mount is read-only")
        read_only = True
    return VfsOptions(
        uid=shown.uid,
        gid=shown.gid,
        file_mode=shown.file_mode,
        dir_mode=shown.dir_mode,
        umask=shown.umask,
        read_only=read_only,
        strict_modes=shown.strict_modes,
        symlinks=Symlinks(shown.symlinks),
        exclusive_create=ExclusiveCreate(sharing.exclusive_create),
        close=CloseMode(sharing.close),
        consistency=Consistency(sharing.consistency),
        on_conflict=OnConflict(sharing.on_conflict),
        staging_limit=config.storage.staging_limit,
        attr_ttl=sharing.attr_ttl,
        dir_ttl=sharing.dir_ttl,
        operation_deadline=limits.operation_timeout,
        transfer_deadline=limits.transfer_timeout,
        max_cached_names=limits.max_names,
        slowest_upload=min(MIB, (limits.limit_write or math.inf) / _UPLOADS_AT_ONCE),
        host_name=socket.gethostname(),
        locks=lock_options(config.locks),
        single_writer=sharing.single_writer and not read_only,
    )


def client_options(config: MountConfig, parts: Parts, telemetry: Telemetry) -> ClientOptions:
    """Return the client's settings; its deadlines lie inside those of an operation on the mount.

    A program cannot repeat what the mount gives up, so an interruption of some seconds is waited
    out: more attempts to connect, and a breaker that probes soon.
    """
    defaults, limits = TimeoutPolicy(), config.limits
    timeouts = TimeoutPolicy(
        small=limits.operation_timeout * _SHARE_OF_DEADLINE,
        transfer=limits.transfer_timeout * _SHARE_OF_DEADLINE,
        lease=min(defaults.lease, limits.operation_timeout * _SHARE_OF_DEADLINE),
    )
    rules = {
        **default_rules(),
        ConnectionFailed: _CONNECTING,
        DnsResolutionFailed: _CONNECTING,
    }
    return ClientOptions(
        timeouts=timeouts,
        retry=RetryPolicy(rules=rules),
        breaker=BreakerPolicy(reset_seconds=_PROBE_SECONDS),
        max_connections=limits.max_connections,
        max_requests=limits.max_requests,
        limit_read=limits.limit_read,
        limit_write=limits.limit_write,
        limit_requests=limits.limit_requests,
        transport=TransportKind(limits.transport),
        ca_file=parts.credentials.ca_file,
        observer=telemetry.client,
    )


async def serve(parts: Parts) -> int:
    """Mount, serve until the mount ends or somebody asks us to stop, drain; return the exit status.

    Raises:
        AzureFilesError: the share did not answer as it should before the mount was made.
        CommandFailed: the mount could not be made, or somebody asked us to stop before.
    """
    shutdown = Shutdown()
    async with trio.open_nursery() as outer:
        await outer.start(receive_signals, shutdown, parts.credentials.refresh)
        async with Telemetry.open(parts.config) as telemetry:
            notifier = PyfuseNotifier()
            async with _layers(parts, notifier, telemetry) as filesystem:
                await _check(filesystem, shutdown)
                code = await _serve_and_drain(
                    _Mount(parts, filesystem, notifier, telemetry, shutdown)
                )
        outer.cancel_scope.cancel()
    return code


def enter_staging(stack: AsyncExitStack, state: Path, limit: int, *, share: str) -> StagingArea:
    """Own the staging area until the stack unwinds.

    Raises:
        CommandFailed: the disk refused, a full one for instance.
        ConfigurationError: another process has it, or it is not private.
    """
    try:
        return stack.enter_context(StagingArea.open(state, limit, share=share))
    except OSError as error:
        raise CommandFailed(
            ExitCode.FAILED, f"the directory {state} cannot be used: {error.strerror or error}"
        ) from error


@asynccontextmanager
async def _layers(
    parts: Parts, notifier: PyfuseNotifier, telemetry: Telemetry
) -> AsyncIterator[FileSystem]:
    """Build the layers below the kernel, the lowest first, and take them down the other way."""
    config, directories, storage = parts.config, parts.directories, parts.config.storage
    endpoint = parts.credentials.endpoint
    allocator = Allocator()
    allocator.tune()
    async with AsyncExitStack() as stack:
        stack.enter_context(collecting_seldom())
        service = await stack.enter_async_context(
            ShareServiceClient.open(
                endpoint, parts.credentials, client_options(config, parts, telemetry)
            )
        )
        cache = await stack.enter_async_context(
            BlockCache.open(
                directories.cache / "blocks",
                limit_bytes=storage.cache_size,
                memory_bytes=storage.cache_memory,
            )
        )
        await stack.enter_async_context(trimmed_at_rest(allocator))
        staging = enter_staging(
            stack,
            directories.state,
            storage.staging_limit,
            share=f"{endpoint.account}/{config.share}",
        )
        filesystem = await stack.enter_async_context(
            FileSystem.open(
                service.share(config.share),
                root_path(config.directory),
                filesystem_options(config, parts.credentials.current()),
                cache=cache,
                staging=staging,
                kernel=notifier,
                session_record=directories.state / _SESSION_RECORD,
                lock_observer=telemetry.locks,
            )
        )
        filesystem.locks.mountpoint = os.fspath(config.mountpoint)
        telemetry.watch(filesystem, cache, notifier, service, config.limits.max_connections)
        yield filesystem


async def _check(filesystem: FileSystem, shutdown: Shutdown) -> None:
    """Ask the share for its root, unless somebody asks us to stop first."""
    async with trio.open_nursery() as nursery:

        async def stop_waiting() -> None:
            await shutdown.requested.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(stop_waiting)
        await filesystem.check()
        nursery.cancel_scope.cancel()
    if shutdown.requested.is_set():
        raise CommandFailed(ExitCode.INTERRUPTED, "interrupted before the mount was made")


@dataclass(frozen=True, slots=True)
class _Mount:
    """One mount with all that it stands on."""

    parts: Parts
    filesystem: FileSystem
    notifier: PyfuseNotifier
    telemetry: Telemetry
    shutdown: Shutdown


async def _serve_and_drain(mount: _Mount) -> int:
    parts = mount.parts
    status = StatusFile(parts.directories.state)
    stopping = Stopping(parts.config, mount.filesystem, mount.shutdown, status, parts.manager)
    broken = False
    try:
        await _serve_kernel(mount, stopping)
    except CommandFailed:
        raise
    except Exception:  # noqa: BLE001  # whatever it was, unsent data comes first
        # What has been written must be sent even so; the traceback is for the log alone.
        _log.exception("the session with the kernel broke")
        broken = True
    code = await stopping.drain()
    return int(ExitCode.INTERNAL) if broken and code == ExitCode.OK else code


async def _serve_kernel(mount: _Mount, stopping: Stopping) -> None:
    """Make the mount, serve it to its end, and leave it unmounted."""
    config = mount.parts.config
    limits = config.limits
    guard = Guard(
        Deadlines(limits.operation_timeout, limits.transfer_timeout), mount.telemetry.kernel
    )
    options = MountOptions(
        mountpoint=config.mountpoint,
        source=source_name(config, mount.parts.credentials.endpoint.account),
        allow_other=config.presentation.allow_other,
        checks_permissions=config.presentation.permissions == "checked",
        read_only=mount.filesystem.read_only,
        no_exec=config.presentation.no_exec,
        collect_writes=config.sharing.single_writer and not mount.filesystem.read_only,
    )
    operations = Operations(mount.filesystem, guard)
    try:
        with (
            lock_requests(mount.filesystem, operations, guard) as dispatcher,
            mounted(operations, options, mount.notifier, dispatcher) as session,
        ):
            await _serve_session(mount, session, stopping)
    except MountFailed as error:
        raise CommandFailed(
            ExitCode.MOUNTPOINT_UNUSABLE, f"{config.mountpoint} cannot be mounted on: {error}"
        ) from error


async def _serve_session(mount: _Mount, session: Session, stopping: Stopping) -> None:
    async with trio.open_nursery() as inner:

        async def serve_to_the_end(*, task_status: trio.TaskStatus[None]) -> None:
            await session.serve(task_status=task_status)
            inner.cancel_scope.cancel()

        source = lock_source(mount.filesystem)
        await inner.start(serve_control, mount.parts.directories.state, source)
        await inner.start(serve_to_the_end)
        inner.start_soon(stopping.end_session_when_asked, session)
        stopping.serving()
        _log.info("%s is mounted", mount.parts.config.mountpoint)
        mount.parts.manager.ready("mounted")
        mount.parts.ready()
