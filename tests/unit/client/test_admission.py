"""Which requests of a client go first, and how many: priorities, limits and slow files."""

import math
from contextlib import contextmanager

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import (
    NO_RETRIES,
    BreakerPolicy,
    ClientOptions,
    HttpResponse,
    Priority,
    TimeoutPolicy,
    prioritised,
)
from azfilesfs.client.priority import current_urgency
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from tests.unit.client.support import (
    CHANGED,
    COMMON,
    SHOWN,
    Recorder,
    Script,
    answer,
    refusal,
    scripted,
    shown_file,
)

KIB = 1024
SLOW, OTHER = SharePath.parse("slow"), SharePath.parse("other")
WRITTEN = {**CHANGED, "x-ms-request-server-encrypted": "true"}


class Service(Script):
    """Answers reads, writes and questions after ``seconds``; requests for ``slow`` never."""

    def __init__(self, seconds=1.0):
        super().__init__([shown_file(1)])
        self.seconds = seconds
        self.log = []
        self.busy = self.most = 0
        self.refuses_beyond = None

    @property
    def order(self):
        """What was asked for, in order."""
        return [name for name, _ in self.log]

    async def handle_async_request(self, request):
        """Answer in time."""
        name = request.url.path.rpartition("/")[2]
        body = await request.aread()
        self.log.append((name, trio.current_time()))
        self.busy += 1
        self.most = max(self.most, self.busy)
        is_refused = self.refuses_beyond is not None and self.busy > self.refuses_beyond
        try:
            await trio.sleep(0 if is_refused else 3600 if name == "slow" else self.seconds)
        finally:
            self.busy -= 1
        if is_refused:
            return answer(503, {**COMMON, "x-ms-error-code": "ServerBusy"})
        if request.url.params.get("comp") == "lease":
            return HttpResponse(202, headers=CHANGED)
        if request.method == "PUT":
            return HttpResponse(201, headers={**WRITTEN, "Content-MD5": ""} if body else CHANGED)
        if request.method == "GET":
            start, stop = map(int, request.headers["x-ms-range"].removeprefix("bytes=").split("-"))
            data = bytes(stop + 1 - start)
            shown = {**SHOWN, "Content-Range": f"bytes {start}-{stop}/1000000000"}
            return HttpResponse(206, headers={**shown, "x-ms-type": "File"}, content=data)
        return shown_file(1)


@contextmanager
def serving(share, service):
    """Let a service answer for a share."""
    share._pipeline._transport._inner = service
    yield service


def path(name):
    """Return the path of a file."""
    return SharePath.parse(name)


def limited(**given):
    """Return settings that repeat nothing."""
    timeouts = TimeoutPolicy(small=600, transfer=600, lease=600)
    return ClientOptions(**{"retry": NO_RETRIES, "timeouts": timeouts, **given})


async def until_busy(share):
    """Wait until a request is in flight."""
    while not share._pipeline.statistics.in_flight:
        await trio.lowlevel.checkpoint()


async def until_waiting(share, count):
    """Wait until so many requests wait for their turn."""
    while sum(share._pipeline.statistics[3:]) < count:
        await trio.lowlevel.checkpoint()


async def get_stuck(share, nursery, *, waiting):
    """Start 99 reads of a file that never answers; so many of them wait for their turn."""
    for number in range(99):
        window = ByteRange(number * KIB, (number + 1) * KIB)
        nursery.start_soon(share.get_file, SLOW, window)
    await until_waiting(share, waiting)


