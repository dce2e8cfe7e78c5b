"""No update is lost under a lock: counters and ledgers that processes of two mounts share."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from azfilesfs.fuse.mountinfo import mount_at
from tests.mount.harness import Emulator, Mount, eventually, running_emulator
from tests.mount.lock_processes import ended, start
from tests.mount.programs.ledger import RECORD

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SIDES = "ab"
A_SIDE = 4
KINDS = ("flock", "fcntl")
SHORT_TTL = 6

SOAK = [pytest.mark.soak, pytest.mark.timeout(3600)]
ROUNDS = [pytest.param(60, id="short"), pytest.param(500, id="long", marks=SOAK)]


def count(paths: list[Path], kind: str, times: int) -> tuple[int, int]:
    """Let processes on each path add to one counter; return it and how often the side changed."""
    paths[0].write_text(f"{0:08} {0:08} -\n")
    processes = [
        start("counting", kind, path, side, times)
        for side, path in zip(SIDES, paths, strict=True)
        for _ in range(A_SIDE)
    ]
    ended(processes, 3000)
    total, changes, _ = paths[0].read_text().split()
    return int(total), int(changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_counter_on_one_mount(folder: Path, kind: str):
    """Processes of one mount exclude each other."""
    path = folder / "counter"

    assert count([path, path], kind, 25)[0] == 2 * A_SIDE * 25


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", ROUNDS)
def test_a_counter_on_two_mounts(new_mount: NewMount, kind: str, times: int):
    """Processes of two mounts exclude each other, and none keeps the other side out for long."""
    paths = [new_mount("third").path / f"counter {kind}" for _ in SIDES]
    total, changes = count(paths, kind, times)

    assert total == 2 * A_SIDE * times
    assert changes >= total // 40


class Ledger:
    """A file that processes of two mounts add records to while daemons are killed."""

    def __init__(self, emulator: Emulator, folder: Path, kind: str) -> None:
        self.mounts = [
            Mount(
                folder / f"mnt {side}",
                folder / f"home {side}",
                "third",
                emulator.environment,
                ("--lock-session-ttl", str(SHORT_TTL)),
            )
            for side in SIDES
        ]
        self.paths = [mount.path / f"ledger {kind}" for mount in self.mounts]
        self.stop = folder / "stop"
        self.kind = kind
        self.kills: list[float] = []
        self.outputs: list[Path] = []
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Mount, and let the processes begin."""
        for mount in self.mounts:
            mount.home.mkdir()
            mount.mount()
        self.paths[0].write_bytes(b"")
        programs = Path(__file__).parent / "programs"
        for side, path in zip(SIDES, self.paths, strict=True):
            for number in range(A_SIDE):
                mark = f"{side}{number}"
                output = self._folder / f"output {mark}"
                self.outputs.append(output)
                words = map(str, (programs / "ledger.py", self.kind, path, mark, self.stop))
                with output.open("wb") as file:
                    command = [sys.executable, *words]
                    self._processes.append(subprocess.Popen(command, stdout=file, stderr=file))
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, as it is."""
        for process in self._processes:
            process.kill()
        for mount in self.mounts:
            subprocess.run(
                ["fusermount3", "-u", "-z", mount.path], check=False, capture_output=True
            )
            with suppress(ProcessLookupError, ValueError):
                os.kill(mount.pid(), signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def said(self) -> list[list[Any]]:
        """Return what the processes have said so far."""
        lines = [line for output in self.outputs for line in output.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.endswith("]")]

    def done(self) -> int:
        """Return how many records have been acknowledged."""
        return sum(1 for words in self.said() if words[0] == "done")

    def await_more(self, records: int) -> None:
        """Wait until so many more have been acknowledged."""
        wanted = self.done() + records
        eventually(lambda: self.done() >= wanted, "records are added", 120 + records)

    def kill(self, side: int) -> None:
        """Kill the daemon of one side, and mount anew as an administrator would."""
        mount = self.mounts[side]
        os.kill(mount.pid(), signal.SIGKILL)
        self.kills.append(time.monotonic())

        def is_gone() -> bool:
            mount.command("umount", mount.path, expect=None)
            return mount_at(mount.path) is None

        eventually(is_gone, "the dead mount is gone")
        eventually(lambda: mount.mount(expect=None).returncode == 0, "it is mounted again")

    def finish(self) -> None:
        """Let the processes end."""
        self.stop.touch()
        for process in self._processes:
            assert process.wait(120) == 0
        for mount in self.mounts:
            mount.command("umount", mount.path, expect=None)

    def waits(self) -> list[float]:
        """Return how long each lock was waited for after the latest kill."""
        found = []
        for words in self.said():
            if words[0] == "wait":
                _, began, got = words
                latest = max((kill for kill in self.kills if kill <= got), default=began)
                found.append(got - max(began, latest))
        return found

    def records(self, data: bytes) -> list[tuple[int, str]]:
        """Return numbers and tokens of the records that are there."""
        assert len(data) % RECORD == 0
        pieces = [data[start : start + RECORD] for start in range(0, len(data), RECORD)]
        return [(int(one[:7]), one[8:15].decode().strip()) for one in pieces if one.strip(b"\0")]


def check(records: list[tuple[int, str]], said: list[list[Any]]) -> None:
    """Check that each record builds on the last, and that none that was acknowledged is missing."""
    acknowledged = {words[1] for words in said if words[0] == "done"}
    tokens = [token for _, token in records]
    assert acknowledged - set(tokens) == set()
    assert len(tokens) == len(set(tokens))
    assert [number for number, _ in records] == list(range(1, len(records) + 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("kills", "between"),
    [pytest.param(3, 30, id="short"), pytest.param(20, 60, id="long", marks=SOAK)],
)
def test_nothing_acknowledged_is_lost(
    emulator: Emulator, tmp_path: Path, kind: str, kills: int, between: int
):
    """Daemons are killed at random moments; each record builds on the last, none is overwritten."""
    chance = random.Random(f"{kind} {kills}")
    with Ledger(emulator, tmp_path, kind) as ledger:
        for number in range(kills):
            ledger.await_more(between)
            time.sleep(chance.random() / 2)
            ledger.kill(number % 2)
        ledger.await_more(between)
        ledger.finish()
        ledger.mounts[0].mount()
        records = ledger.records(ledger.paths[0].read_bytes())
        ledger.mounts[0].umount()
        said = ledger.said()
        longest = max(ledger.waits())

    check(records, said)
    assert longest <= SHORT_TTL + 3


FAULTS = (
    {"operation": "LeaseFile", "cut": "after", "probability": 0.1},
    {"operation": "LeaseFile", "cut": "before", "probability": 0.05},
    {"operation": "PutRange", "cut": "after", "probability": 0.05},
    {"path": "third/.azfilesfs/*", "cut": "after", "probability": 0.05},
    {"path": "third/.azfilesfs/*", "cut": "before", "probability": 0.05},
    {"cut": "after", "probability": 0.02},
    {"status": 503, "code": "ServerBusy", "probability": 0.01},
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wanted", [pytest.param(60, id="short"), pytest.param(1000, id="long", marks=SOAK)]
)
def test_answers_that_do_not_come(tmp_path: Path, kind: str, wanted: int):
    """Requests whose answers are lost, heartbeats too, cost time and no record."""
    with (
        running_emulator(tmp_path, "--share", "third") as emulator,
        Ledger(emulator, tmp_path, kind) as ledger,
    ):
        emulator.plan(*FAULTS)
        ledger.await_more(wanted)
        emulator.heal()
        ledger.finish()
        ledger.mounts[0].mount()
        records = ledger.records(ledger.paths[0].read_bytes())
        ledger.mounts[0].umount()
        check(records, ledger.said())
