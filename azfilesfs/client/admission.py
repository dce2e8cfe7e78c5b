"""Where attempts wait for their turn: the schedule with its waiters.

Concurrency rule: the schedule changes in synchronous steps; a turn that was given is given back
synchronously. One of the waiters, the keeper, also wakes when time alone lets somebody go.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final, NamedTuple

import trio

from azfilesfs.client.options import ClientOptions
from azfilesfs.client.priority import Priority, Urgency
from azfilesfs.client.schedule import Flow, Lane, Limits, Schedule, Turn, Verdict
from azfilesfs.model.limits import KIB

_STALLING_BYTES: Final = 64 * KIB
"""A larger body may take its time on the way; only the answer to a smaller one is overdue."""


class RequestStatistics(NamedTuple):
    """What the requests of a client do now.

    Attributes:
        in_flight: requests that were sent.
        stalled: those of them whose answer has not begun for long.
        window: how many may be in flight, the stalled ones apart.
        waiting_foreground, waiting_readahead, waiting_background: requests that wait for their
            turn; the urgent ones count as foreground.
    """

    in_flight: int
    stalled: int
    window: int
    waiting_foreground: int
    waiting_readahead: int
    waiting_background: int


class Admission:
    """Admits attempts within the limits of a client, the urgent ones first."""

    def __init__(self, options: ClientOptions) -> None:
        """Start empty."""
        self._schedule = Schedule(
            Limits(
                requests=options.max_requests,
                connections=options.max_connections,
                read=options.limit_read,
                write=options.limit_write,
                rate=options.limit_requests,
            )
        )
        self._events: dict[Turn, trio.Event] = {}
        self._keeper: Turn | None = None
        self._wake_at = math.inf

    def statistics(self) -> RequestStatistics:
        """Return what the requests do now."""
        schedule = self._schedule
        waiting = schedule.waiting()
        return RequestStatistics(
            in_flight=schedule.in_flight,
            stalled=schedule.stalled,
            window=schedule.window.size,
            waiting_foreground=sum(waiting[Lane(lane)] for lane in range(Lane.READAHEAD)),
            waiting_readahead=waiting[Lane.READAHEAD],
            waiting_background=waiting[Lane.BACKGROUND],
        )

    async def enter(
        self, urgency: Urgency, *, sends: int = 0, reads: int = 0, is_lease: bool = False
    ) -> Turn:
        """Wait until an attempt may be made; the turn must be given back to ``leave``.

        Where nothing is in the way there is no checkpoint. A cancellation leaves nothing behind.

        Args:
            urgency: how urgent it is.
            sends: bytes of its body.
            reads: bytes of a file that it asks for.
            is_lease: whether it is about a lease, and so always urgent.
        """
        flow = Flow.WRITE if sends else Flow.READ if reads else Flow.NONE
        lane = Lane.URGENT if is_lease else _lane(urgency.priority, flow)
        turn = Turn(lane, flow, sends or reads)
        if not self._schedule.join(turn, trio.current_time()):
            await self._wait(turn, urgency)
        return turn

    def sent(self, turn: Turn) -> None:
        """Take note that the attempt goes out now."""
        now = trio.current_time()
        is_small = turn.flow is not Flow.WRITE or turn.expected <= _STALLING_BYTES
        self._schedule.sent(turn, now, may_stall=is_small)
        self._keep_time(now)

    def leave(
        self,
        turn: Turn,
        verdict: Verdict = Verdict.NOTHING,
        *,
        moved: int = 0,
        pause: float = 0.0,
    ) -> None:
        """Give a turn back, and let others go; arguments as those of ``Schedule.leave``."""
        now = trio.current_time()
        self._schedule.leave(turn, now, verdict, moved=moved, pause=pause)
        self._dispatch(now)

    def charge_read(self, amount: int) -> None:
        """Count bytes of a file that arrived after the turn was given back."""
        self._schedule.charge(Flow.READ, amount, trio.current_time())

    async def _wait(self, turn: Turn, urgency: Urgency) -> None:
        self._events[turn] = trio.Event()
        urgency.joined(turn, partial(self._promote, turn))
        try:
            self._dispatch(trio.current_time())
            while not turn.is_admitted:
                await self._wait_once(turn)
        except BaseException:
            self.leave(turn)
            raise
        finally:
            urgency.left(turn)
            del self._events[turn]
            if self._keeper is turn:
                self._hand_over()

    async def _wait_once(self, turn: Turn) -> None:
        """Wait until something may have changed for a turn."""
        event = self._events[turn] = trio.Event()
        if self._keeper is None:
            self._keeper = turn
        wake_at = math.inf
        if self._keeper is turn:
            # One reading of the clock for both: what came due between two would wake nobody.
            now = self._wake_at = trio.current_time()
            self._dispatch(now)
            wake_at = self._wake_at = self._schedule.next_at(now)
        with trio.move_on_at(wake_at):
            await event.wait()

    def _dispatch(self, now: float) -> None:
        if self._events:
            for turn in self._schedule.grant(now):
                self._events[turn].set()
            self._keep_time(now)

    def _keep_time(self, now: float) -> None:
        """Wake the keeper where it would sleep for too long."""
        keeper = self._keeper
        if keeper is not None and self._schedule.next_at(now) < self._wake_at:
            self._events[keeper].set()

    def _hand_over(self) -> None:
        self._keeper = next((turn for turn in self._events if not turn.is_admitted), None)
        self._wake_at = math.inf
        if self._keeper is not None:
            self._events[self._keeper].set()

    def _promote(self, turn: Turn) -> None:
        lane = _lane(Priority.FOREGROUND, turn.flow)
        if not turn.is_admitted and turn.lane > lane:
            self._schedule.move(turn, lane)
            self._dispatch(trio.current_time())


def _lane(priority: Priority, flow: Flow) -> Lane:
    if priority is Priority.URGENT:
        return Lane.URGENT
    if priority is Priority.READAHEAD:
        return Lane.READAHEAD
    if priority is Priority.BACKGROUND:
        return Lane.BACKGROUND
    return Lane.METADATA if flow is Flow.NONE else Lane.CONTENT
