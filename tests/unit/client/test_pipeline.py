"""The pipeline: deadline, retries, breaker, refresh, versions, and what the observer hears."""

import logging

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import (
    NO_RETRIES,
    BreakerPolicy,
    BreakerState,
    ClientOptions,
    HttpResponse,
    RetryPolicy,
    SasCredential,
    Secret,
    SharedKeyCredential,
    ShareServiceClient,
    TimeoutPolicy,
)
from azfilesfs.model.paths import SharePath
from tests.unit.client.support import (
    ACCOUNT,
    CHANGED,
    COMMON,
    ENDPOINT,
    SHOWN,
    Recorder,
    Script,
    Step,
    answer,
    refusal,
    scripted,
    shown_file,
)

PATH = SharePath.parse("dir/file")
BUSY = refusal(503, "ServerBusy")
STEADY = RetryPolicy(jitter=0.0)
CUT = ConnectionResetError("cut")


def options(recorder: Recorder | None = None, **more) -> ClientOptions:
    """Return options without jitter."""
    return ClientOptions(observer=recorder, **{"retry": STEADY, **more})


async def test_success_is_told(autojump_clock):
    """One attempt, one operation, with name, path, status, request id and bytes."""
    recorder = Recorder()
    async with scripted([answer(201, CHANGED)], options(recorder)) as (share, _):
        await share.put_range(PATH, 0, b"hello")

    (attempt,) = recorder.attempts
    (operation,) = recorder.operations
    assert (attempt.operation, attempt.share, attempt.path) == ("PutRange", "myshare", "dir/file")
    assert (attempt.status, attempt.error, attempt.request_id) == (201, None, "request-1")
    assert (attempt.bytes_sent, attempt.bytes_received, attempt.attempt) == (5, 0, 1)
    assert (operation.operation, operation.attempt, operation.cancelled) == ("PutRange", 1, False)


async def test_retries_and_their_waits(autojump_clock):
    """Throttling is waited out as the table says; the observer hears of each repetition."""
    recorder = Recorder()
    started = trio.current_time()
    async with scripted([BUSY, BUSY, shown_file(3)], options(recorder)) as (share, script):
        found = await share.get_file_properties(PATH)

    assert found.size == 3
    assert len(script.requests) == 3
    assert trio.current_time() - started == pytest.approx(3)
    assert [(event.delay, type(event.error)) for event in recorder.retries] == [
        (1, errors.ServerBusy),
        (2, errors.ServerBusy),
    ]
    assert [event.attempt for event in recorder.attempts] == [1, 2, 3]
    assert recorder.operations[0].attempt == 3


async def test_giving_up(autojump_clock):
    """After the last attempt the error names operation, path, code, status and request id."""
    async with scripted([BUSY], options()) as (share, script):
        with pytest.raises(errors.ServerBusy) as caught:
            await share.get_file_properties(PATH)

    assert len(script.requests) == 5
    error = caught.value
    assert (error.operation, error.path) == ("GetFileProperties", "dir/file")
    assert (error.status, error.code, error.request_id) == (503, "ServerBusy", "request-1")
    assert not error.may_have_been_applied


async def test_each_attempt_is_signed_anew(autojump_clock):
    """A repetition has its own date, request id and signature."""
    async with scripted([BUSY, shown_file(0)], options()) as (share, script):
        share._pipeline._clock = lambda: trio.current_time()
        await share.get_file_properties(PATH)

    first, second = script.requests
    for name in ("authorization", "x-ms-date", "x-ms-client-request-id"):
        assert first.headers[name] != second.headers[name]


@pytest.mark.parametrize(
    "step",
    [
        refusal(404, "ResourceNotFound"),
        refusal(409, "ResourceAlreadyExists"),
        refusal(409, "LeaseAlreadyPresent"),
        refusal(400, "InvalidHeaderValue", "<HeaderName>x-ms-lease-id</HeaderName>"),
        refusal(416, "InvalidRange"),
    ],
    ids=lambda step: step.headers["x-ms-error-code"],
)
async def test_answers_are_not_repeated(step, autojump_clock):
    """What the service has decided is not asked again."""
    async with scripted([step], options()) as (share, script):
        with pytest.raises(errors.AzureFilesError):
            await share.put_range(PATH, 0, b"x")

    assert len(script.requests) == 1


