"""``azfilesfs locks`` as its user sees it."""

import io
import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from azfilesfs.client import ShareClient, parse_connection_string
from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.daemon.control import CONTROL, serve_control
from azfilesfs.daemon.lock_survey import private_path
from azfilesfs.daemon.processes import Process
from azfilesfs.daemon.registry import Record, registered
from azfilesfs.errors import FileAlreadyExists
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.locks.about import LockRow, LockSummary, ModeName, SessionAbout, encode
from azfilesfs.vfs.locks.names import (
    DEAD,
    READERS,
    SESSIONS,
    Announcement,
    SessionFile,
    Window,
    lease_id,
)
from tests.unit.cli.conftest import Done, Work

Command = Callable[..., Done]
OnShare = Callable[[Work], Any]
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS


class Locked:
    """A file of the share ``share``, and a session that holds it."""

    def __init__(self, on_share: OnShare) -> None:
        self._on_share = on_share
        self.name = f"locked {uuid.uuid4().hex}"
        self.path = SharePath((self.name,))
        self.session = uuid.uuid4().hex
        self.file_id = ""
        on_share(self._prepare)

    async def _prepare(self, share: ShareClient) -> None:
        directories = [private_path(name, "x").parent for name in (SESSIONS, DEAD, READERS)]
        for directory in (directories[0].parent, *directories):
            try:
                await share.create_directory(directory)
            except FileAlreadyExists:
                continue
        self.file_id = str((await share.create_file(self.path)).file_id)

    def held(self, mode: ModeName, host: str = "far\x1b[31m") -> None:
        """Let the session hold the file."""

        async def hold(share: ShareClient) -> None:
            since = time.time_ns() - 3 * HOUR_NS - MINUTE_NS
            lock = LockSummary(self.name, self.file_id, "flock", mode, 42, "sh", since)
            about = SessionAbout(host, "/mnt", 5, since, (lock,))
            file = private_path(SESSIONS, SessionFile(self.session, 1, Window(0, 1)).name)
            await share.create_file(file, metadata=encode(about))
            if mode == "exclusive":
                lease = lease_id(self.session, self.file_id, 0)
                await share.acquire_file_lease(self.path, lease)
            else:
                name = Announcement(self.file_id, self.session, 1).name
                await share.create_file(private_path(READERS, name))

        self._on_share(hold)

    def is_leased(self) -> bool:
        """Tell whether a lease is on the file."""
        found = self._on_share(lambda share: share.get_file_properties(self.path))
        return bool(found.lease.is_leased)


@pytest.fixture
def locked(on_share: OnShare) -> Locked:
    """Make a file that a test may lock."""
    return Locked(on_share)


class Source:
    """What a mount of this host says."""

    def __init__(self, *rows: LockRow) -> None:
        self.rows = list(rows)

    def lock_rows(self) -> list[LockRow]:
        """Return its locks."""
        return self.rows

    def lock_session(self) -> str | None:
        """Return no session."""
        return None


@contextmanager
def pretended_mount(
    environment: dict[str, str], tmp_path: Path, source: Source | None, endpoint: str | None = None
) -> Iterator[Record]:
    """Register this process as a mount of the share that answers, or does not."""
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    url = parse_connection_string(environment["AZURE_STORAGE_CONNECTION_STRING"])[0].url
    process = Process.current()
    record = Record(
        mountpoint=str(tmp_path / "mnt"),
        pid=process.pid,
        started=process.started,
        share="share",
        directory="",
        account="devstoreaccount1",
        endpoint=endpoint or url,
        state=str(state),
        drain_timeout=60,
    )
    place = Path(environment["XDG_RUNTIME_DIR"]) / "azfilesfs"
    ended = threading.Event()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            if source is not None:
                await nursery.start(serve_control, state, source)
            await trio.to_thread.run_sync(ended.wait, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(serve,))
    with registered(record, [place]):
        thread.start()
        deadline = time.monotonic() + 30
        while source is not None and not (state / CONTROL).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield record
        finally:
            ended.set()
            thread.join(30)


def row(**changes: Any) -> LockRow:
    """Make a row."""
    since = time.time_ns() - 5 * 10**9
    made = LockRow(
        "a/b", "7", "fcntl", "shared", 0, 10, 8, "writer", since, waiting=False, remote="held"
    )
    return replace(made, **changes)