async def test_the_urgent_go_first(autojump_clock):
    """Foreground, then readahead, then background, whatever came first."""
    async with scripted([answer(200)], limited(max_requests=1, max_connections=1)) as (share, _):
        with serving(share, Service()) as service:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(share.get_file_properties, path("running"))
                await until_busy(share)
                for number, (priority, name) in enumerate(
                    [
                        (Priority.BACKGROUND, "upload"),
                        (Priority.READAHEAD, "ahead"),
                        (Priority.FOREGROUND, "asked"),
                    ],
                    1,
                ):
                    with prioritised(priority):
                        nursery.start_soon(share.get_file_properties, path(name))
                    await until_waiting(share, number)
                waiting = share._pipeline.statistics

    assert service.order == ["running", "asked", "ahead", "upload"]
    assert (waiting.in_flight, waiting.window, waiting.stalled) == (1, 1, 0)
    assert waiting[3:] == (1, 1, 1)


async def test_a_priority_is_one_of_a_block(autojump_clock):
    """It holds in the tasks started inside of the block, and ends with it."""
    seen = []

    async def look():
        seen.append(current_urgency().priority)

    async with trio.open_nursery() as nursery:
        with prioritised(Priority.BACKGROUND) as urgency:
            nursery.start_soon(look)
            await look()
        await look()
        urgency.promote()

    assert seen == [Priority.BACKGROUND, Priority.FOREGROUND, Priority.FOREGROUND]


async def test_what_somebody_waits_for_moves_up(autojump_clock):
    """A block that is promoted has its waiting request go before readahead that came earlier."""
    async with scripted([answer(200)], limited(max_requests=1, max_connections=1)) as (share, _):
        with serving(share, Service()) as service:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(share.get_file_properties, path("running"))
                await until_busy(share)
                with prioritised(Priority.READAHEAD):
                    nursery.start_soon(share.get_file_properties, path("early"))
                await until_waiting(share, 1)
                with prioritised(Priority.READAHEAD) as urgency:
                    nursery.start_soon(share.get_file_properties, path("wanted"))
                await until_waiting(share, 2)
                urgency.promote()
                urgency.promote()
                assert urgency.priority is Priority.FOREGROUND

    assert service.order == ["running", "wanted", "early"]


async def test_a_slow_file_holds_up_nobody(autojump_clock):
    """With 99 reads of a file that never answers, a question and a read elsewhere are answered."""
    given = limited(max_connections=256)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=0.01)) as service:
            async with trio.open_nursery() as nursery:
                await get_stuck(share, nursery, waiting=71)
                began = trio.current_time()
                await share.get_file_properties(OTHER)
                asked = trio.current_time() - began
                await share.get_file(OTHER, ByteRange(0, 10))
                read = trio.current_time() - began
                statistics = share._pipeline.statistics
                await share.get_file(OTHER, ByteRange(0, 10))
                again = trio.current_time() - began - read
                nursery.cancel_scope.cancel()
            after = share._pipeline.statistics

    assert asked == pytest.approx(0.01)
    assert read < 5
    assert again == pytest.approx(0.01)
    assert statistics.stalled == 84
    assert service.order.count("slow") == 99
    assert after[:2] == (0, 0)
    assert after[3:] == (0, 0, 0)


async def test_no_wake_up_is_lost_while_time_passes(autojump_clock, monkeypatch):
    """What comes due between two looks at the clock is seen: the schedule never falls asleep."""
    given = limited(max_connections=256, max_requests=8)
    look = trio.current_time

    def slow_look():
        autojump_clock.jump(0.0007)
        return look()

    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=0.01)) as service:
            async with trio.open_nursery() as nursery:
                await get_stuck(share, nursery, waiting=92)
                monkeypatch.setattr(trio, "current_time", slow_look)
                with trio.fail_after(60):
                    await share.get_file(OTHER, ByteRange(0, 10))
                nursery.cancel_scope.cancel()

    assert service.order.count("slow") == 99


async def test_uploads_that_take_their_time_keep_their_place(autojump_clock):
    """A large body on its way is no stalled request: there are never more than the window."""
    given = limited(max_connections=64, max_requests=8)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=60)) as service:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(share.put_range, OTHER, 0, bytes(128 * KIB))

    assert service.most == 6