async def test_the_deadline_rules(autojump_clock):
    """A service that never answers fails after the time of the operation's class."""

    class Silent(Script):
        async def handle_async_request(self, request):
            await trio.sleep_forever()

    started = trio.current_time()
    async with scripted([BUSY], options()) as (share, _):
        share._pipeline._transport._inner = Silent([])
        with pytest.raises(errors.Timeout) as read:
            await share.get_file_properties(PATH)
        assert trio.current_time() - started == pytest.approx(30)
        with pytest.raises(errors.Timeout) as write:
            await share.put_range(PATH, 0, b"x")
        assert trio.current_time() - started == pytest.approx(330)
        with pytest.raises(errors.Timeout):
            await share.acquire_file_lease(PATH)
        assert trio.current_time() - started == pytest.approx(340)

    assert not read.value.may_have_been_applied
    assert write.value.may_have_been_applied
    assert write.value.path == "dir/file"


async def test_retries_fit_into_the_deadline(autojump_clock):
    """A wait that would pass the deadline is not begun: the error comes early, as itself."""
    busy = refusal(503, "ServerBusy", Retry_After="60")
    started = trio.current_time()
    async with scripted([busy], options()) as (share, script):
        with pytest.raises(errors.ServerBusy):
            await share.get_file_properties(PATH)

    assert len(script.requests) == 1
    assert trio.current_time() == started


async def test_the_last_failure_is_the_cause_of_a_timeout(autojump_clock):
    """When the deadline passes in a repetition, what led to it is kept."""

    async def slow(request):
        await trio.sleep(20)
        raise CUT

    class Slow(Script):
        handle_async_request = staticmethod(slow)

    async with scripted([BUSY], options()) as (share, _):
        share._pipeline._transport._inner = Slow([])
        with pytest.raises(errors.Timeout) as caught:
            await share.get_file_properties(PATH)

    assert isinstance(caught.value.__cause__, errors.ConnectionFailed)


async def test_a_cancellation_passes_through(autojump_clock):
    """The caller's cancellation is not a Timeout, and the observer hears that it was one."""
    recorder = Recorder()

    class Silent(Script):
        async def handle_async_request(self, request):
            await trio.sleep_forever()

    async with scripted([BUSY], options(recorder)) as (share, _):
        share._pipeline._transport._inner = Silent([])
        with trio.move_on_after(5) as scope:
            await share.get_file_properties(PATH)
        assert scope.cancelled_caught
        assert share._pipeline._transport.busy == 0

    assert [event.cancelled for event in (*recorder.attempts, *recorder.operations)] == [True, True]


async def test_ambiguity_outlives_the_attempt(autojump_clock):
    """Once an attempt of a write may have taken effect, every later error of the call says so."""
    steps: list[Step] = [CUT, refusal(404, "ParentNotFound")]
    async with scripted(steps, options()) as (share, _):
        with pytest.raises(errors.ParentNotFound) as caught:
            await share.put_range(PATH, 0, b"x")

    assert caught.value.may_have_been_applied


async def test_reads_are_never_ambiguous(autojump_clock):
    """A lost answer of a read left nothing behind."""
    async with scripted([CUT], options()) as (share, script):
        with pytest.raises(errors.ConnectionFailed) as caught:
            await share.get_file_properties(PATH)

    assert len(script.requests) == 3
    assert not caught.value.may_have_been_applied


class Rotating:
    """A provider whose key changes when it is refreshed."""

    def __init__(self, *keys: str) -> None:
        """Start with the first key."""
        self.keys = list(keys)
        self.refreshed = 0

    def current(self):
        """Return the present key."""
        return SharedKeyCredential(ACCOUNT, Secret(self.keys[0]))

    async def refresh(self) -> bool:
        """Take the next key, if there is one."""
        self.refreshed += 1
        await trio.lowlevel.checkpoint()
        if len(self.keys) > 1:
            self.keys.pop(0)
            return True
        return False


