"""From a configuration to a running mount: checks, the background, the end as an exit status."""

from __future__ import annotations

import logging
import os
from typing import Final

import trio

from azfilesfs.config.credentials import CredentialFiles
from azfilesfs.config.directories import mount_id
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import MountConfig
from azfilesfs.daemon.credentials import ReloadingCredentials
from azfilesfs.daemon.directories import MountDirectories, owned
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.daemon.logs import start_logging
from azfilesfs.daemon.notify import ServiceManager
from azfilesfs.daemon.precheck import check_fuse, check_mountpoint
from azfilesfs.daemon.processes import (
    Process,
    Readiness,
    forbid_core_files,
    into_background,
)
from azfilesfs.daemon.registry import Record, registered
from azfilesfs.daemon.serve import Parts, root_path, serve
from azfilesfs.fuse.mountinfo import canonical
from azfilesfs.model.paths import check_share_name

_log = logging.getLogger(__name__)

_LOG_FILE: Final = "daemon.log"


def mount(config: MountConfig) -> int:
    """Mount a share and return the exit status: at once in the background, at its end in the
    foreground.

    Raises:
        CommandFailed: it could not be mounted.
        AzureFilesError: the configuration cannot be right.
    """
    check_share_name(config.share)
    root_path(config.directory)
    credentials = ReloadingCredentials(config.credentials)
    check_fuse(allow_other=config.presentation.allow_other)
    check_mountpoint(config.mountpoint)
    if config.foreground:
        return _run(config, credentials, Readiness(None))
    into_background(lambda readiness: _run(config, credentials, readiness))
    return int(ExitCode.OK)


def _run(config: MountConfig, credentials: ReloadingCredentials, readiness: Readiness) -> int:
    """Be the daemon; every failure is reported, logged and raised as one ``CommandFailed``."""
    forbid_core_files()
    try:
        return _serve(config, credentials, readiness)
    except BaseException as error:  # noqa: BLE001  # the last place that can say what happened
        failure = to_command_failure(error)
        if failure is None:
            _log.exception("the daemon failed")
            failure = CommandFailed(
                ExitCode.INTERNAL, f"internal error: {type(error).__name__}; the log says more"
            )
        readiness.failed(failure)
        if not config.foreground:
            _log.critical("%s", failure)
            return int(failure.code)
        raise failure from None


def _serve(config: MountConfig, credentials: ReloadingCredentials, readiness: Readiness) -> int:
    storage = config.storage
    identity = identity_of(config, credentials)
    with owned(storage.cache, storage.state, identity) as directories:
        start_logging(
            config.log, foreground=config.foreground, own_file=directories.state / _LOG_FILE
        )
        record = _record(config, credentials, directories)
        with registered(record, storage.runtime):
            return trio.run(
                serve,
                Parts(
                    config=config,
                    credentials=credentials,
                    directories=directories,
                    manager=ServiceManager(os.environ),
                    ready=readiness.ready,
                ),
            )


def identity_of(config: MountConfig, credentials: ReloadingCredentials) -> str:
    """Return the name of what belongs to this mount on disk."""
    where = canonical(config.mountpoint)
    return mount_id(credentials.endpoint.url, config.share, config.directory, where)


def _record(
    config: MountConfig, credentials: ReloadingCredentials, directories: MountDirectories
) -> Record:
    process = Process.current()
    given = config.credentials.levels[0]
    return Record(
        mountpoint=os.fspath(canonical(config.mountpoint)),
        pid=process.pid,
        started=process.started,
        share=config.share,
        directory=config.directory,
        account=credentials.endpoint.account,
        endpoint=credentials.endpoint.url,
        state=os.fspath(directories.state),
        drain_timeout=config.drain_timeout,
        credentials=given.flags() if isinstance(given, CredentialFiles) else {},
    )
