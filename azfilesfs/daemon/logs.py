"""Where the daemon's log goes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from azfilesfs.client.secret import redact
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import LogConfig
from azfilesfs.obs.logs import (
    configure,
    file_handler,
    journal_handler,
    own_file_handler,
    stream_handler,
)


def start_logging(config: LogConfig, *, foreground: bool, own_file: Path) -> None:
    """Send logs where the configuration says.

    Without a file: in the foreground to standard error; in the background to the journal, or to a
    small file of our own where there is no journal.

    Raises:
        CommandFailed: the log file cannot be written.
    """
    configure(_handler(config, foreground=foreground, own_file=own_file), config.level)


def start_foreground_logging(config: LogConfig) -> None:
    """Send the logs of a command that stays in the foreground where the configuration says.

    Raises:
        CommandFailed: the log file cannot be written.
    """
    start_logging(config, foreground=True, own_file=Path(os.devnull))


def _handler(config: LogConfig, *, foreground: bool, own_file: Path) -> logging.Handler:
    style = config.format
    if config.file is not None:
        try:
            return file_handler(config.file, style, redact)
        except OSError as error:
            raise CommandFailed(
                ExitCode.FAILED, f"the log file {config.file} cannot be written: {error.strerror}"
            ) from None
    if foreground:
        # systemd sets this where standard error is its journal, which wants priorities and has the
        # time.
        return stream_handler(style, redact, journal="JOURNAL_STREAM" in os.environ)
    return journal_handler(style, redact) or own_file_handler(own_file, style, redact)