# -- list ------------------------------------------------------------------------------------------


def test_nothing_is_locked(command: Command):
    """A share without a private directory, and a host without mounts, have no locks."""
    assert command("locks", "list", "--share", "other") == (0, "", "")
    assert command("locks", "list", "--share", "other", "--json") == (0, "[]\n", "")
    assert command("locks", "list") == (0, "", "")
    assert command("locks", "list", "--json") == (0, "[]\n", "")


def test_locks_of_other_hosts(command: Command, locked: Locked):
    """They are told with their holder, whose words cannot steer the terminal."""
    locked.held("exclusive")
    done = command("locks", "list", "--share", "share")
    assert (done.code, done.err) == (0, "")
    heading, *lines = done.out.splitlines()
    assert " ".join(heading.split()) == "PATH KIND MODE HOST MOUNT PROCESS AGE STATE WHERE"
    (line,) = (line for line in lines if locked.name in line)
    assert line.replace(locked.name, "NAME").split() == [
        *("share/NAME", "flock", "exclusive", "far\\x1b[31m", "/mnt", "42", "sh"),
        *("3h", "alive", "remote"),
    ]

    (found,) = (
        one
        for one in json.loads(command("locks", "list", "--share", "share", "--json").out)
        if one["path"] == locked.name
    )
    assert found["age"] // 3600 == 3
    del found["age"], found["since"]
    assert found == {
        "share": "share",
        "path": locked.name,
        "file_id": locked.file_id,
        "kind": "flock",
        "mode": "exclusive",
        "start": 0,
        "stop": None,
        "waiting": False,
        "host": "far\x1b[31m",
        "mountpoint": "/mnt",
        "pid": 42,
        "process": "sh",
        "session": locked.session,
        "state": "alive",
        "local": False,
        "service": "held",
    }


def test_an_announcement_that_nobody_explains(command: Command, on_share: OnShare, locked: Locked):
    """It is shown by the file's id."""
    name = Announcement(locked.file_id, locked.session, 1).name
    on_share(lambda share: share.create_file(private_path(READERS, name)))
    done = command("locks", "list", "--share", "share")

    (line,) = (line for line in done.out.splitlines() if f"file id {locked.file_id} " in line)
    assert line.split(locked.file_id)[1].split() == [
        *("-", "shared", "-", "-", "-", "-", "unknown", "remote"),
    ]


def test_locks_of_this_host(command: Command, environment: dict[str, str], tmp_path: Path):
    """Each running mount is asked; ranges, waiters and lost locks are told apart."""
    rows = (
        row(),
        row(path="a/c", start=5, stop=None, mode="exclusive", waiting=True, remote="wanted"),
        row(path="a/d", stop=None, kind="flock", remote="lost", pid=0, process=""),
        row(path="a/e", stop=None, remote="local-only", since_ns=time.time_ns() + HOUR_NS),
    )
    with pretended_mount(environment, tmp_path, Source(*rows)) as record:
        done = command("locks", "list")
        shown = json.loads(command("locks", "list", "--json", "--share", "share").out)
    host = socket.gethostname()
    lines = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    holder = [host, record.mountpoint]

    assert (done.code, done.err) == (0, "")
    assert lines["share/a/b"][:-3] == ["fcntl", "shared", "0-9", *holder, "8", "writer"]
    assert lines["share/a/b"][-2:] == ["alive", "local"]
    assert lines["share/a/c"][:4] == ["fcntl", "exclusive", "5-", "(waits)"]
    assert lines["share/a/d"][:2] + lines["share/a/d"][4:5] == ["flock", "shared", "-"]
    assert lines["share/a/d"][-2:] == ["lost", "local"]
    assert lines["share/a/e"][-4:] == ["0s", "alive", "local", "only"]
    ours = [one for one in shown if one["local"]]
    assert [one["service"] for one in ours] == ["held", "wanted", "lost", "local-only"]
    assert [one["stop"] for one in ours] == [10, None, None, None]


def test_a_mount_that_does_not_answer(
    command: Command, environment: dict[str, str], tmp_path: Path
):
    """What can be found out is shown; the rest is said on standard error, and by the status."""
    with pretended_mount(environment, tmp_path, None) as record:
        done = command("locks", "list", "--json")

    assert done.code == ExitCode.FAILED
    assert isinstance(json.loads(done.out), list)
    assert f"the mount {record.mountpoint} cannot be asked: No such file" in done.err


