"""Which request goes next: the schedule as a pure state machine, under a clock of its own."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from azfilesfs.client.schedule import Flow, Lane, Limits, Schedule, Turn, Verdict

LANES = st.sampled_from(Lane)
FLOWS = st.sampled_from(Flow)


def metadata() -> Turn:
    """Return a request for names or attributes."""
    return Turn(Lane.METADATA)


def content(flow: Flow = Flow.READ, expected: int = 0) -> Turn:
    """Return a request for what a file contains."""
    return Turn(Lane.CONTENT, flow, expected)


def background() -> Turn:
    """Return an upload that nobody waits for."""
    return Turn(Lane.BACKGROUND, Flow.WRITE)


def filled(schedule: Schedule, count: int, make, now: float = 0.0) -> list[Turn]:
    """Join as many requests, and return those that were admitted and sent."""
    turns = [make() for _ in range(count)]
    for turn in turns:
        schedule.join(turn, now)
    schedule.grant(now)
    admitted = [turn for turn in turns if turn.is_admitted]
    for turn in admitted:
        schedule.sent(turn, now, may_stall=False)
    return admitted


@pytest.mark.parametrize(
    ("lane", "share"),
    [
        (Lane.URGENT, 32),
        (Lane.METADATA, 30),
        (Lane.CONTENT, 28),
        (Lane.READAHEAD, 24),
        (Lane.BACKGROUND, 16),
    ],
)
def test_each_lane_leaves_room_for_those_above(lane, share):
    """However many there are of a kind, they fill their share and no more."""
    schedule = Schedule(Limits(requests=32, connections=32))

    assert len(filled(schedule, 99, lambda: Turn(lane, Flow.READ))) == share


@pytest.mark.parametrize("size", [2, 3, 4, 8, 32, 256])
def test_metadata_finds_a_place_beside_contents_that_never_end(size):
    """Reads and uploads of all kinds leave a place even after any time, with two places or more."""
    schedule = Schedule(Limits(requests=size, connections=size))
    now = 0.0
    for _ in range(20):
        for make in (content, background, lambda: Turn(Lane.READAHEAD, Flow.READ)):
            filled(schedule, size, make, now)
        now += 10

    assert schedule.join(metadata(), now) or schedule.grant(now)


@pytest.mark.parametrize("size", [4, 8, 32])
def test_what_is_urgent_finds_a_place_beside_all_others(size):
    """Changes that wait for a lock's heartbeat leave a place for it."""
    schedule = Schedule(Limits(requests=size, connections=size))
    for now in range(20):
        filled(schedule, size, metadata, now * 10.0)
    heartbeat = Turn(Lane.URGENT)

    assert schedule.join(heartbeat, 300.0) or schedule.grant(300.0)


def test_those_who_wait_go_in_order():
    """Foreground before readahead before background; inside of each, first come first served."""
    schedule = Schedule(Limits(requests=1, connections=1))
    (first,) = filled(schedule, 1, metadata)
    order = [Lane.BACKGROUND, Lane.READAHEAD, Lane.CONTENT, Lane.METADATA] * 2
    turns = [Turn(lane) for lane in order]
    for number, turn in enumerate(turns):
        schedule.join(turn, number / 100)

    went = []
    last = first
    for _ in turns:
        schedule.leave(last, 0.1)
        (last,) = schedule.grant(0.1)
        went.append(turns.index(last))

    assert went == [3, 7, 2, 6, 1, 5, 0, 4]


def test_nothing_is_starved():
    """An upload in the background goes ahead although the foreground never lets a place free."""
    schedule = Schedule(Limits(requests=4, connections=4))
    running = filled(schedule, 100, metadata)
    waiting = background()
    schedule.join(waiting, 0.0)

    now = 0.0
    while not waiting.is_admitted and now < 60:
        now += 0.1
        schedule.leave(running.pop(0), now)
        running += schedule.grant(now)
        schedule.join(metadata(), now)

    assert waiting.is_admitted
    assert now < 10


