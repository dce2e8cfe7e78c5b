"""Where log lines go and how they look: text or JSON, to standard error, a file or the journal."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import Final, TextIO

TRACE: Final = 5
"""Below DEBUG: single ranges and bytes moved."""

LEVELS: Final = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
ROOT: Final = "azfilesfs"
_LIBRARIES: Final = ("pyfuse3", "trio", "httpx", "httpcore", "hypercorn", "prometheus_client")
_OWN_FILE_BYTES: Final = 4 * 1024 * 1024
_JOURNAL: Final = "/run/systemd/journal/stdout"

# The numbers of syslog(3), which the journal takes as <N> before a line.
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY: Final = 7

logging.addLevelName(TRACE, "TRACE")


def priority(level: int) -> int:
    """Return the syslog priority of a level."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


class LineFormatter(logging.Formatter):
    """One record as one text line; only a traceback follows on lines of its own.

    Every line passes ``clean``, which takes secrets out should one ever have got in.
    """

    def __init__(self, clean: Callable[[str], str], *, for_journal: bool = False) -> None:
        """Choose the form with time, or the journal's with priorities."""
        super().__init__()
        self._clean = clean
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        message = record.getMessage().replace("\n", "\\n")
        text = f"{record.levelname} {record.name}: {message}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = self._clean(text)
        if not self._for_journal:
            return f"{_time(record)} {text}"
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in text.splitlines())


class JsonFormatter(logging.Formatter):
    """One record as one JSON object on one line."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        """Keep what takes secrets out."""
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        document = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        if record.exc_info:
            document["exception"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(document, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(handler: logging.Handler, level: str) -> None:
    """Send the logs of this program, and warnings of its libraries, to one handler."""
    for name, least in ((ROOT, LEVELS[level]), *((name, logging.WARNING) for name in _LIBRARIES)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(max(least, LEVELS[level]))
        logger.propagate = False
    # Whatever else is logged by others is not ours to show.
    logging.lastResort = None


def stream_handler(
    style: str, clean: Callable[[str], str], *, stream: TextIO | None = None, journal: bool = False
) -> logging.Handler:
    """Return a handler for standard error, or for a stream that the journal reads."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(style, clean, for_journal=journal))
    return handler


def file_handler(path: Path, style: str, clean: Callable[[str], str]) -> logging.Handler:
    """Return a handler that appends to a file, which others may rotate.

    Raises:
        OSError: it cannot be written.
    """
    handler = WatchedFileHandler(path, encoding="utf-8")
    handler.setFormatter(_formatter(style, clean))
    return handler


def own_file_handler(path: Path, style: str, clean: Callable[[str], str]) -> logging.Handler:
    """Return a handler for a file that nobody rotates: it is kept small here.

    Raises:
        OSError: it cannot be written.
    """
    handler = RotatingFileHandler(path, maxBytes=_OWN_FILE_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(_formatter(style, clean))
    return handler


def journal_handler(
    style: str, clean: Callable[[str], str], socket_path: str = _JOURNAL
) -> logging.Handler | None:
    """Return a handler that writes to the journal as systemd-cat(1) does, None without one."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.connect(socket_path)
        # Identifier, unit, priority, whether lines carry <N>, and whether to forward to three
        # others.
        channel.sendall(f"{ROOT}\n\n6\n1\n0\n0\n0\n".encode())
    except OSError:
        channel.close()
        return None
    stream = channel.makefile("w", encoding="utf-8", errors="replace", buffering=1)
    channel.close()
    return stream_handler(style, clean, stream=stream, journal=True)


def _formatter(
    style: str, clean: Callable[[str], str], *, for_journal: bool = False
) -> logging.Formatter:
    if style == "json":
        return JsonFormatter(clean)
    return LineFormatter(clean, for_journal=for_journal)
