"""``azfilesfs umount``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from azfilesfs.cli.parsing import SubParsers
from azfilesfs.config import convert
from azfilesfs.config.directories import base_directories
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.mounts import (
    Record,
    Status,
    detach_dead,
    find_record,
    is_ours_mounted,
    last_status,
    unsent_of,
)

_DESCRIPTION = """\
Take a mount out of the tree, wait until everything that was written to it is at the service, and
say by the exit status whether something is left (then 'azfilesfs recover list' shows it). Files
that are still open are served until they are closed or the mount's --drain-timeout is nearly up.
"""

_STEP_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 15.0


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "umount", help="send what is unsent and unmount", description=_DESCRIPTION
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        help="how long to wait (default: a little longer than the mount's --drain-timeout)",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="the --state-dir of the mount, if it could not be registered elsewhere",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Unmount and wait."""
    mountpoint = Path(os.path.abspath(arguments.mountpoint))
    base = base_directories(os.environ, os.getuid())
    given = arguments.state_dir or os.environ.get("AZFILESFS_STATE_DIR")
    places = (*base.runtime, *((Path(given) / "running",) if given else ()))
    record = find_record(mountpoint, places)
    if record is None or not record.process.is_alive:
        return _clean_up(mountpoint, record)
    timeout = _timeout(arguments.timeout, record)
    try:
        record.process.terminate()
    except PermissionError:
        raise CommandFailed(
            ExitCode.REFUSED, f"the mount on {mountpoint} belongs to another user"
        ) from None
    return _wait(mountpoint, record, timeout)


def _timeout(text: str | None, record: Record) -> float:
    if text is None:
        return record.drain_timeout + _GRACE_SECONDS
    try:
        return convert.positive_duration(text)
    except ValueError as error:
        raise CommandFailed(ExitCode.USAGE, f"--timeout: {error}") from None


def _clean_up(mountpoint: Path, record: Record | None) -> int:
    """Deal with a mount whose daemon is gone, or that we know nothing about."""
    if not is_ours_mounted(mountpoint):
        raise CommandFailed(ExitCode.NOT_MOUNTED, f"no azfilesfs mount on {mountpoint}")
    if not detach_dead(mountpoint):
        raise CommandFailed(
            ExitCode.NOT_MOUNTED,
            f"the daemon of {mountpoint} cannot be found; give the mount's --state-dir, "
            "or use fusermount3 -u, which does not wait",
        )
    if record is None:
        raise CommandFailed(
            ExitCode.UNSENT_DATA,
            f"detached {mountpoint}, whose daemon had died; whether it left unsent data is not "
            "known here: see 'azfilesfs recover list'",
        )
    return _leftovers(record, f"detached {mountpoint}, whose daemon had died")


def _leftovers(record: Record, what: str) -> int:
    """Tell what a process that is gone has left behind."""
    if unsent := unsent_of(record):
        raise CommandFailed(
            ExitCode.UNSENT_DATA,
            f"{what}; it left {unsent} unsent file(s): see 'azfilesfs recover list'",
        )
    return int(ExitCode.OK)


def _wait(mountpoint: Path, record: Record, timeout: float) -> int:
    started = time.monotonic()
    shown = ""
    while not record.process.wait(_STEP_SECONDS):
        waited = time.monotonic() - started
        if waited > timeout:
            raise CommandFailed(
                ExitCode.STILL_DRAINING, f"{mountpoint} is still being sent; it goes on without us"
            )
        line = _progress(last_status(record))
        if waited > _SILENT_SECONDS and line != shown:
            shown = line
            print(f"azfilesfs: {line}", file=sys.stderr)
    return _outcome(mountpoint, record, last_status(record))


def _progress(status: Status | None) -> str:
    if status is None:
        return "waiting"
    if status.phase == "stopping":
        return "waiting for files that are still open"
    return f"{status.dirty_files} file(s), {status.dirty_bytes} bytes to send"


def _outcome(mountpoint: Path, record: Record, status: Status | None) -> int:
    if status is None:
        # Its disk had no room even for that; what is unsent is known all the same.
        return _leftovers(record, f"{mountpoint} has ended")
    if status.exit_code is None:
        raise CommandFailed(
            ExitCode.INTERNAL, f"the daemon of {mountpoint} ended unexpectedly; see its log"
        )
    if status.exit_code == ExitCode.UNSENT_DATA:
        raise CommandFailed(
            ExitCode.UNSENT_DATA,
            f"{status.dirty_files} file(s) could not be sent: see 'azfilesfs recover list'",
        )
    return status.exit_code