def test_requests_that_are_stalled_make_room():
    """After a second without an answer a request keeps its connection, and another goes ahead."""
    schedule = Schedule(Limits(requests=8, connections=16))
    slow = filled(schedule, 6, content)
    for turn in slow:
        schedule.sent(turn, 0.0, may_stall=True)
    other = content()
    early = schedule.join(other, 0.5) or schedule.grant(0.5)
    at = schedule.next_at(0.5)

    assert not early
    assert at == 1.0
    assert schedule.grant(at) == [other]
    assert (schedule.in_flight, schedule.stalled) == (7, 6)
    for turn in (*slow, other):
        schedule.leave(turn, 2.0)
    assert (schedule.in_flight, schedule.stalled) == (0, 0)


def test_connections_are_kept_for_metadata_even_among_stalled_requests():
    """Reads that stall for ever end at the connections, less what names and attributes need."""
    schedule = Schedule(Limits(requests=8, connections=12))
    now = 0.0
    for _ in range(10):
        for turn in filled(schedule, 8, content, now):
            schedule.sent(turn, now, may_stall=True)
        now += 2
    held = schedule.in_flight

    assert held == 10
    assert schedule.join(metadata(), now) or schedule.grant(now)


def test_a_pause_holds_back_what_nobody_waits_for():
    """Retry-After stops readahead and background, half a minute at most, and not the foreground."""
    schedule = Schedule(Limits(requests=8, connections=8))
    (refused,) = filled(schedule, 1, metadata)
    schedule.leave(refused, 1.0, Verdict.THROTTLED, pause=600.0)
    waiting = background()
    schedule.join(waiting, 1.0)

    assert not schedule.grant(1.0)
    foreground = metadata()
    assert schedule.join(foreground, 1.0) or schedule.grant(1.0) == [foreground]
    times = [at := schedule.next_at(1.0)]
    while not schedule.grant(at):
        times.append(at := schedule.next_at(at))
    assert waiting.is_admitted
    assert times[-1] == 31.0


@pytest.mark.parametrize(("flow", "other"), [(Flow.READ, Flow.WRITE), (Flow.WRITE, Flow.READ)])
def test_a_limit_of_bandwidth_holds_one_direction(flow, other):
    """What waits for it does not hold up the other direction, nor names and attributes."""
    limits = Limits(requests=8, connections=8, read=1000.0, write=1000.0)
    schedule = Schedule(limits)
    for _ in range(2):
        assert schedule.join(content(flow, 500), 0.0)
    held = content(flow, 500)
    schedule.join(held, 0.0)
    free = [content(other, 1), metadata()]
    went = [turn for turn in free if schedule.join(turn, 0.0) or schedule.grant(0.0)]

    assert went == free
    assert not held.is_admitted
    assert schedule.next_at(0.0) == pytest.approx(0.5)
    assert schedule.grant(0.5) == [held]


def test_bytes_that_did_not_come_are_given_back():
    """A read that failed does not count against the rate."""
    schedule = Schedule(Limits(requests=8, connections=8, read=1000.0))
    turn = content(expected=100_000)
    schedule.join(turn, 0.0)
    schedule.sent(turn, 0.0, may_stall=True)
    schedule.leave(turn, 0.0, Verdict.ANSWERED, moved=200)

    assert schedule.join(content(expected=1), 0.0)


def test_a_promoted_request_keeps_its_time():
    """It goes before those of the upper lane that came later, behind those that came earlier."""
    schedule = Schedule(Limits(requests=1, connections=1))
    (running,) = filled(schedule, 1, metadata)
    early, ahead, late = content(), Turn(Lane.READAHEAD, Flow.READ), content()
    for number, turn in enumerate((early, ahead, late)):
        schedule.join(turn, number / 10)
    schedule.move(ahead, Lane.CONTENT)

    went = []
    for _ in range(3):
        schedule.leave(running, 0.5)
        (running,) = schedule.grant(0.5)
        went.append(running)

    assert went == [early, ahead, late]


