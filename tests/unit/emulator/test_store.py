"""The data directory: restarts, kill -9, and who may use it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import EmulatorOptions
from tests import features
from tests.unit.emulator.harness import (
    Caller,
    FakeClock,
    lease,
    make_directory,
    put_file,
    put_range,
    read,
    rename,
)

A = "aaaaaaaa-0000-0000-0000-000000000000"
Starter = Callable[[], Caller]


@pytest.fixture
def start(tmp_path: Path) -> Starter:
    """Return what starts an emulator over one data directory, ending the one before."""
    clock = FakeClock()
    running: list[Caller] = []

    def run() -> Caller:
        for call in running:
            call.app.close()
        running.clear()
        options = EmulatorOptions(data=tmp_path / "data", clock=clock, shares=("share",))
        running.append(Caller(create_app(options), clock))
        return running[0]

    return run


async def everything(call: Caller) -> dict[str, dict[str, str]]:
    """Return what requests show of the tree, without what differs from request to request."""
    found = {}
    for target in ("d", "d/e"):
        found[target] = (await call("GET", f"{target}?restype=directory")).headers
    for target in ("d/f", "d/e/ä"):
        found[target] = (await call("HEAD", target.replace("ä", "%C3%A4"))).headers
    found["share"] = (await call("GET", "/share?restype=share")).headers
    for headers in found.values():
        headers.pop("x-ms-request-id")
    return found


async def test_everything_survives_a_restart(start: Starter) -> None:
    """Trees, contents, properties, leases, snapshots, policies and settings come back."""
    call = start()
    await make_directory(call, "d", ms_meta_a="1")
    await make_directory(call, "d/e", ms_file_attributes="Hidden")
    await put_file(call, "d/f", b"content", ms_content_type="text/x", ms_meta_b="2")
    await put_file(call, "x", b"renamed")
    await rename(call, "x", "d/e/%C3%A4")
    await lease(call, "d/f", "acquire", ms_lease_duration="-1", ms_proposed_lease_id=A)
    taken = await call("PUT", "/share?restype=share&comp=snapshot")
    await put_range(call, "d/f", 0, b"CON", ms_lease_id=A)
    await call("PUT", "/share?restype=share&comp=properties", ms_share_quota="9")
    await call("PUT", "/other?restype=share")
    await call("DELETE", "/other?restype=share")
    properties = b"<StorageServiceProperties><Cors/></StorageServiceProperties>"
    await call("PUT", "/?restype=service&comp=properties", properties)
    before = await everything(call)
    used = (await call("GET", "/share?restype=share&comp=stats")).body

    call = start()

    assert await everything(call) == before
    assert await read(call, "d/f") == b"CONtent"
    at = f"sharesnapshot={taken.headers['x-ms-snapshot']}"
    assert await read(call, f"d/f?{at}") == b"content"
    since = await call("GET", f"d/f?comp=rangelist&prev{at}")
    assert since.xml.findtext("Range/End") == "6"
    assert (await call("GET", "/share?restype=share&comp=stats")).body == used
    assert (await put_range(call, "d/f", 0, b"x")).code == "LeaseIdMissing"
    deleted = (await call("GET", "/?comp=list&include=deleted")).xml
    assert deleted.findtext(".//Deleted") == "true"
    new = await put_file(call, "d/new")
    ids = {headers.get("x-ms-file-id") for headers in before.values()}
    assert new.headers["x-ms-file-id"] not in ids


async def test_what_was_removed_stays_removed(start: Starter, tmp_path: Path) -> None:
    """Deleted files, replaced contents and shares leave no file behind."""
    call = start()
    await put_file(call, "a", b"1")
    await put_file(call, "b", b"2")
    await put_file(call, "b", b"3")
    await call("DELETE", "a")
    await make_directory(call, "d")
    await call("DELETE", "d?restype=directory")
    call = start()
    listed = await call("GET", "?restype=directory&comp=list")
    assert [item.text for item in listed.xml.iter("Name")] == ["b"]
    assert len(list((tmp_path / "data" / "content").iterdir())) == 1
    name = (await call("PUT", "/share?restype=share&comp=snapshot")).headers["x-ms-snapshot"]
    await call("DELETE", f"/share?restype=share&sharesnapshot={name}")
    assert len(list((tmp_path / "data" / "content").iterdir())) == 1


async def test_a_restored_share_survives(start: Starter) -> None:
    """Deletion and restoration are both remembered."""
    call = start()
    await put_file(call, "f", b"kept")
    await call("DELETE", "/share?restype=share")
    version = (await call("GET", "/?comp=list&include=deleted")).xml.findtext(".//Version") or ""
    await call(
        "PUT",
        "/share?restype=share&comp=undelete",
        ms_deleted_share_name="share",
        ms_deleted_share_version=version,
    )
    call = start()
    assert await read(call, "f") == b"kept"
    assert (await call("GET", "/?comp=list&include=deleted")).xml.find(".//Deleted") is None


def test_one_emulator_a_directory(start: Starter, tmp_path: Path) -> None:
    """A second one is refused while the first runs."""
    start()
    with pytest.raises(BlockingIOError, match="in use"):
        create_app(EmulatorOptions(data=tmp_path / "data"))


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    """A strange layout and a file that is no database are refused, and the lock is given back."""
    data = tmp_path / "data"
    create_app(EmulatorOptions(data=data)).close()
    with sqlite3.connect(data / "state.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(OSError, match="layout 99"):
        create_app(EmulatorOptions(data=data))
    for path in data.glob("state.db*"):
        path.unlink()
    (data / "state.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(OSError, match="cannot be used"):
        create_app(EmulatorOptions(data=data))


def test_accounts_that_are_gone_are_left_alone(tmp_path: Path) -> None:
    """Shares of an account that the options do not name are neither shown nor lost."""
    data = tmp_path / "data"
    options = EmulatorOptions(accounts={"one": "a2V5"}, data=data, shares=("mine",))
    create_app(options).close()
    create_app(EmulatorOptions(accounts={"two": "a2V5"}, data=data)).close()
    app = create_app(EmulatorOptions(accounts={"one": "a2V5"}, data=data))
    assert list(app.service.accounts["one"].shares) == ["mine"]
    app.close()


WRITER = """
import sys, trio
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import EmulatorOptions
from pathlib import Path
from tests.unit.emulator.harness import Caller, FakeClock, put_file
async def main():
    clock = FakeClock()
    app = create_app(EmulatorOptions(data=Path(sys.argv[1]), clock=clock, shares=("share",)))
    call = Caller(app, clock)
    for number in range(100000):
        await put_file(call, f"f{number}", str(number).encode() * 100)
        print(number, flush=True)
trio.run(main)
"""


async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After SIGKILL every file whose creation was answered is there, whole."""
    data = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(data)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=features.REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(features.REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + 60
        acknowledged = -1
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 50 or time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
    assert acknowledged >= 50

    clock = FakeClock()
    app = create_app(EmulatorOptions(data=data, clock=clock))
    call = Caller(app, clock)
    for number in range(acknowledged + 1):
        assert await read(call, f"f{number}") == str(number).encode() * 100
    app.close()
