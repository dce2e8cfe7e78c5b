"""``azfilesfs emulator``."""

from __future__ import annotations

import argparse
import os
import signal

from azfilesfs.cli.parsing import SubParsers, add_options, given
from azfilesfs.config.emulator import EMULATOR_OPTIONS, EmulatorConfig, build_emulator
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.errors import AzureFilesError

_DESCRIPTION = """\
Serve shares as Azure Files does, on this machine, until interrupted: for trying azfilesfs and for
tests of anything that speaks to Azure Files. Without a data directory nothing outlives it.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "emulator", help="serve shares locally", description=_DESCRIPTION
    )
    parser.add_argument(
        "--share",
        metavar="NAME",
        dest="shares",
        nargs="+",
        action="extend",
        default=[],
        help="a share to create, unless it is there; may be repeated",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file, as for mount")
    add_options(parser, EMULATOR_OPTIONS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    flags = given(arguments, EMULATOR_OPTIONS)
    if arguments.config is not None:
        flags["config"] = arguments.config
    config = build_emulator(arguments.shares, flags, os.environ)

    from azfilesfs.daemon.logs import start_foreground_logging

    start_foreground_logging(config.log)
    try:
        return _serve(config)
    except OSError as error:
        where = error.filename or f"{config.listen.host}:{config.listen.port}"
        reason = error.strerror or str(error)
        raise CommandFailed(ExitCode.FAILED, f"cannot serve: {where}: {reason}") from None
    except ValueError as error:
        raise CommandFailed(ExitCode.USAGE, str(error)) from None


def _serve(config: EmulatorConfig) -> int:
    import trio

    from azfilesfs.emulator.command import (
        EmulatorCommandOptions,
        ServedEmulator,
        serve,
    )

    chosen = {"account": config.account, "key": config.key}
    options = EmulatorCommandOptions(
        host=config.listen.host,
        port=config.listen.port,
        shares=config.shares,
        data=config.data,
        http=config.http,
        env_file=config.env_file,
        offload=config.offload,
        **{name: text for name, text in chosen.items() if text is not None},
    )

    async def until_signalled() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                served: ServedEmulator = await nursery.start(serve, options)
                print(f"serving on {served.address.url}/{options.account}", flush=True)
                await anext(aiter(signals))
                nursery.cancel_scope.cancel()

    try:
        trio.run(until_signalled)
    except* (OSError, ValueError, AzureFilesError) as group:
        raise _first(group) from None
    return int(ExitCode.OK)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure itself, out of the groups that nurseries wrap it in."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