class Histories(RuleBasedStateMachine):
    """Requests join, are sent, stall, are refused, are given up and end in any order."""

    def __init__(self):
        super().__init__()
        self.limits = Limits(requests=6, connections=9, read=1e6, write=1e6, rate=50.0)
        self.schedule = Schedule(self.limits)
        self.now = 0.0
        self.turns: list[Turn] = []
        self.widest = 6

    def take_in(self, granted):
        """Send what was admitted."""
        for turn in granted:
            self.schedule.sent(turn, self.now, may_stall=turn.flow is not Flow.WRITE)

    @rule(lane=LANES, flow=FLOWS, expected=st.integers(0, 1_000_000))
    def join(self, lane, flow, expected):
        """Another request comes."""
        turn = Turn(lane, flow, expected if flow is not Flow.NONE else 0)
        self.turns.append(turn)
        before = self.schedule.window.size
        if self.schedule.join(turn, self.now):
            self.take_in([turn])
        else:
            self.take_in(self.schedule.grant(self.now))
        assert self.schedule.in_flight - self.schedule.stalled <= max(before, self.widest)

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), moved=st.integers(0, 1_000_000))
    def leave(self, data, verdict, moved):
        """One ends, or is given up while it waits."""
        turn = self.turns.pop(data.draw(st.integers(0, len(self.turns) - 1)))
        self.schedule.leave(turn, self.now, verdict, moved=moved, pause=1.0)
        self.take_in(self.schedule.grant(self.now))

    @rule(seconds=st.floats(0.01, 5))
    def wait(self, seconds):
        """Time passes; the keeper of the time looks when it was told to."""
        until = self.now + seconds
        while (at := self.schedule.next_at(self.now)) <= until:
            assert at > self.now
            self.now = at
            self.take_in(self.schedule.grant(self.now))
        self.now = until

    @precondition(lambda self: any(not turn.is_admitted for turn in self.turns))
    @rule(data=st.data())
    def promote(self, data):
        """Somebody waits for it now."""
        waiting = [turn for turn in self.turns if not turn.is_admitted]
        self.schedule.move(data.draw(st.sampled_from(waiting)), Lane.CONTENT)
        self.take_in(self.schedule.grant(self.now))

    @invariant()
    def limits_hold(self):
        """Never more in flight than allowed, and the numbers are those of the requests."""
        admitted = [turn for turn in self.turns if turn.is_admitted]
        stalled = [turn for turn in admitted if turn.is_stalled]
        assert self.schedule.in_flight == len(admitted) <= self.limits.connections
        assert self.schedule.stalled == len(stalled)
        assert len(admitted) - len(stalled) <= self.limits.requests
        waiting = self.schedule.waiting()
        for lane in Lane:
            assert waiting[lane] == sum(
                turn.lane is lane and not turn.is_admitted for turn in self.turns
            )

    @invariant()
    def nobody_is_forgotten(self):
        """Who waits is admitted in time, if the others end: nothing waits for nothing."""
        if self.schedule.in_flight == 0 and self.schedule.waiting():
            assert not self.schedule.grant(self.now)
            some = any(self.schedule.waiting().values())
            assert not some or self.schedule.next_at(self.now) < math.inf


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(lanes=st.lists(LANES, min_size=1, max_size=60))
def test_everybody_is_served(lanes):
    """However the requests are mixed, all of them go, one after the other ending."""
    schedule, now = Schedule(Limits(requests=3, connections=5)), 0.0
    turns = [Turn(lane, Flow.READ) for lane in lanes]
    running = [turn for turn in turns if schedule.join(turn, now)]
    running += schedule.grant(now)
    for _ in turns:
        now += 0.3
        schedule.leave(running.pop(0), now, Verdict.ANSWERED)
        running += schedule.grant(now)

    assert all(turn.is_admitted for turn in turns)
    assert schedule.in_flight == 0
