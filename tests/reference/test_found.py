"""Histories that once went wrong, each shrunk to what matters."""

import os
from collections.abc import Iterator

import pytest

from tests.reference.steps import Opened, Steps

RW = os.O_RDWR | os.O_CREAT


@pytest.fixture
def steps() -> Iterator[Steps]:
    """Return a filesystem with its model; the consistency check ends each history."""
    steps = Steps()
    yield steps
    steps.finish()


def made(steps: Steps, name: bytes, flags: int = RW) -> Opened:
    """Open a file that can be opened."""
    opened = steps.open((name,), flags)
    assert opened is not None
    return opened


@pytest.mark.parametrize("synced", [False, True])
def test_a_crash_does_not_bring_a_removed_file_back(steps: Steps, synced: bool):
    """Bytes of a file that was removed while it was open are not offered for recovery."""
    opened = made(steps, b"a")
    steps.write(opened, 0, 10, 1)
    if synced:
        steps.fsync(opened)
        steps.write(opened, 5, 10, 2)
    steps.unlink((b"a",))
    steps.write(opened, 20, 10, 3)

    steps.crash()


def test_a_crash_does_not_bring_a_replaced_file_back(steps: Steps):
    """The same for a file that lost its name to another one."""
    old, new = made(steps, b"a"), made(steps, b"b")
    steps.write(old, 0, 10, 1)
    steps.write(new, 0, 20, 2)
    steps.rename((b"b",), (b"a",))

    steps.crash()


def test_a_crash_keeps_what_was_cut_cut(steps: Steps):
    """A cut and a growth that were not sent are in the record: no old byte comes back."""
    opened = made(steps, b"a")
    steps.write(opened, 0, 100, 1)
    steps.fsync(opened)
    steps.ftruncate(opened, 10)
    steps.ftruncate(opened, 80)

    steps.crash()


def test_a_crash_knows_where_a_file_was_moved(steps: Steps):
    """Unsent bytes follow the renames of the directories above them."""
    steps.mkdir((b"d",))
    opened = steps.open((b"d", b"a"), RW)
    assert opened is not None
    steps.write(opened, 0, 100, 1)
    steps.rename((b"d",), (b"e",))
    steps.write(opened, 100, 100, 2)

    steps.crash()