async def test_a_slow_file_does_not_open_the_breaker(autojump_clock, monkeypatch):
    """However often its requests time out, others are sent at once."""
    recorder = Recorder()
    given = limited(
        timeouts=TimeoutPolicy(small=2, transfer=2, idle=1),
        breaker=BreakerPolicy(failures=2),
        observer=recorder,
    )
    async with scripted([answer(200)], given) as (share, _):

        async def hang(request, limit):
            raise errors.Timeout("no answer", may_have_been_applied=True)

        monkeypatch.setattr(share._pipeline._transport, "send", hang)
        for _ in range(5):
            with pytest.raises(errors.Timeout):
                await share.get_file_properties(SLOW)
            for other in range(5):
                with pytest.raises(errors.Timeout):
                    await share.get_file(path(f"slow{other}"), ByteRange(0, 10))
        assert not recorder.states
        with pytest.raises(errors.Timeout):
            await share.get_file_properties(OTHER)

    assert recorder.states


async def test_a_busy_service_is_asked_less(autojump_clock):
    """503 narrows the window to what the service bears; with its answers it grows again."""
    given = limited(max_requests=32, retry=ClientOptions().retry)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service()) as service:
            service.refuses_beyond = 8
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(share.get_file_properties, OTHER)
            narrow = share._pipeline.statistics.window
            service.refuses_beyond = None
            async with trio.open_nursery() as nursery:
                for _ in range(2000):
                    nursery.start_soon(share.get_file_properties, OTHER)

    assert narrow <= 16
    assert share._pipeline.statistics.window == 32


@pytest.mark.parametrize("refused", [refusal(429, None), refusal(503, None, retry_after="5")])
async def test_what_narrows_the_window(refused, autojump_clock):
    """429 and 503 of any kind are one word: busy. One cut stands for all of one moment."""
    given = limited(max_requests=32)
    async with scripted([refused], given) as (share, _):
        for _ in range(2):
            with pytest.raises(errors.ServerError):
                await share.get_file_properties(OTHER)
        assert share._pipeline.statistics.window == 16

        with prioritised(Priority.BACKGROUND):
            began = trio.current_time()
            with pytest.raises(errors.ServerError):
                await share.get_file_properties(OTHER)
        waited = trio.current_time() - began

    assert waited == (5 if "retry-after" in refused.headers else 0)


async def test_leases_are_urgent(autojump_clock):
    """While a lease waits nothing else goes ahead, and it finds a place beside questions."""
    given = limited(max_requests=4, max_connections=4)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=60)) as service:
            async with trio.open_nursery() as nursery:
                for _ in range(9):
                    nursery.start_soon(share.get_file_properties, OTHER)
                await until_waiting(share, 6)
                while service.busy < 3:
                    await trio.lowlevel.checkpoint()
                began = trio.current_time()
                await share.break_file_lease(path("leased"))
                took = trio.current_time() - began
                nursery.cancel_scope.cancel()

    assert took == 60
    assert service.order[3] == "leased"


async def test_rates(autojump_clock):
    """Bytes read, bytes written and requests take the time that the limits give them."""
    taken = {}
    for name, given in {
        "read": {"limit_read": 10 * KIB},
        "written": {"limit_write": 10 * KIB},
        "asked": {"limit_requests": 2},
    }.items():
        async with scripted([answer(200)], limited(**given)) as (share, _):
            with serving(share, Service(seconds=0.001)):
                began = trio.current_time()
                async with trio.open_nursery() as nursery:
                    for number in range(10):
                        if name == "read":
                            window = ByteRange(number * KIB, (number + 10) * KIB)
                            nursery.start_soon(share.get_file, OTHER, window)
                        elif name == "written":
                            nursery.start_soon(share.put_range, OTHER, 0, bytes(10 * KIB))
                        else:
                            nursery.start_soon(share.get_file_properties, OTHER)
                taken[name] = trio.current_time() - began

    assert taken["read"] == pytest.approx(8.5, abs=0.1)
    assert taken["written"] == pytest.approx(8.5, abs=0.1)
    assert taken["asked"] == pytest.approx(4.0, abs=0.1)