REFUSED = refusal(403, "AuthenticationFailed")


def opened(provider, script, recorder=None, **more):
    """Open a client with a provider of its own."""
    return ShareServiceClient.open(ENDPOINT, provider, options(recorder, **more), transport=script)


async def test_a_rotated_key_is_used(autojump_clock):
    """A 403 has the credential refreshed once; a new one gives one more attempt."""
    provider, recorder = Rotating("b2xk", "bmV3"), Recorder()
    script = Script([REFUSED, answer(201, CHANGED)])
    async with opened(provider, script, recorder, retry=NO_RETRIES) as service:
        await service.share("myshare").put_range(PATH, 0, b"x")

    assert provider.refreshed == 1
    assert recorder.refreshes == [True]
    assert (
        script.requests[0].headers["authorization"] != script.requests[1].headers["authorization"]
    )


@pytest.mark.parametrize("keys", [("b2xk",), ("b2xk", "bmV3")])
async def test_a_refused_key_is_refused(keys, autojump_clock):
    """With no new key, or a new one that is refused too, the error comes; there is no third try."""
    provider = Rotating(*keys)
    script = Script([REFUSED])
    async with opened(provider, script) as service:
        with pytest.raises(errors.InvalidKey):
            await service.share("myshare").get_file_properties(PATH)

    assert provider.refreshed == 1
    assert len(script.requests) == len(keys)


async def test_a_refresh_by_another_call_counts(autojump_clock):
    """A call that was signed with the old key tries the new one without asking for a refresh."""
    provider = Rotating("b2xk", "bmV3")

    def refuse_and_rotate(request):
        provider.keys.pop(0)
        return HttpResponse(403, headers={**COMMON, "x-ms-error-code": "AuthenticationFailed"})

    script = Script([refuse_and_rotate, shown_file(1)])
    async with opened(provider, script) as service:
        await service.share("myshare").get_file_properties(PATH)

    assert provider.refreshed == 0
    assert len(script.requests) == 2


async def test_a_share_that_is_disabled_is_no_matter_of_keys(autojump_clock):
    """A 403 that has nothing to do with the credential is not answered with a refresh."""
    provider = Rotating("b2xk", "bmV3")
    async with opened(provider, Script([refusal(403, "ShareDisabled")])) as service:
        with pytest.raises(errors.ShareDisabled):
            await service.share("myshare").get_file_properties(PATH)

    assert provider.refreshed == 0


OLD = refusal(400, "InvalidHeaderValue", "<HeaderName>x-ms-version</HeaderName>")


def takes(newest: str):
    """Return a step that refuses versions above one."""

    def step(request):
        if request.headers["x-ms-version"] > newest:
            return HttpResponse(400, headers=OLD.headers, content=OLD.content)
        return HttpResponse(200, headers=SHOWN)

    return step


async def test_stepping_down(autojump_clock):
    """A refused version is replaced by the next older one, for the whole client."""
    recorder = Recorder()
    async with scripted([takes("2025-11-05")], options(recorder)) as (share, script):
        await share.get_directory_properties(PATH)
        await share.get_directory_properties(PATH)
        assert share.service_version == "2025-11-05"

    assert [request.headers["x-ms-version"] for request in script.requests] == [
        "2026-10-06",
        "2026-06-06",
        "2026-04-06",
        "2026-02-06",
        "2025-11-05",
        "2025-11-05",
    ]
    assert recorder.versions[-1] == "2025-11-05"


async def test_nothing_older_is_tried(autojump_clock):
    """A service older than the oldest known version is an UnsupportedServiceVersion."""
    async with scripted([takes("2020-02-02")], options()) as (share, script):
        with pytest.raises(errors.UnsupportedServiceVersion):
            await share.get_directory_properties(PATH)

    assert script.requests[-1].headers["x-ms-version"] == "2023-11-03"


async def test_head_before_the_first_success(autojump_clock):
    """A bare refusal of a HEAD steps down while no version has been accepted yet."""
    bare = HttpResponse(400, headers={**COMMON, "x-ms-error-code": "InvalidHeaderValue"})
    async with scripted([bare, shown_file(1), bare], options()) as (share, script):
        await share.get_file_properties(PATH)
        with pytest.raises(errors.InvalidRequest):
            await share.get_file_properties(PATH)

    assert [request.headers["x-ms-version"] for request in script.requests] == [
        "2026-10-06",
        "2026-06-06",
        "2026-06-06",
    ]


