"""Which request goes next: a pure state machine over times that the caller gives.

Requests wait in lanes. What files contain must not keep names and attributes from moving, nor what
nobody waits for what somebody does; so each lane is closed while it and those below it fill their
share of the window. A request whose answer does not begin is stalled after a while: it keeps its
connection, but its place in the window goes to another, so that a slow file holds up nobody.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cache
from typing import Final

from azfilesfs.client.rates import TokenBucket, Window

_PATIENCE_SECONDS: Final = 2.0
"""Each such time of waiting lifts a request by one lane."""

_STALLED_SECONDS: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


class Lane(IntEnum):
    """What competes with what; the lower number goes first."""

    URGENT = 0
    METADATA = 1
    CONTENT = 2
    READAHEAD = 3
    BACKGROUND = 4


class Flow(Enum):
    """Which way the bytes of files go, and so which limit of bandwidth holds."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


class Verdict(Enum):
    """What a request that ended says about the load of the service."""

    ANSWERED = "answered"
    THROTTLED = "throttled"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the schedule keeps to.

    Attributes:
        requests: requests in flight, those that are stalled apart.
        connections: requests in flight in all.
        read, write: bytes of files a second, None for no limit.
        rate: requests a second, None for no limit.
    """

    requests: int
    connections: int
    read: float | None = None
    write: float | None = None
    rate: float | None = None


@dataclass(slots=True, eq=False)
class Turn:
    """One request from joining to leaving.

    Attributes:
        lane: where it waits.
        flow: which way its bytes go.
        expected: bytes of files that it is going to move.
        joined: when it asked.
        began: when it was sent; infinite before.
        is_admitted: whether it may be sent, or was.
    """

    lane: Lane
    flow: Flow = Flow.NONE
    expected: int = 0
    joined: float = 0.0
    began: float = math.inf
    is_admitted: bool = False
    is_stalled: bool = False


class Schedule:
    """The lanes, the window and the rates of one service.

    Invariants: of the turns that joined and have not left each waits in exactly one queue or is
    admitted. Those in ``_counts`` are never more than the window was when the last of them was
    admitted, those in ``_admitted`` never more than the connections.
    """

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.window = Window(min(limits.requests, limits.connections))
        self._connections = limits.connections
        # By lane: those that the window counts, and all that were admitted.
        self._counts = [0] * len(Lane)
        self._admitted = [0] * len(Lane)
        self._queues: dict[tuple[Lane, Flow], deque[Turn]] = {
            (lane, flow): deque() for lane in Lane for flow in Flow
        }
        self._waiting = 0
        # Those that may stall, in the order in which they were sent.
        self._answerless: dict[Turn, None] = {}
        self._paused_until = -math.inf
        self._buckets = _buckets(limits)
        self._rate = TokenBucket(limits.rate) if limits.rate is not None else None

    @property
    def in_flight(self) -> int:
        """Requests that were admitted and have not left, the stalled ones included."""
        return sum(self._admitted)

    @property
    def stalled(self) -> int:
        """Requests that wait for an answer outside of the window."""
        return sum(self._admitted) - sum(self._counts)

    def waiting(self) -> Mapping[Lane, int]:
        """Return how many wait in each lane."""
        found = dict.fromkeys(Lane, 0)
        for (lane, _), queue in self._queues.items():
            found[lane] += len(queue)
        return found

    def join(self, turn: Turn, now: float) -> bool:
        """Admit a request at once, or queue it; return whether it was admitted."""
        turn.joined = now
        if not self._waiting and self._may_go(turn, now):
            self._admit(turn, now)
            return True
        self._enqueue(turn)
        return False

    def grant(self, now: float) -> list[Turn]:
        """Admit all of those that wait and may go now, in the order in which they go."""
        if not self._waiting:
            return []
        self._set_stalled_aside(now)
        granted = []
        while (turn := self._next(now)) is not None:
            self._queues[turn.lane, turn.flow].popleft()
            self._waiting -= 1
            self._admit(turn, now)
            granted.append(turn)
        return granted

    def sent(self, turn: Turn, now: float, *, may_stall: bool) -> None:
        """Take note that an admitted request goes out now."""
        turn.began = now
        if may_stall:
            self._answerless[turn] = None

    def leave(
        self,
        turn: Turn,
        now: float,
        verdict: Verdict = Verdict.NOTHING,
        *,
        moved: int = 0,
        pause: float = 0.0,
    ) -> None:
        """Take a request out, wherever it is.

        Args:
            turn: the request.
            now: the time.
            verdict: what its end says about the load.
            moved: bytes of files that it moved in truth.
            pause: seconds that the service asked to wait; what nobody waits for then waits.
        """
        if not turn.is_admitted:
            self._queues[turn.lane, turn.flow].remove(turn)
            self._waiting -= 1
            return
        self._answerless.pop(turn, None)
        if verdict is Verdict.ANSWERED:
            self.window.answered(self.in_flight)
        elif verdict is Verdict.THROTTLED:
            self.window.throttled(turn.began, now)
            self._paused_until = max(self._paused_until, now + min(pause, _LONGEST_PAUSE))
        self._admitted[turn.lane] -= 1
        if not turn.is_stalled:
            self._counts[turn.lane] -= 1
        if moved != turn.expected:
            self.charge(turn.flow, moved - turn.expected, now)

    def charge(self, flow: Flow, amount: int, now: float) -> None:
        """Count bytes of files that moved, or did not (negative), apart from what was expected."""
        bucket = self._buckets.get(flow) if self._buckets else None
        if bucket is not None:
            bucket.take(amount, now)

    def move(self, turn: Turn, lane: Lane) -> None:
        """Let a waiting request wait in another lane, where it keeps its time of joining."""
        self._queues[turn.lane, turn.flow].remove(turn)
        turn.lane = lane
        queue = self._queues[lane, turn.flow]
        place = len(queue)
        while place and queue[place - 1].joined > turn.joined:
            place -= 1
        queue.insert(place, turn)

    def next_at(self, now: float) -> float:
        """Return when ``grant`` may find more without anybody leaving; infinite for never."""
        times = []
        if self._answerless:
            times.append(next(iter(self._answerless)).began + _STALLED_SECONDS)
        for turn in self._heads():
            if turn.lane is not Lane.URGENT:
                times.append(turn.joined + _PATIENCE_SECONDS)
            if turn.lane >= Lane.READAHEAD:
                times.append(self._paused_until)
            times += [bucket.ready_at(now) for bucket in self._limiting(turn)]
        return min((at for at in times if at > now), default=math.inf)

    def _enqueue(self, turn: Turn) -> None:
        self._queues[turn.lane, turn.flow].append(turn)
        self._waiting += 1

    def _admit(self, turn: Turn, now: float) -> None:
        turn.is_admitted = True
        turn.began = now
        self._counts[turn.lane] += 1
        self._admitted[turn.lane] += 1
        if self._rate is not None:
            self._rate.take(1, now)
        self.charge(turn.flow, turn.expected, now)

    def _set_stalled_aside(self, now: float) -> None:
        while self._answerless:
            turn = next(iter(self._answerless))
            if now < turn.began + _STALLED_SECONDS:
                return
            del self._answerless[turn]
            turn.is_stalled = True
            self._counts[turn.lane] -= 1

    def _heads(self) -> Iterator[Turn]:
        return (queue[0] for queue in self._queues.values() if queue)

    def _next(self, now: float) -> Turn | None:
        able = [turn for turn in self._heads() if self._may_go(turn, now)]
        return min(able, key=lambda turn: (_rank(turn, now), turn.joined), default=None)

    def _may_go(self, turn: Turn, now: float) -> bool:
        if sum(self._counts) >= self.window.size or sum(self._admitted) >= self._connections:
            return False
        if turn.lane is not Lane.URGENT and not self._has_share(turn, now):
            return False
        return all(bucket.is_ready(now) for bucket in self._limiting(turn))

    def _has_share(self, turn: Turn, now: float) -> bool:
        """Tell whether a request may take a place that another lane could want."""
        lane, size, limit = turn.lane, self.window.size, self.window.limit
        if lane >= Lane.READAHEAD and now < self._paused_until:
            return False
        for upper in range(Lane.METADATA, lane + 1):
            if sum(self._counts[upper:]) >= _share(upper, size):
                return False
            spare = limit - _share(upper, limit)
            if sum(self._admitted[upper:]) >= max(1, self._connections - spare):
                return False
        # Within the shares; it leaves room for those above until it has waited for long.
        return sum(self._counts) < _share(lane, size) or now >= turn.joined + _PATIENCE_SECONDS

    def _limiting(self, turn: Turn) -> list[TokenBucket]:
        """Return the rates that hold for a request."""
        if self._rate is None and not self._buckets:
            return []
        bucket = self._buckets.get(turn.flow)
        return [one for one in (self._rate, bucket) if one is not None]


def _buckets(limits: Limits) -> dict[Flow, TokenBucket]:
    rates = {Flow.READ: limits.read, Flow.WRITE: limits.write}
    return {flow: TokenBucket(rate) for flow, rate in rates.items() if rate is not None}


def _rank(turn: Turn, now: float) -> int:
    """Return the lane as of now: who waits moves up."""
    return max(0, turn.lane - int((now - turn.joined) / _PATIENCE_SECONDS))


@cache
def _share(lane: int, size: int) -> int:
    """Return how much of a window a lane and those below it may fill.

    What lacks here is what they leave: from four places on at least one to what is urgent, and
    from two on one more to names and attributes.
    """
    by_metadata = max(1, size // 16) if size >= 4 else 0
    by_content = max(by_metadata + 1, size // 8)
    left = {
        Lane.URGENT: 0,
        Lane.METADATA: by_metadata,
        Lane.CONTENT: by_content,
        Lane.READAHEAD: max(by_content, size // 4),
        Lane.BACKGROUND: max(by_content, size // 2),
    }
    return max(1, size - left[Lane(lane)])
