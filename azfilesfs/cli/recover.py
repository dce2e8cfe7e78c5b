"""``azfilesfs recover``: what mounts could not send, and what shall become of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from azfilesfs.cli.parsing import SubParsers
from azfilesfs.cli.places import Place, add_connection, share_path, sources_of
from azfilesfs.cli.recover_output import (
    as_json,
    description,
    document,
    file_of,
    printable,
    table,
)
from azfilesfs.config.directories import base_directories
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import load_file
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.errors import AzureFilesError, ConfigurationError, FileError, ParentNotFound
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs import recovery
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.recovery import NoSuchRecord, RecordBusy

if TYPE_CHECKING:
    from azfilesfs.client import ShareClient

T = TypeVar("T")

_DESCRIPTION = """\
Show, send or discard bytes that a mount could not bring to the share: after a conflict, after an
unmount without a network, after a crash. Nothing is sent or removed by itself. Running mounts are
never touched. IDs may be shortened.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "recover", help="deal with what could not be sent", description=_DESCRIPTION
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _action(actions, "list", "list what was kept", _list)
    listing.add_argument("--json", action="store_true", help="write JSON")
    show = _action(actions, "show", "say everything about one kept file", _show)
    show.add_argument("id", metavar="ID", help="as the list shows it")
    show.add_argument("--json", action="store_true", help="write JSON")
    show.add_argument(
        "--output",
        metavar="FILE",
        help="write the whole file into a new local one, unsent bytes over the remote version",
    )
    show.add_argument(
        "--extents-only",
        action="store_true",
        help="write the unsent bytes alone, at their offsets; the share is not asked",
    )
    send = _action(actions, "send", "send kept files and forget them", _send)
    send.add_argument("id", metavar="ID", nargs="+", help="as the list shows it")
    send.add_argument("--to", metavar="PATH", help="send to this path of the share instead")
    send.add_argument(
        "--force", action="store_true", help="send over whatever is there, newer or not"
    )
    for action in (show, send):
        add_connection(action)
    discard = _action(actions, "discard", "remove kept files for good", _discard)
    discard.add_argument("id", metavar="ID", nargs="+", help="as the list shows it")
    discard.add_argument("--yes", action="store_true", help="do not ask")


