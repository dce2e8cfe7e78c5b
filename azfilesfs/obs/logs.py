"""Where log lines go and how they look: text or JSON, to standard error, a file or the journal."""

from __future__ import annotations

import json
import logging
import re
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

# 64 bytes in base64: the form of an account key, wherever it stands.
_ACCOUNT_KEY: Final = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==")
# The C0 and C1 controls, the two separators that some readers take for line ends, the marks that
# turn the direction of writing, and surrogates, which have no encoding.
_UNPRINTABLE: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
_TEXT_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _UNPRINTABLE
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in _UNPRINTABLE}

logging.addLevelName(TRACE, "TRACE")


def priority(level: int) -> int:
    """Return the syslog priority of a level."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


class LineFormatter(logging.Formatter):
    """One record as one text line; only a traceback follows, on indented lines of its own.

    Nothing that a name or an answer contains can begin a line: control characters are escaped.
    Every text passes ``clean``, which takes secrets out should one ever have got in.
    """

    def __init__(self, clean: Callable[[str], str], *, for_journal: bool = False) -> None:
        """Choose the form with time, or the journal's with priorities."""
        super().__init__()
        self._clean = clean
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        message = printable(_without_secrets(record.getMessage(), self._clean))
        lines = [f"{record.levelname} {record.name}: {message}"]
        if record.exc_info:
            trace = _without_secrets(self.formatException(record.exc_info), self._clean)
            lines += [f"    {printable(line)}" for line in trace.split("\n")]
        if not self._for_journal:
            return f"{_time(record)} " + "\n".join(lines)
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in lines)


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
            "message": _without_secrets(record.getMessage(), self._clean),
        }
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            document["exception"] = _without_secrets(trace, self._clean)
        return json.dumps(document, ensure_ascii=False).translate(_JSON_ESCAPES)


def printable(text: str) -> str:
    """Escape what could end a line, steer a terminal or not be encoded."""
    return text.translate(_TEXT_ESCAPES)


def _without_secrets(text: str, clean: Callable[[str], str]) -> str:
    return _ACCOUNT_KEY.sub("REDACTED", clean(text))


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
