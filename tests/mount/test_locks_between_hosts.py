"""Locks taken on one mount exclude those of another, as flock(2) and fcntl(2) say."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from azfilesfs.client import SasLimits, SasScope, Secret, SharedKeyCredential, service_sas
from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests import features
from tests.mount.harness import Emulator, Mount, eventually, mounted
from tests.mount.lock_processes import Obeying, ended, obeying, start

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SHARE = "third"
BELIEVING = ("--attr-ttl", "100", "--dir-ttl", "100")
SHORT_TTL = 6
KINDS = ("flock", "fcntl", "ofd")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Give a name in the share that no other test uses."""
    return str(request.node.name)


@pytest.fixture(scope="module")
def pair(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mount, Mount]]:
    """Mount a share twice."""
    if reason := features.fuse_missing():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("pair")
    with (
        mounted(place / "one", emulator, SHARE) as one,
        mounted(place / "other", emulator, SHARE) as other,
    ):
        yield one, other


@pytest.fixture
def here_and_there(pair: tuple[Mount, Mount], name: str) -> Iterator[tuple[Obeying, Obeying]]:
    """Open one file on both mounts, by a process on each."""
    with obeying(*shared_file(pair, name)) as (here, there):
        yield here, there


def shared_file(mounts: Sequence[Mount], name: str, text: str = "") -> list[Path]:
    """Make a file on the first mount, wait until each sees it, and return its paths."""
    paths = [mount.path / name for mount in mounts]
    paths[0].write_text(text)
    for path in paths:
        eventually(path.exists, "the file is seen")
    return paths


def locked(process: Obeying, mode: str, kind: str = "flock", *, wait: bool = True) -> int:
    """Let a process take a lock."""
    return process("lock", kind=kind, mode=mode, wait=wait)


# -- who excludes whom -----------------------------------------------------------------------------


@pytest.mark.semantics("S6.1", "S6.2")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_an_exclusive_lock(here_and_there: tuple[Obeying, Obeying], kind: str, other: str):
    """Whoever else asks without waiting is told so, until it is given up."""
    here, there = here_and_there
    assert locked(here, "exclusive", kind) == 0
    for mode in ("exclusive", "shared"):
        assert locked(there, mode, other, wait=False) in {errno.EWOULDBLOCK, errno.EACCES}
    assert locked(here, "none", kind) == 0

    assert locked(there, "exclusive", other, wait=False) == 0
    assert locked(here, "shared", kind, wait=False) in {errno.EWOULDBLOCK, errno.EACCES}


@pytest.mark.parametrize("kind", KINDS)
def test_shared_locks(here_and_there: tuple[Obeying, Obeying], kind: str):
    """Readers share it, on both mounts; a writer waits for all of them."""
    here, there = here_and_there
    for process in (here, there):
        assert locked(process, "shared", kind, wait=False) == 0
    assert locked(there, "none", kind) == 0
    there.send("lock", kind=kind, mode="exclusive")
    assert not there.is_answering(1)

    assert locked(here, "none", kind) == 0
    assert there.answer()["errno"] == 0
    assert locked(here, "shared", kind, wait=False) in {errno.EWOULDBLOCK, errno.EACCES}


@pytest.mark.semantics("S6.3")
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_under_a_lock_is_read_under_the_next(
    pair: tuple[Mount, Mount], new_mount: NewMount, name: str, kind: str
):
    """Neither needs fsync, nor to open anew; whatever is cached, and believed in for long."""
    pair[0].path.joinpath(name).touch()
    paths = [new_mount(SHARE, *BELIEVING).path / name for _ in range(2)]
    with obeying(*paths) as processes:
        for number in range(4):
            writer, reader = processes if number % 2 else processes[::-1]
            assert locked(writer, "exclusive", kind) == 0
            assert writer("write", offset=0, text=f"round {number}" * (number + 1)) == 0
            assert locked(writer, "none", kind) == 0

            assert locked(reader, "shared", kind) == 0
            assert reader.read() == f"round {number}" * (number + 1)
            assert locked(reader, "none", kind) == 0