def _action(
    actions: SubParsers, name: str, text: str, work: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text + ".")
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where mounts keep their state, or one mount's (default: as for mount)",
    )
    parser.set_defaults(run=run, work=work)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do one of the actions."""
    work: Callable[[argparse.Namespace], int] = arguments.work
    return work(arguments)


# -- the actions -----------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    records, is_complete = _records(arguments)
    if arguments.json:
        print(as_json([document(record) for record in records]))
    elif records:
        print(table(records))
    else:
        print("nothing was kept")
    return int(ExitCode.OK if is_complete else ExitCode.FAILED)


def _show(arguments: argparse.Namespace) -> int:
    if arguments.extents_only and arguments.output is None:
        raise CommandFailed(ExitCode.USAGE, "--extents-only needs --output FILE")
    with _failures_told():
        record = _find(arguments, arguments.id)
        if arguments.output is not None:
            with recovery.claimed(record) as claimed:
                _write(arguments, claimed, Path(arguments.output))
            return int(ExitCode.OK)
    print(as_json(document(record)) if arguments.json else description(record))
    return int(ExitCode.OK)


def _write(arguments: argparse.Namespace, record: KeptRecord, output: Path) -> None:
    if arguments.extents_only or not recovery.needs_base(record):
        recovery.write_extents(record, output)
        return

    from azfilesfs.vfs import resend

    if _with_share(arguments, record, lambda share: resend.write_merged(share, record, output)):
        _warn(f"{file_of(record)} has changed since; other bytes are those of its newer version")


def _send(arguments: argparse.Namespace) -> int:
    if arguments.to is not None and len(arguments.id) > 1:
        raise CommandFailed(ExitCode.USAGE, "--to PATH is for one ID")
    to = share_path(arguments.to) if arguments.to is not None else None
    return _each(arguments.id, lambda wanted: _send_one(arguments, wanted, to))


def _send_one(arguments: argparse.Namespace, wanted: str, to: SharePath | None) -> None:
    from azfilesfs.vfs import resend

    force = bool(arguments.force)
    with recovery.claimed(_find(arguments, wanted)) as record:
        sent = _with_share(
            arguments, record, lambda share: resend.send(share, record, to=to, force=force)
        )
    if sent.over_newer:
        _warn(f"{file_of(record)} had changed since; other bytes are those of its newer version")
    print(f"sent {record.id} to {printable(str(sent.path))}")


def _discard(arguments: argparse.Namespace) -> int:
    return _each(arguments.id, lambda wanted: _discard_one(arguments, wanted))


def _discard_one(arguments: argparse.Namespace, wanted: str) -> None:
    with recovery.claimed(_find(arguments, wanted)) as record:
        if not arguments.yes:
            _ask(record)
        recovery.discard(record)
    print(f"discarded {record.id}")


def _ask(record: KeptRecord) -> None:
    what = f"{record.dirty_bytes} unsent bytes of {file_of(record)}"
    if not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, f"{what} would be lost for good; say so with --yes")
    print(f"Remove {what} for good? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandFailed(ExitCode.FAILED, f"{record.id} was not discarded")


# -- records, failures, the share ------------------------------------------------------------------


def _places(arguments: argparse.Namespace) -> list[Path]:
    if arguments.state_dir is not None:
        place = Path(arguments.state_dir)
        if not place.is_dir():
            raise CommandFailed(ExitCode.USAGE, f"--state-dir: there is no directory {place}")
        return [place]
    file, _ = load_file({}, os.environ, "mount", None)
    others = (os.environ.get("AZFILESFS_STATE_DIR"), file.get("state-dir"))
    base = base_directories(os.environ, os.getuid()).state
    return [base, *(Path(place).expanduser() for place in others if place)]


def _records(arguments: argparse.Namespace) -> tuple[list[KeptRecord], bool]:
    """Return all records, and whether every area could be read; the others are told on stderr."""
    found: list[KeptRecord] = []
    is_complete = True
    for layout in recovery.find_layouts(_places(arguments)):
        try:
            found += recovery.collect(layout)
        except (OSError, ConfigurationError) as error:
            _warn(f"{layout.root} cannot be read: {error}")
            is_complete = False
    return found, is_complete


def _find(arguments: argparse.Namespace, wanted: str) -> KeptRecord:
    return recovery.find(_records(arguments)[0], wanted)


def _warn(text: str) -> None:
    print(f"azfilesfs: {printable(text)}", file=sys.stderr)


@contextmanager
def _failures_told() -> Iterator[None]:
    """Make a line and an exit status of what is wrong with a record, the disk or the share."""
    try:
        yield
    except NoSuchRecord as error:
        raise CommandFailed(ExitCode.NOT_FOUND, str(error)) from None
    except (RecordBusy, FileError, ParentNotFound) as error:
        raise CommandFailed(ExitCode.FAILED, str(error)) from None
    except AzureFilesError as error:
        raise (to_command_failure(error) or error) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(ExitCode.FAILED, str(error)) from None


def _each(ids: list[str], work: Callable[[str], None]) -> int:
    """Work on several records; one that fails does not stop the others."""
    code = ExitCode.OK
    for wanted in ids:
        try:
            with _failures_told():
                work(wanted)
        except CommandFailed as failure:
            if len(ids) == 1:
                raise
            _warn(f"{wanted}: {failure}")
            code = failure.code
    return int(code)


def _with_share(
    arguments: argparse.Namespace,
    record: KeptRecord,
    work: Callable[[ShareClient], Awaitable[T]],
) -> T:
    """Do something with the share of a record, as the configuration says.

    Raises:
        CommandFailed: the credentials are for another account, or the record names no share.
        AzureFilesError: what the work raised.
    """
    account, _, share = record.share.partition("/")
    if not share:
        raise CommandFailed(
            ExitCode.FAILED,
            f"the record {record.id} does not say which share it belongs to; its bytes are in "
            f"{record.data}",
        )

    from azfilesfs.daemon.connecting import credentials_for, on_share

    credentials = credentials_for(sources_of(Place(share), arguments), None)
    if credentials.endpoint.account != account:
        raise CommandFailed(
            ExitCode.USAGE,
            f"the record {record.id} belongs to the account {account}, the credentials to "
            f"{credentials.endpoint.account}",
        )

    return on_share(credentials, share, work)