@pytest.mark.parametrize("endpoint", ["https://else.file.core.windows.net", ""])
def test_a_share_that_cannot_be_asked(
    command: Command,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
):
    """Its mounts here are asked all the same."""
    if not endpoint:
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pretended_mount(environment, tmp_path, Source(row()), endpoint):
        done = command("locks", "list")

    assert done.code == ExitCode.FAILED
    assert "share/a/b" in done.out
    assert done.err.startswith("azfilesfs: the share share cannot be asked: ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "/tmp", "--share", "s"], ExitCode.USAGE, "MOUNTPOINT or --share, not both"),
        (["list", "/tmp"], ExitCode.USAGE, "/tmp is not on a mount of azfilesfs"),
        (["list", "--share", "missing-share"], ExitCode.NOT_FOUND, "there is no such share"),
        (["break", "/tmp/x"], ExitCode.USAGE, "/tmp/x is not on a mount of azfilesfs"),
        (["break", "x", "--share", "missing-share"], ExitCode.NOT_FOUND, "there is no such share"),
        (["break", "/", "--share", "share"], ExitCode.USAGE, "is a whole share or mount: no file"),
        (["break", "missing", "--share", "share"], ExitCode.NOT_FOUND, "there is no such file"),
        (["break", "a:b\x01", "--share", "s s"], ExitCode.USAGE, "is not a share name"),
        (["break"], ExitCode.USAGE, "required: PATH"),
        ([], ExitCode.USAGE, "required: ACTION"),
    ],
)
def test_what_is_refused(command: Command, words: list[str], code: ExitCode, said: str):
    """One line says why."""
    done = command("locks", *words)

    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert done.err.count("\n") == 1


# -- break -----------------------------------------------------------------------------------------


def test_breaking(command: Command, locked: Locked):
    """Who held it is said, and what that means."""
    free = command("locks", "break", "--share", "share", locked.name)
    assert free == (0, f"{locked.name} is not locked\n", "")

    locked.held("exclusive")
    done = command("locks", "break", "--share", "share", locked.name, "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{locked.name}: exclusive lock of far\\x1b[31m:/mnt (alive)\n"
        "broke the exclusive lock of far\\x1b[31m:/mnt: programs that hold it get EIO for what "
        "they write\n"
    )
    assert not locked.is_leased()


def test_without_a_terminal_it_is_not_done(
    command: Command, locked: Locked, monkeypatch: pytest.MonkeyPatch
):
    """Nobody can be asked, so nothing happens without --yes."""
    locked.held("exclusive", "h")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = command("locks", "break", "--share", "share", locked.name)

    assert done.code == ExitCode.USAGE
    assert f"share/{locked.name} is locked; breaking it needs --yes" in done.err
    assert locked.is_leased()


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize("typed", ["y\n", "YES\n", "n\n", "yess\n", ""])
def test_asking(command: Command, locked: Locked, monkeypatch: pytest.MonkeyPatch, typed: str):
    """Nothing but a yes is one."""
    is_done = typed.strip() in {"y", "YES"}
    locked.held("exclusive", "h")
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    done = command("locks", "break", "--share", "share", locked.name)

    assert "Break these locks? [y/N] " in done.out
    assert done.code == (ExitCode.OK if is_done else ExitCode.FAILED)
    assert locked.is_leased() is not is_done
    if not is_done:
        assert "were not broken" in done.err


def test_readers(command: Command, locked: Locked, monkeypatch: pytest.MonkeyPatch):
    """A live reader stays until its session is to be ended."""
    locked.held("shared", "h")
    done = command("locks", "break", "--share", "share", locked.name, "--yes")
    assert done.code == ExitCode.LEASED
    assert done.out == f"{locked.name}: shared lock of h:/mnt (alive)\n"
    assert "1 live reader(s) keep the shared lock: stop them, or give --end-sessions" in done.err

    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    words = ("locks", "break", "--share", "share", locked.name, "--end-sessions")
    done = command(*words)
    assert done.code == 0
    assert "Break these locks and end the readers' sessions? [y/N] ended the session" in done.out
    assert command(*words) == (0, f"{locked.name} is not locked\n", "")