async def test_a_stream_counts_as_what_it_brought(autojump_clock):
    """The bytes of a streamed answer are charged when it ends."""
    given = limited(limit_read=1000)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=0.001)):
            async with share.stream_file(OTHER, ByteRange(0, 5000)) as stream:
                count = sum([len(chunk) async for chunk in stream])
            began = trio.current_time()
            await share.get_file(OTHER, ByteRange(0, 1))

    assert count == 5000
    assert trio.current_time() - began == pytest.approx(4.5, abs=0.1)


async def test_who_gives_up_waiting_leaves_nothing(autojump_clock):
    """Cancelled and overdue requests free their place in the queue, and who keeps the time."""
    given = limited(max_requests=2, max_connections=2)
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=30)) as service:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(share.get_file, OTHER, ByteRange(0, 2**21))
                await until_busy(share)
                scope = trio.CancelScope()

                async def wait():
                    with scope:
                        await share.get_file(path("given up"), ByteRange(0, 2**21))

                nursery.start_soon(wait)
                await until_waiting(share, 1)
                nursery.start_soon(share.get_file, path("next"), ByteRange(0, 2**21))
                await until_waiting(share, 2)
                scope.cancel()
                await trio.sleep(1)
                assert share._pipeline.statistics.waiting_foreground == 1
                nursery.start_soon(share.put_range, OTHER, 0, bytes(128 * KIB))
            assert share._pipeline.statistics[:2] == (0, 0)

    assert "given up" not in service.order
    assert service.order.count("next") == 1


async def test_the_deadline_covers_the_waiting(autojump_clock):
    """A request whose turn does not come in time says so, and was not sent."""
    given = limited(
        max_requests=1, max_connections=1, timeouts=TimeoutPolicy(small=5, transfer=600, idle=600)
    )
    async with scripted([answer(200)], given) as (share, _):
        with serving(share, Service(seconds=30)) as service:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(share.put_range, OTHER, 0, bytes(128 * KIB))
                await trio.sleep(1)
                with pytest.raises(errors.Timeout, match="waiting for its turn") as caught:
                    await share.get_file_properties(path("late"))

    assert not caught.value.may_have_been_applied
    assert service.order == ["other"]


async def test_waiting_for_the_breaker_gives_the_turn_back(autojump_clock, monkeypatch):
    """Who is cancelled at the breaker holds no place; who waits behind hears of the circuit."""
    cut = errors.ConnectionFailed("cut")
    given = limited(
        max_requests=1,
        max_connections=1,
        breaker=BreakerPolicy(failures=1, reset_seconds=60),
        timeouts=TimeoutPolicy(small=5),
    )
    async with scripted([answer(200)], given) as (share, _):

        async def fail(request, limit):
            raise cut

        monkeypatch.setattr(share._pipeline._transport, "send", fail)
        with pytest.raises(errors.ConnectionFailed):
            await share.get_file_properties(OTHER)
        caught = []

        async def ask():
            with pytest.raises(errors.CircuitOpen) as error:
                await share.get_file_properties(OTHER)
            caught.append(error.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)

        assert len(caught) == 3
        assert share._pipeline.statistics[:2] == (0, 0)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("max_requests", lambda: ClientOptions(max_requests=0)),
        ("limit_read", lambda: ClientOptions(limit_read=0)),
        ("limit_write", lambda: ClientOptions(limit_write=-1)),
        ("limit_requests", lambda: ClientOptions(limit_requests=math.inf)),
    ],
)
def test_limits_that_let_nothing_through(name, make):
    """They are refused."""
    with pytest.raises(errors.ConfigurationError, match=name):
        make()