@pytest.mark.semantics("S6.3")
def test_closing_gives_a_lock_up(here_and_there: tuple[Obeying, Obeying], pair, name: str):
    """So does the end of the process, however it ends."""
    here, there = here_and_there
    assert locked(here, "exclusive") == 0
    assert here("close") == 0
    assert locked(there, "exclusive") == 0
    with obeying(pair[0].path / name) as (third,):
        third.send("lock", kind="flock", mode="exclusive")
        there.kill()
        assert third.answer()["errno"] == 0


def test_upgrade_and_downgrade(here_and_there: tuple[Obeying, Obeying]):
    """Alone, a shared lock becomes exclusive in its place, and back."""
    here, there = here_and_there
    for kind in ("flock", "fcntl"):
        assert locked(here, "shared", kind) == 0
        assert locked(here, "exclusive", kind) == 0
        assert locked(there, "shared", kind, wait=False) != 0
        assert locked(here, "shared", kind) == 0
        assert locked(there, "shared", kind, wait=False) == 0
        for process in (here, there):
            assert locked(process, "none", kind) == 0


@pytest.mark.semantics("S6.9")
def test_two_upgrades_of_fcntl_locks(here_and_there: tuple[Obeying, Obeying]):
    """Two readers that both want to write would wait for each other: EDEADLK."""
    here, there = here_and_there
    for process in (here, there):
        assert locked(process, "shared", "fcntl") == 0

    assert locked(here, "exclusive", "fcntl") == errno.EDEADLK
    assert locked(there, "none", "fcntl") == 0
    assert locked(here, "exclusive", "fcntl") == 0


@pytest.mark.semantics("S6.1")
def test_ranges(here_and_there: tuple[Obeying, Obeying], pair: tuple[Mount, Mount], name: str):
    """On one mount fcntl locks of different bytes do not meet; between mounts each covers all."""
    here, there = here_and_there
    first, second = {"start": 0, "length": 10}, {"start": 10, "length": 10}
    with obeying(pair[0].path / name) as (beside,):
        assert here("lock", kind="fcntl", mode="exclusive", **first) == 0
        assert beside("lock", kind="fcntl", mode="exclusive", wait=False, **second) == 0
        refused = {errno.EAGAIN, errno.EACCES}
        assert there("lock", kind="fcntl", mode="shared", wait=False, start=50) in refused
        assert here("lock", kind="fcntl", mode="none", **first) == 0
        assert there("lock", kind="fcntl", mode="shared", wait=False, start=50) in refused
        assert beside("lock", kind="fcntl", mode="none", **second) == 0
        assert there("lock", kind="fcntl", mode="shared", wait=False, start=50) == 0


@pytest.mark.semantics("S6.4")
def test_who_does_not_lock(pair: tuple[Mount, Mount], new_mount: NewMount, name: str):
    """Reads go on; what is written elsewhere is refused with EBUSY as long as the lock is held."""
    one, other = pair[0], new_mount(SHARE, "--operation-timeout", "4")
    with obeying(*shared_file((one, other), name, "before")) as (here, there):
        assert locked(here, "exclusive") == 0
        assert there.read() == "before"
        assert there("write", offset=0, text="theirs") == 0
        assert there("fsync") == errno.EBUSY
        with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
            (other.path / name).unlink()
        assert locked(here, "none") == 0
        assert there("fsync") == 0
    assert (one.path / name).read_text() == "theirs"


# -- waiting ---------------------------------------------------------------------------------------