async def test_data_are_not_sent_to_a_version_that_ignores_them(autojump_clock):
    """A create with data that is refused for its version is not repeated without a meaning."""
    async with scripted([OLD], options()) as (share, script):
        with pytest.raises(errors.UnsupportedServiceVersion, match="CreateFile needs"):
            await share.create_file(PATH, data=b"x")

    assert [request.headers["x-ms-version"] for request in script.requests] == [
        "2026-10-06",
        "2026-06-06",
    ]


async def test_an_unknown_version_is_refused():
    """Only versions that the client knows can be configured, and at least one connection."""
    with pytest.raises(errors.ConfigurationError):
        ClientOptions(version="2019-01-01")
    with pytest.raises(errors.ConfigurationError):
        ClientOptions(max_connections=0)


BROKEN = BreakerPolicy(failures=2, successes=1, reset_seconds=10)


async def test_the_breaker_holds_callers_back(autojump_clock):
    """After failures in a row a caller waits for the reset, then probes, within its deadline."""
    recorder = Recorder()
    steps: list[Step] = [CUT, CUT, shown_file(1)]
    given = options(recorder, breaker=BROKEN, retry=NO_RETRIES)
    async with scripted(steps, given) as (share, script):
        for _ in range(2):
            with pytest.raises(errors.ConnectionFailed):
                await share.get_file_properties(PATH)
        started = trio.current_time()
        await share.get_file_properties(PATH)

    assert trio.current_time() - started == pytest.approx(10)
    assert len(script.requests) == 3
    assert recorder.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_an_open_breaker_and_the_deadline(autojump_clock):
    """A caller whose deadline passes before the probe gets CircuitOpen; it has sent nothing."""
    given = options(breaker=BROKEN, retry=NO_RETRIES, timeouts=TimeoutPolicy(lease=5))
    async with scripted([CUT], given) as (share, script):
        for _ in range(2):
            with pytest.raises(errors.ConnectionFailed):
                await share.get_file_properties(PATH)
        with pytest.raises(errors.CircuitOpen) as caught:
            await share.acquire_file_lease(PATH)

    assert len(script.requests) == 2
    assert not caught.value.may_have_been_applied


@pytest.mark.parametrize(
    ("step", "opens"),
    [
        (CUT, True),
        (refusal(500, "InternalError"), True),
        (refusal(500, "OperationTimedOut"), True),
        (refusal(503, "ServerBusy"), False),
        (refusal(503, None), False),
        (refusal(429, None), False),
        (refusal(404, "ResourceNotFound"), False),
        (refusal(403, "AuthenticationFailed"), False),
        (HttpResponse(200, headers={"ETag": '"x"'}), False),
    ],
    ids=range(9),
)
async def test_what_opens_the_breaker(step, opens, autojump_clock):
    """Connection failures, timeouts and 500s count; throttling and refusals never do."""
    recorder = Recorder()
    given = options(recorder, breaker=BROKEN, retry=NO_RETRIES)
    async with scripted([step], given) as (share, _):
        for _ in range(3):
            with pytest.raises(errors.AzureFilesError), trio.fail_after(1):
                await share.get_file_properties(PATH)
            if recorder.states:
                break

    assert opens is bool(recorder.states)


async def test_a_captive_portal(autojump_clock):
    """A friendly answer that is not the service's is a ProtocolError, whatever its status."""
    portal = HttpResponse(
        200, headers={"Content-Type": "text/html"}, content=b"<html>Sign in</html>"
    )
    async with scripted([portal], options()) as (share, script):
        with pytest.raises(errors.ProtocolError):
            await share.get_file(PATH)

    assert len(script.requests) == 3


