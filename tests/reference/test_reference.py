"""Random operations on the filesystem and on a plain model must agree, over remounts too.

What a machine finds is shrunk and becomes a named test in test_found.py.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from azfilesfs.model.limits import MIB
from azfilesfs.vfs.types import ExclusiveCreate, VfsOptions
from tests.reference.model import Directory, File, Path
from tests.reference.steps import Opened, Steps

NAMES = st.sampled_from([b"a", b"b", b"A", b"\xc3\xbc:?", b"dot."])
# Mostly what exists, or a name in a directory that exists, so that operations meet.
PLACES = st.tuples(st.integers(0, 19), NAMES)
NUMBERS = st.integers(0, 7)
SMALL = st.integers(0, 3000)
# Around the units of the cache and of an upload, rarely, since they cost time.
LARGE = st.sampled_from([MIB - 10, 4 * MIB - 1000, 5 * MIB])
OFFSETS = st.one_of(SMALL, SMALL, SMALL, SMALL, LARGE)
LENGTHS = st.one_of(SMALL, SMALL, SMALL, SMALL, st.sampled_from([MIB + 1, 4 * MIB]))
FLAGS = st.builds(
    lambda access, *more: access | sum(more),
    st.sampled_from([os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDONLY]),
    st.sampled_from([os.O_CREAT, os.O_CREAT, 0, os.O_CREAT | os.O_EXCL]),
    st.sampled_from([0, 0, os.O_TRUNC]),
    st.sampled_from([0, 0, os.O_APPEND]),
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "read", "ftruncate", "fsync", "flush", "close"]),
        OFFSETS,
        LENGTHS,
        st.integers(1, 255),
    ),
    max_size=4,
)
NAMING = st.sampled_from(
    [
        *("rename", "rename", "rename", "noreplace", "unlink", "unlink", "mkdir", "rmdir"),
        *("symlink", "truncate", "utimes", "look", "readdir"),
    ]
)
LIFE = st.sampled_from(["time", "forget", "check", "remount", "crash"])
Place = tuple[int, bytes]


class FileSystemMachine(RuleBasedStateMachine):
    """Turns random choices into steps."""

    options = VfsOptions()
    faults: dict | None = None

    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps(self.options, self.faults)

    @initialize(sizes=st.lists(LENGTHS, min_size=2, max_size=2))
    def begin(self, sizes: list[int]):
        """Begin with a few entries."""
        steps = self.steps
        steps.mkdir((b"a",))
        steps.mkdir((b"a", b"b"))
        files: list[Path] = [(b"b",), (b"a", b"a")]
        for path, size in zip(files, sizes, strict=True):
            opened = steps.open(path, os.O_CREAT | os.O_RDWR)
            assert opened is not None
            steps.write(opened, 0, size, 7)
            steps.close(opened)

    def path(self, place: Place, kind: type = object) -> Path:
        """Return what a place means in the tree as it is, if possible a node of that kind."""
        number, name = place
        known = list(self.steps.model.walk())
        fitting = [path for path, node in known if isinstance(node, kind)]
        directories = [(), *(path for path, node in known if isinstance(node, Directory))]
        if number < 12 and fitting:
            return fitting[number % len(fitting)]
        if number < 19:
            return (*directories[number % len(directories)], name)
        return (name, name, name)

    @rule(place=PLACES, flags=FLAGS, actions=ACTIONS)
    def open(self, place: Place, flags: int, actions):
        """Open or create a file and work on it."""
        opened = self.steps.open(self.path(place, File), flags)
        if opened is not None:
            self.act(opened, actions)

    @precondition(lambda self: self.steps.opened)
    @rule(number=NUMBERS, actions=ACTIONS)
    def work(self, number: int, actions):
        """Work on an open file."""
        self.act(self.steps.opened[number % len(self.steps.opened)], actions)

    @precondition(lambda self: self.steps.opened)
    @rule(
        number=NUMBERS,
        lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=5),
        fill=st.integers(1, 250),
        move=st.none() | NAMES,
    )
    def together(self, number: int, lengths: list[int], fill: int, move: bytes | None):
        """Do several things at once."""
        opened = self.steps.opened[number % len(self.steps.opened)]
        self.steps.together(opened, lengths, fill, (move,) if move is not None else None)

    def act(self, opened: Opened, actions) -> None:
        """Do things to an open file."""
        for what, offset, length, fill in actions:
            if what == "write":
                self.steps.write(opened, offset, length, fill)
            elif what == "read":
                self.steps.read(opened, offset, length)
            elif what == "ftruncate":
                self.steps.ftruncate(opened, offset)
            elif what == "fsync":
                self.steps.fsync(opened)
            elif what == "flush":
                self.steps.flush(opened)
            else:
                self.steps.close(opened, flushes=bool(fill % 4))
                return

    @rule(what=NAMING, source=PLACES, place=PLACES, size=OFFSETS)
    def names(self, what: str, source: Place, place: Place, size: int):
        """Change or look at names."""
        steps = self.steps
        if what in {"rename", "noreplace"}:
            steps.rename(self.path(source), self.path(place), replace=what == "rename")
        elif what == "symlink":
            steps.symlink(self.path(place), b"../x y" if size % 2 else b"\xc3\xbc" * 100)
        elif what == "truncate":
            steps.truncate(self.path(place, File), size)
        elif what == "utimes":
            steps.utimes(self.path(place, File), size * 10**12 + 57)
        elif what == "readdir":
            steps.readdir(self.path(place, Directory))
        else:
            kind = {"unlink": File, "rmdir": Directory}.get(what, object)
            getattr(steps, what)(self.path(place, kind))

    @rule(what=LIFE)
    def life(self, what: str):
        """Let time pass, memory go, or the mount end."""
        actions = {
            "time": lambda: self.steps.pass_time(2.0),
            "forget": self.steps.forget,
            "check": self.steps.check_tree,
            "remount": self.steps.remount,
            "crash": self.steps.crash,
        }
        actions[what]()

    def teardown(self) -> None:
        """End with the consistency check."""
        self.steps.finish()


class UncachedMachine(FileSystemMachine):
    """The same, nothing known for longer than an operation."""

    options = VfsOptions(attr_ttl=0.0, dir_ttl=0.0)


class PatientMachine(FileSystemMachine):
    """The same, everything known for long, and this mount deciding alone what exists."""

    options = VfsOptions(attr_ttl=3600.0, dir_ttl=3600.0, exclusive_create=ExclusiveCreate.MOUNT)


class TroubledMachine(FileSystemMachine):
    """The same over a bad network: requests fail, answers get lost or are damaged; retries help."""

    faults: dict | None = {  # noqa: RUF012  # read only
        "seed": 1,
        "rules": [
            {"probability": 0.03, "status": 503, "code": "ServerBusy"},
            {"probability": 0.02, "status": 500, "effect": True},
            {"probability": 0.02, "cut": "before"},
            {"probability": 0.03, "cut": "after"},
            {"operation": "Get*", "probability": 0.03, "cut": "body"},
            {"operation": "GetFile", "probability": 0.03, "truncate": 1},
        ],
    }


MACHINES = [FileSystemMachine, UncachedMachine, PatientMachine, TroubledMachine]
QUIET = pytest.mark.expect_log(r"again|retr|unsent|is not on the service")


@QUIET
@pytest.mark.parametrize("machine", MACHINES)
def test_short_histories(machine):
    """A few dozen operations in any order agree with the model."""
    run(machine, examples=15, steps=20, derandomize=True)


@QUIET
@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("machine", MACHINES)
def test_long_histories(machine, part):
    """Many histories of more operations agree with the model; in parts, each within its time."""
    run(machine, examples=100, steps=60, derandomize=False)


def run(
    machine: type[RuleBasedStateMachine], *, examples: int, steps: int, derandomize: bool
) -> None:
    """Run a machine."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=chosen)
