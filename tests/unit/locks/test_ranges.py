"""fcntl's byte ranges against a model that keeps a mode for each byte."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.vfs.locks.local import LocalLocks, Stand
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import END_OF_FILE, Held, Kind, Owner, Span

BYTES = 12
NONE, SHARED, EXCLUSIVE = Mode


def wish(owner: int, mode: Mode, start: int = 0, stop: int = END_OF_FILE, **fields) -> Held:
    """Return what a process asks for."""
    kind = fields.get("kind", Kind.POSIX)
    return Held(Owner(kind, owner), mode, Span(start, stop), fields.get("handle", owner), owner)


wishes = st.builds(
    lambda owner, mode, start, length: wish(owner, mode, start, start + length),
    st.integers(1, 3),
    st.sampled_from(Mode),
    st.integers(0, BYTES - 1),
    st.integers(1, BYTES),
)


class Bytes:
    """Each byte of a file, with each owner's mode."""

    def __init__(self) -> None:
        self.modes: dict[tuple[int, int], Mode] = {}

    def conflicts(self, one: Held) -> bool:
        """Tell whether a wish meets another owner's byte."""
        return any(
            owner != one.owner.key and mode.conflicts(one.mode)
            for (owner, place), mode in self.modes.items()
            if one.span.start <= place < one.span.stop
        )

    def put(self, one: Held) -> None:
        """Set an owner's bytes."""
        for place in range(one.span.start, min(one.span.stop, 2 * BYTES)):
            self.modes[one.owner.key, place] = one.mode

    def shown(self) -> set[tuple[int, int, Mode]]:
        """Return what is not unlocked."""
        return {(o, p, m) for (o, p), m in self.modes.items() if m is not NONE}


def shown(held: tuple[Held, ...]) -> set[tuple[int, int, Mode]]:
    """Return each locked byte of the code under test."""
    return {
        (one.owner.key, place, one.mode)
        for one in held
        for place in range(one.span.start, min(one.span.stop, 2 * BYTES))
    }


@settings(max_examples=300, deadline=None)
@given(st.lists(wishes, max_size=25))
def test_ranges_are_what_a_byte_array_says(sequence: list[Held]):
    """Granted or refused, split and merged, F_GETLK included: all as with a mode for each byte."""
    locks, model = LocalLocks(), Bytes()
    for one in sequence:
        probe = locks.holder(1, replace(one, mode=max(one.mode, SHARED)))
        assert (probe is not None) == model.conflicts(replace(one, mode=max(one.mode, SHARED)))
        if probe is not None:
            assert probe.owner != one.owner
            assert probe.pid == probe.owner.key
        ticket = locks.request(1, one, wait=False, now_ns=0)
        locks.serve(1, 0)

        assert (ticket.stand is Stand.REFUSED) == model.conflicts(one)
        if ticket.stand is Stand.GRANTED:
            model.put(one)
        assert shown(locks.held(1)) == model.shown()
        assert len(locks.held(1)) == runs(model)


def runs(model: Bytes) -> int:
    """Count the runs of equal bytes: as many ranges are kept, no more."""
    return sum(
        model.modes.get((owner, place - 1), NONE) is not mode
        for owner, place, mode in model.shown()
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(wishes, max_size=15), wishes)
def test_a_grant_can_be_taken_back(sequence: list[Held], last: Held):
    """After undo everything is as it was before the grant."""
    locks = LocalLocks()
    for one in sequence:
        locks.request(1, one, wait=False, now_ns=0)
        locks.serve(1, 0)
    before = locks.held(1)

    locks.undo(locks.request(1, last, wait=False, now_ns=0), 0)

    assert shown(locks.held(1)) == shown(before)


def test_a_range_to_the_end_is_cut_in_the_middle():
    """Unlocking the middle leaves both sides, the last one reaching to the end for ever."""
    locks = LocalLocks()
    locks.request(1, wish(1, EXCLUSIVE), wait=False, now_ns=0)

    locks.request(1, wish(1, NONE, 10, 20), wait=False, now_ns=0)

    assert [one.span for one in locks.held(1)] == [Span(0, 10), Span(20, END_OF_FILE)]


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (-1, 3), (0, END_OF_FILE + 1)])
def test_what_is_no_range_is_refused(start: int, stop: int):
    """A range has at least one byte, none of them below zero or beyond the end."""
    with pytest.raises(ValueError, match="no range"):
        Span(start, stop)
