"""Log lines: one event is one line, without secrets and without what steers a terminal."""

import io
import json
import logging
import socket
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.client.secret import redact
from azfilesfs.obs import logs

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SECRETS = {
    "sas": ("https://a.file.core.windows.net/s?sv=2023-11-03&sig=abc%2Fdef%3D&se=1", "abc%2Fdef"),
    "encoded sas": ("x-ms-copy-source: https%3A%2F%2Fa%2Fs%3Fsp%3Dr%26sig%3DqweR%252F", "qweR"),
    "connection string": (f"AccountName=a;AccountKey={KEY};EndpointSuffix=x", KEY[:20]),
    "authorization": ("Authorization: SharedKey acct:c2lnbmF0dXJl=", "c2lnbmF0dXJl"),
    "bearer": ("Authorization: Bearer eyJ0eXAi.abc", "eyJ0eXAi"),
    "key alone": (f"cannot use {KEY} here", KEY[:20]),
}


def record(message: str, *args: object, level: int = logging.INFO, exc=None) -> logging.LogRecord:
    """Make a record as a logger would."""
    info = (type(exc), exc, exc.__traceback__) if exc is not None else None
    made = logging.LogRecord("azfilesfs.vfs", level, "f.py", 1, message, args, info)
    made.created = 1_700_000_000.25
    return made


def raised(text: str) -> ValueError:
    """Return an exception that was raised, with its traceback."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@pytest.fixture(params=["text", "journal", "json"])
def formatter(request) -> logging.Formatter:
    """Each of the three forms."""
    if request.param == "json":
        return logs.JsonFormatter(redact)
    return logs.LineFormatter(redact, for_journal=request.param == "journal")


def test_text_line():
    """A text line has time, level, logger and message."""
    line = logs.LineFormatter(redact).format(record("opened %s", "a/b"))

    assert line == "2023-11-14T22:13:20.250Z INFO azfilesfs.vfs: opened a/b"


def test_json_line():
    """A JSON line is an object with the same facts."""
    line = logs.JsonFormatter(redact).format(record("opened %s", "a/b", exc=raised("why")))
    document = json.loads(line)

    assert document.pop("exception").endswith("ValueError: why")
    assert document == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "logger": "azfilesfs.vfs",
        "message": "opened a/b",
    }


@pytest.mark.parametrize(
    ("level", "mark"),
    [(50, "<2>"), (40, "<3>"), (30, "<4>"), (20, "<6>"), (10, "<7>"), (logs.TRACE, "<7>")],
)
def test_journal_lines_carry_priorities(level, mark):
    """Each line for the journal begins with its syslog priority, those of a traceback too."""
    text = logs.LineFormatter(redact, for_journal=True).format(
        record("x", level=level, exc=raised("one\ntwo"))
    )

    assert all(line.startswith(mark) for line in text.split("\n"))
    assert text.count("\n") > 2


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_never_get_out(formatter, name):
    """Whatever carries a secret, message, argument or exception: the line does not."""
    text, secret = SECRETS[name]
    for made in (record(text), record("got %s", text), record("failed", exc=raised(text))):
        line = formatter.format(made)
        assert secret not in line
        assert "REDACTED" in line


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60))
def test_names_cannot_forge_lines(name):
    """Control characters, line separators and surrogates of a name never reach the line as such."""
    line = logs.LineFormatter(redact).format(record("lookup %s", name))
    document = logs.JsonFormatter(redact).format(record("lookup %s", name))

    for text in (line, document):
        assert len(text.splitlines()) == 1
        assert text.encode("utf-8")
        assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in text)
    assert json.loads(document)["message"] == redact(f"lookup {name}")


def test_escapes_are_readable():
    """Escapes say what stood there; other scripts are left as they are."""
    made = record("%s", "é\n\r\t\x1b[31m\x85\u2028\udc80\u202e日本")

    line = logs.LineFormatter(redact).format(made)

    assert line.endswith(r": é\n\r\t\x1b[31m\x85\u2028\udc80\u202e日本")


def test_traceback_lines_are_indented(formatter):
    """A line break in an exception's text cannot look like an event of its own."""
    text = formatter.format(record("failed", exc=raised("x\n2023 ERROR azfilesfs: forged")))

    assert not any(line.startswith("2023 ERROR") for line in text.split("\n"))
    if isinstance(formatter, logs.LineFormatter):
        assert all("    " in line[:8] for line in text.split("\n")[1:])


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the loggers back after a test that configures them."""
    names = ("azfilesfs", "pyfuse3", "trio", "httpx", "httpcore", "hypercorn", "prometheus_client")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers, each.level, each.propagate) for each in loggers]
    last_resort = logging.lastResort
    yield
    logging.lastResort = last_resort
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("trace", ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"]),
        ("debug", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("info", ["INFO", "WARNING", "ERROR"]),
        ("warning", ["WARNING", "ERROR"]),
        ("error", ["ERROR"]),
    ],
)
def test_levels(restored, level, shown):
    """Each level shows itself and what is more important."""
    stream = io.StringIO()
    logs.configure(logs.stream_handler("text", redact, stream=stream), level)
    logger = logging.getLogger("azfilesfs.somewhere")
    for name, number in logs.LEVELS.items():
        logger.log(number, "as %s", name)

    assert [line.split(" ")[1] for line in stream.getvalue().splitlines()] == shown


def test_libraries_show_warnings_only(restored):
    """What httpx says of each request, URL included, is not in the log even at trace."""
    stream = io.StringIO()
    logs.configure(logs.stream_handler("text", redact, stream=stream), "trace")
    logging.getLogger("httpx").info("HTTP Request: GET https://a/s?sig=secret")
    logging.getLogger("httpx").warning("GET https://a/s?sig=secret is odd")

    assert stream.getvalue().count("\n") == 1
    assert "secret" not in stream.getvalue()


def test_standard_error_is_the_default(capsys):
    """Without a stream lines go to standard error."""
    handler = logs.stream_handler("text", redact)
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr


def test_file_survives_rotation(tmp_path, restored):
    """A log file that was moved away is begun anew."""
    path = tmp_path / "log"
    handler = logs.file_handler(path, "text", redact)
    logs.configure(handler, "info")
    logging.getLogger("azfilesfs").info("one")
    path.rename(tmp_path / "log.1")
    logging.getLogger("azfilesfs").info("two")
    handler.close()

    assert path.read_text().count("\n") == 1
    assert "two" in path.read_text()


def test_own_file_stays_small(tmp_path, restored, monkeypatch):
    """The file that nobody rotates is rotated by us."""
    monkeypatch.setattr(logs, "_OWN_FILE_BYTES", 2000)
    handler = logs.own_file_handler(tmp_path / "log", "text", redact)
    logs.configure(handler, "info")
    for number in range(200):
        logging.getLogger("azfilesfs").info("line %d", number)
    handler.close()

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1"]
    assert all(path.stat().st_size <= 2100 for path in tmp_path.iterdir())


def test_journal_gets_its_greeting_and_lines(tmp_path):
    """The journal is spoken to as systemd-cat does; without it there is no handler."""
    path = str(tmp_path / "stdout")
    assert logs.journal_handler("text", redact, path) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        handler = logs.journal_handler("text", redact, path)
        assert isinstance(handler, logging.StreamHandler)
        connection, _ = server.accept()
        handler.handle(record("hello", level=logging.WARNING))
        handler.stream.close()
        with connection, connection.makefile() as lines:
            text = lines.read()

    assert text == "azfilesfs\n\n6\n1\n0\n0\n0\n<4>WARNING azfilesfs.vfs: hello\n"
