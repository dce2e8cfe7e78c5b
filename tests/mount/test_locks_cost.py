"""What a lock costs in requests, counted by an emulator of its own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.harness import Emulator, Mount, eventually, mounted
from tests.mount.lock_processes import Obeying, obeying

pytestmark = [pytest.mark.mount]

HEARTBEAT = "RenameFile"


@pytest.fixture
def pair(quiet: Emulator, tmp_path: Path) -> Iterator[list[Mount]]:
    """Mount its share twice, with sessions whose heartbeats are far apart."""
    flags = ("--lock-session-ttl", "600", "--attr-ttl", "100", "--dir-ttl", "100")
    with (
        mounted(tmp_path / "one", quiet, "share", *flags) as one,
        mounted(tmp_path / "other", quiet, "share", *flags) as other,
    ):
        yield [one, other]


def once(process: Obeying, mode: str, kind: str = "flock") -> None:
    """Take a lock and give it up."""
    assert process("lock", kind=kind, mode=mode) == 0
    assert process("lock", kind=kind, mode="none") == 0


def asked(emulator: Emulator) -> int:
    """Return how many requests there were, and forget them."""
    count = sum(sum(one.values()) for one in emulator.requests().values())
    emulator.reset()
    return count


@pytest.mark.semantics("S6.11")
@pytest.mark.parametrize("kind", ["flock", "fcntl"])
@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_lock_nobody_else_wants(quiet: Emulator, pair: list[Mount], mode: str, kind: str):
    """Three requests for taking it and giving it up; one more where the file has changed."""
    path = pair[0].path / "file"
    path.write_text("content")
    with obeying(path) as (process,):
        once(process, mode, kind)
        quiet.reset()
        once(process, mode, kind)
        assert asked(quiet) == 3, quiet.requests()
        for _ in range(5):
            once(process, mode, kind)
        assert asked(quiet) == 15

        (pair[1].path / "file").write_text("changed there")
        quiet.reset()
        once(process, mode, kind)
        assert asked(quiet) == (4 if mode == "exclusive" else 3)


def test_the_second_process_of_a_mount_costs_nothing(quiet: Emulator, pair: list[Mount]):
    """What the mount holds already is not asked for again."""
    path = pair[0].path / "file"
    path.write_text("content")
    with obeying(path, path) as (one, other):
        assert one("lock", kind="flock", mode="shared") == 0
        quiet.reset()
        once(other, "shared")
        assert asked(quiet) == 0


@pytest.mark.semantics("S6.11")
def test_idle_mounts(quiet: Emulator, tmp_path: Path):
    """One request a heartbeat where something was ever locked, none where nothing was."""
    flags = ("--lock-session-ttl", "6")
    with (
        mounted(tmp_path / "one", quiet, "share", *flags) as one,
        mounted(tmp_path / "other", quiet, "share", *flags) as other,
    ):
        path = one.path / "file"
        path.touch()
        with obeying(path) as (process,):
            assert (other.path / "file").stat().st_size == 0
            quiet.reset()
            eventually_idle = time.monotonic() + 4
            eventually(lambda: time.monotonic() > eventually_idle, "time passes")
            assert quiet.requests() == {}

            once(process, "exclusive")
            quiet.reset()
            began = time.monotonic()
            eventually(lambda: quiet.count(HEARTBEAT) >= 4, "heartbeats are sent")
            passed = time.monotonic() - began
            found = quiet.requests()
        assert set(found) == {HEARTBEAT}
        assert quiet.count(HEARTBEAT) <= passed / 1.5 + 2