@pytest.mark.semantics("S6.2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_ends_the_waiting_at_once(here_and_there: tuple[Obeying, Obeying], kind: str):
    """It gets EINTR, and neither a lock nor a place in the queue is left."""
    here, there = here_and_there
    assert locked(here, "exclusive", kind) == 0
    there.send("lock", kind=kind, mode="exclusive")
    assert not there.is_answering(1)
    began = time.monotonic()
    there.interrupt()
    answer = there.answer()

    assert answer["errno"] == errno.EINTR
    assert answer["to"] - began < 3
    assert locked(here, "none", kind) == 0
    assert locked(here, "exclusive", kind, wait=False) == 0


def test_a_killed_waiter_leaves_nothing(here_and_there: tuple[Obeying, Obeying], pair):
    """Its request is gone; the holder and the next waiter do not notice."""
    here, there = here_and_there
    assert locked(here, "exclusive") == 0
    there.send("lock", kind="flock", mode="exclusive")
    assert not there.is_answering(1)
    there.kill()

    def waiters() -> list[object]:
        found = json.loads(pair[1].command("locks", "list", pair[1].path, "--json").stdout)
        return [one for one in found if one["waiting"]]

    eventually(lambda: waiters() == [], "nobody waits")
    assert locked(here, "none") == 0
    assert locked(here, "exclusive", wait=False) == 0


@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_a_writer_gets_its_turn(pair: tuple[Mount, Mount], tmp_path: Path, name: str, kind: str):
    """Readers on both mounts that come again and again do not keep it out for ever."""
    shared_file(pair, name, "0" * 16)
    stop = tmp_path / "stop"
    readers = [start("reading", kind, mount.path / name, stop) for mount in pair for _ in range(3)]
    try:
        with obeying(*(mount.path / name for mount in pair)) as writers:
            for number in range(6):
                writer = writers[number % 2]
                assert locked(writer, "exclusive", kind) == 0
                assert writer("write", offset=0, text=f"{number:08}") == 0
                assert writer("write", offset=8, text=f"{number:08}") == 0
                assert locked(writer, "none", kind) == 0
    finally:
        stop.touch()
        times = ended(readers)
    assert all(int(one) > 0 for one in times)


def test_again_and_again_without_waiting(pair: tuple[Mount, Mount], name: str):
    """Who closes and locks again at once on one mount is never refused."""
    path = pair[0].path / name
    path.touch()
    for _ in range(50):
        done = subprocess.run(["flock", "-n", path, "true"], check=False, timeout=60)
        assert done.returncode == 0
    with obeying(path) as (process,):
        for kind in KINDS * 10:
            assert locked(process, "exclusive", kind, wait=False) == 0
            assert process("close") == 0
            assert process("open", path=str(path)) == 0


@pytest.mark.semantics("S6.2")
def test_a_limit_to_the_waiting(pair: tuple[Mount, Mount], new_mount: NewMount, name: str):
    """With --lock-timeout whoever has waited so long gets ETIMEDOUT."""
    one, other = pair[0], new_mount(SHARE, "--lock-timeout", "1")
    with obeying(*shared_file((one, other), name)) as (here, there):
        assert locked(here, "exclusive") == 0
        assert locked(there, "exclusive") == errno.ETIMEDOUT
        assert locked(there, "exclusive", wait=False) == errno.EWOULDBLOCK
        assert locked(here, "none") == 0
        assert locked(there, "exclusive") == 0


# -- crashes and pauses ----------------------------------------------------------------------------


@pytest.fixture
def short_lived(new_mount: NewMount) -> tuple[Mount, Mount]:
    """Mount a share twice, with sessions that die soon."""
    flags = ("--lock-session-ttl", str(SHORT_TTL))
    return new_mount(SHARE, *flags), new_mount(SHARE, *flags)


@pytest.mark.semantics("S6.6")
def test_a_paused_daemon_cannot_write_after_it_lost_its_lock(
    short_lived: tuple[Mount, Mount], name: str
):
    """The winner's bytes stand; the loser's write, fsync or close fails."""
    paused, winner = short_lived
    with obeying(*shared_file(short_lived, name, "before")) as (here, there):
        assert locked(here, "exclusive") == 0
        assert here("write", offset=0, text="loser!") == 0
        daemon = paused.pid()
        os.kill(daemon, signal.SIGSTOP)
        try:
            assert locked(there, "exclusive") == 0
            assert there("write", offset=0, text="winner") == 0
            assert there("fsync") == 0
        finally:
            os.kill(daemon, signal.SIGCONT)
        late = [here("write", offset=0, text="late!!"), here("fsync")]
        assert errno.EIO in late
        assert locked(there, "none") == 0
        assert here("close") in {0, errno.EIO}
    assert (winner.path / name).read_text() == "winner"
    eventually(lambda: (paused.path / name).read_text() == "winner", "the loser sees it too")


@pytest.mark.semantics("S6.5")
def test_a_dead_holder_is_replaced(short_lived: tuple[Mount, Mount], name: str):
    """Who waits gets the lock of a mount that was killed soon after its time to live."""
    dead, living = short_lived
    with obeying(*shared_file(short_lived, name, "before")) as (here, there):
        assert locked(here, "exclusive") == 0
        os.kill(dead.pid(), signal.SIGKILL)
        began = time.monotonic()
        there.send("lock", kind="flock", mode="exclusive")
        answer = there.answer()

        assert answer["errno"] == 0
        assert answer["to"] - began <= SHORT_TTL + 3
        assert there.read() == "before"
    dead.command("umount", dead.path, expect=None)
    dead.is_mounted = False
    assert living.command("locks", "list", living.path).returncode == 0


# -- who may not -----------------------------------------------------------------------------------


@pytest.fixture
def reader(emulator: Emulator, tmp_path: Path) -> Iterator[Callable[..., Mount]]:
    """Return what mounts with a signature that allows to read and list, no more."""
    limits = SasLimits(expiry=datetime.now(UTC) + timedelta(hours=1))
    key = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
    made = Mount(tmp_path / "narrow", tmp_path / "narrow home", SHARE, dict(emulator.environment))
    del made.environment["AZURE_STORAGE_CONNECTION_STRING"]
    made.home.mkdir()
    sas = made.home / "sas"
    sas.write_text(service_sas(key, SasScope(SHARE), "rl", limits).query())
    where = ("--account", DEFAULT_ACCOUNT, "--endpoint", emulator.url.rstrip("/"))

    def mount(*flags: str) -> Mount:
        made.mount("--sas-file", str(sas), *where, *flags)
        return made

    yield mount
    if made.is_mounted:
        made.umount()


def flocked(path: Path, flags: int) -> int:
    """Lock a file that cannot be written, in this process, and return the errno."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, flags)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(descriptor)
    return 0


@pytest.mark.semantics("S6.12")
def test_who_may_only_read_cannot_lock(
    pair: tuple[Mount, Mount], reader: Callable[..., Mount], name: str
):
    """Its locks would hold nobody else off, so they are refused, and the log says why."""
    (pair[0].path / name).touch()
    made = reader()

    for flags in (fcntl.LOCK_SH, fcntl.LOCK_EX | fcntl.LOCK_NB):
        assert flocked(made.path / name, flags) == errno.ENOLCK
    eventually(lambda: "lock" in made.log(), "the log says why")


@pytest.mark.semantics("S6.12")
@pytest.mark.parametrize("locks", ["auto", "local"])
def test_locks_that_stay_on_the_mount(
    pair: tuple[Mount, Mount], reader: Callable[..., Mount], name: str, locks: str
):
    """Where that is wanted, or allowed, they hold between the processes of the mount."""
    (pair[0].path / name).touch()
    made = reader("--locks", locks)
    path = made.path / name
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run(["flock", "-n", path, "true"], check=False, timeout=60)
        assert done.returncode == 1
    assert flocked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0


@pytest.mark.semantics("S6.12")
def test_local_locks_are_nobody_elses(new_mount: NewMount, name: str):
    """With --locks=local nothing is sent for them, and other mounts do not see them."""
    one, other = (new_mount(SHARE, "--locks", "local") for _ in range(2))
    with obeying(*shared_file((one, other), name)) as (here, there):
        for process in (here, there):
            assert locked(process, "exclusive", wait=False) == 0


# -- seen and broken -------------------------------------------------------------------------------


def listed(mount: Mount, name: str) -> list[dict[str, Any]]:
    """Return what ``locks list`` says of a file."""
    found = json.loads(mount.command("locks", "list", mount.path, "--json").stdout)
    return [one for one in found if one["path"] == name]


def test_who_holds_a_lock(short_lived: tuple[Mount, Mount], name: str):
    """The mount itself says so at once; to others its session says it with a heartbeat."""
    one, other = short_lived
    with obeying(*shared_file((one, other), name)) as (here, there):
        assert locked(here, "exclusive", "fcntl") == 0
        there.send("lock", kind="flock", mode="exclusive")
        mine = listed(one, name)
        assert [(lock["local"], lock["kind"], lock["pid"]) for lock in mine if lock["local"]] == [
            (True, "fcntl", here.pid)
        ]
        (seen,) = eventually(
            lambda: [lock for lock in listed(other, name) if not lock["local"]], "others see it"
        )
        facts = ("mode", "pid", "mountpoint", "host", "state", "service")
        assert [seen[fact] for fact in facts] == [
            *("exclusive", here.pid, str(one.path), socket.gethostname(), "alive", "held")
        ]
        (waiting,) = (lock for lock in listed(other, name) if lock["local"])
        assert (waiting["waiting"], waiting["kind"], waiting["pid"]) == (True, "flock", there.pid)
        assert locked(here, "none", "fcntl") == 0
        assert there.answer()["errno"] == 0


def test_metrics(pair: tuple[Mount, Mount], new_mount: NewMount, name: str):
    """Leases that are held and requests that wait can be watched."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    watched = new_mount(SHARE, "--metrics", f"127.0.0.1:{port}")

    def value(metric: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        (line,) = (line for line in text.splitlines() if line.startswith(metric))
        return float(line.rpartition(" ")[2])

    with obeying(*shared_file((watched, pair[0]), name)) as (here, there):
        assert locked(here, "exclusive") == 0
        assert value("azure_files_active_leases{") == 1
        assert locked(here, "none") == 0
        assert value("azure_files_active_leases{") == 0
        assert locked(there, "exclusive") == 0
        here.send("lock", kind="flock", mode="exclusive")
        eventually(lambda: value("azfilesfs_lock_waiters ") == 1, "it waits")
        assert locked(there, "none") == 0
        assert here.answer()["errno"] == 0
    assert value("azfilesfs_lock_waiters ") == 0
    assert value('azfilesfs_lock_wait_seconds_count{outcome="granted"}') == 2
    assert value('azfilesfs_lock_wait_seconds_sum{outcome="granted"}') > 0


@pytest.mark.semantics("S6.6")
def test_breaking_a_live_lock(pair: tuple[Mount, Mount], name: str):
    """The file is free for others at once; the former holder gets EIO, and its bytes are kept."""
    one, other = pair
    with obeying(*shared_file((one, other), name, "before")) as (here, there):
        assert locked(here, "exclusive") == 0
        assert locked(there, "exclusive", wait=False) == errno.EWOULDBLOCK
        done = other.command("locks", "break", other.path / name, "--yes")
        assert "broke the exclusive lock of " in done.stdout
        assert locked(there, "exclusive", wait=False) == 0
        assert there("write", offset=0, text="theirs") == 0
        assert there("fsync") == 0
        late = [here("write", offset=0, text="late!!"), here("fsync")]
        assert errno.EIO in late
        assert locked(there, "none") == 0
    assert (other.path / name).read_text() == "theirs"


def test_ending_the_session_of_a_reader(short_lived: tuple[Mount, Mount], name: str):
    """A live reader is left alone, unless its mount shall lose all its locks."""
    one, other = short_lived
    for file in (name, f"{name} too"):
        shared_file(short_lived, file, "before")
    paths = (one.path / name, one.path / f"{name} too", other.path / name)
    with obeying(*paths) as (reader, writer, there):
        assert locked(reader, "shared") == 0
        assert locked(writer, "exclusive") == 0
        words = ("locks", "break", other.path / name, "--yes")
        assert "1 live reader" in other.command(*words, expect=ExitCode.LEASED).stderr
        assert locked(there, "exclusive", wait=False) == errno.EWOULDBLOCK

        assert "ended the session of " in other.command(*words, "--end-sessions").stdout
        assert locked(there, "exclusive") == 0

        def is_lost() -> bool:
            return writer("write", offset=0, text="late") + writer("fsync") > 0

        eventually(is_lost, "its mount finds out")


@pytest.mark.semantics("S6.4")
def test_what_others_get_from_a_locked_file(pair: tuple[Mount, Mount], name: str):
    """The lock is a lease: the service refuses changes of others, and lets them read."""
    one, _ = pair
    (one.path / name).write_text("content")
    with obeying(one.path / name) as (here,):
        assert locked(here, "exclusive") == 0
        done = one.command("lease", "acquire", "--share", SHARE, name, expect=ExitCode.LEASED)
        assert "is leased already" in done.stderr
        done = one.command("mv", f"{SHARE}/{name}", f"{SHARE}/{name} moved", expect=ExitCode.FAILED)
        assert "LeaseIdMissing" in done.stderr
        assert locked(here, "none") == 0
    one.command("mv", f"{SHARE}/{name}", f"{SHARE}/{name} moved")