async def test_an_answer_to_another_request(autojump_clock):
    """An answer that echoes another request's id is not taken."""
    mixed = shown_file(1)
    mixed.headers["x-ms-client-request-id"] = "another"

    def own(request):
        response = shown_file(2)
        response.headers["x-ms-client-request-id"] = request.headers["x-ms-client-request-id"]
        return response

    async with scripted([mixed, own], options()) as (share, _):
        assert (await share.get_file_properties(PATH)).size == 2


async def test_streams_are_opened_with_retries(autojump_clock):
    """Opening a stream is repeated; the observer hears the bytes at the end."""
    recorder = Recorder()
    content = HttpResponse(200, headers=SHOWN, content=b"hello")
    async with (
        scripted([BUSY, CUT, content], options(recorder)) as (share, _),
        share.stream_file(PATH) as stream,
    ):
        body = b"".join([chunk async for chunk in stream])

    assert body == b"hello"
    assert stream.properties.size == 5
    assert [event.status for event in recorder.attempts] == [503, None, 200]
    assert recorder.operations[0].bytes_received == 5


async def test_a_stream_that_cannot_be_opened(autojump_clock):
    """Errors of opening a stream are those of a read, the deadline included."""

    class Silent(Script):
        async def handle_async_request(self, request):
            await trio.sleep_forever()

    recorder = Recorder()
    async with scripted([refusal(404, "ResourceNotFound")], options(recorder)) as (share, _):
        with pytest.raises(errors.FileNotFound):
            async with share.stream_file(PATH):
                raise AssertionError
        share._pipeline._transport._inner = Silent([])
        with pytest.raises(errors.Timeout):
            async with share.stream_file(PATH):
                raise AssertionError
        assert share._pipeline._transport.busy == 0

    assert [type(event.error) for event in recorder.operations] == [
        errors.FileNotFound,
        errors.Timeout,
    ]


async def test_a_huge_error_of_a_stream(autojump_clock):
    """An error document is read up to a limit only."""
    huge = HttpResponse(500, headers=COMMON, content=b"x" * 1_000_000)
    async with scripted([huge], options(retry=NO_RETRIES)) as (share, _):
        with pytest.raises(errors.ProtocolError, match="longer"):
            async with share.stream_file(PATH):
                raise AssertionError


async def test_a_body_that_fails_in_the_block(autojump_clock):
    """An error of the caller inside the block of a stream passes through and closes it."""
    recorder = Recorder()
    async with scripted(
        [HttpResponse(200, headers=SHOWN, content=b"hello")], options(recorder)
    ) as (
        share,
        _,
    ):
        with pytest.raises(ZeroDivisionError):
            async with share.stream_file(PATH):
                raise ZeroDivisionError
        assert share._pipeline._transport.busy == 0

    assert len(recorder.operations) == 1


async def test_secrets_stay_out_of_errors_and_logs(autojump_clock, caplog):
    """No message, cause or log record of a failed call contains a signature."""
    caplog.set_level(logging.DEBUG)
    sas = SasCredential(Secret("sv=2026-10-06&sig=hunter2%3D"))

    class Provider:
        def current(self):
            return sas

        async def refresh(self):
            return False

    script = Script([CUT, REFUSED])
    async with opened(Provider(), script) as service:
        share = service.share("myshare")
        with pytest.raises(errors.InvalidKey) as caught:
            await share.rename_file(PATH, SharePath.parse("other"))

    chain: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(f"{error} {error!r} {vars(error)}")
        error = error.__cause__ or error.__context__
    assert "hunter2" in str(script.requests[0].url)
    assert "hunter2" in script.requests[0].headers["x-ms-file-rename-source"]
    assert "hunter2" not in " ".join(chain)
    assert "hunter2" not in caplog.text


async def test_many_callers_and_few_connections(autojump_clock):
    """No more requests are in flight at once than there are connections."""
    most = 0
    busy = 0

    class Counting(Script):
        async def handle_async_request(self, request):
            nonlocal most, busy
            busy += 1
            most = max(most, busy)
            await trio.sleep(1)
            busy -= 1
            return shown_file(1)

    async with scripted([BUSY], options(max_connections=3)) as (share, _):
        share._pipeline._transport._inner = Counting([])
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(share.get_file_properties, PATH)

    assert most == 3
