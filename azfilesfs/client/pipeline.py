"""How a call becomes an answer: deadline, retries, breaker, signing, sending, deciding.

Called by the operations. Concurrency rule: the only state shared between calls is the service
version, the turns and the breaker; they change in synchronous steps. Whatever a call holds (its
turn, a ticket of the breaker, a token of the transport) is given back synchronously.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final, TypeVar

import trio

from azfilesfs import errors
from azfilesfs.client.admission import Admission, RequestStatistics
from azfilesfs.client.attempts import Attempts
from azfilesfs.client.credentials import CredentialProvider
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.client.gate import BreakerGate
from azfilesfs.client.jitter import jitter
from azfilesfs.client.options import ClientOptions, NullObserver, RetryEvent
from azfilesfs.client.progress import Counted, Progress
from azfilesfs.client.requests import LEASE_HEADERS, SMALL_ANSWER_BYTES, Call
from azfilesfs.client.service_errors import error_of
from azfilesfs.client.transport import Transport, WireAnswer, WireRequest, WireStream
from azfilesfs.client.wire import signed_request
from azfilesfs.model.versions import next_older

T = TypeVar("T")


class Pipeline:
    """Executes calls on one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialProvider,
        options: ClientOptions,
        transport: Transport,
    ) -> None:
        """Put the parts together; nothing is sent."""
        self.endpoint = endpoint
        self._credentials = credentials
        self._options = options
        self._transport = transport
        self._observer = options.observer or NullObserver()
        self._attempts = Attempts(
            Admission(options), BreakerGate(options.breaker, self._observer), self._observer
        )
        self._version = options.version
        self._is_version_confirmed = False
        self.doubtful_leases: set[str] = set()
        self._clock: Callable[[], float] = time.time

    @property
    def version(self) -> str:
        """The service version in use."""
        return self._version

    @property
    def statistics(self) -> RequestStatistics:
        """What the requests do now."""
        return self._attempts.admission.statistics()

    async def execute(self, call: Call, read: Callable[[WireAnswer], Awaitable[T]]) -> T:
        """Send a call until it has succeeded or cannot any more, and return what its answer says.

        An answer that ``read`` refuses, as damaged or as not one of the service, counts as a failed
        attempt.

        The caller's cancellation passes through; the request may have taken effect then.

        Raises:
            Timeout: the deadline of the call's budget passed.
            CircuitOpen: it passed while the breaker was open.
            AzureFilesError: as the service or the network has it; ``may_have_been_applied`` tells
                that this attempt or an earlier one may have taken effect all the same.
        """
        progress = self._begin(call)
        error: errors.AzureFilesError | None = None
        cancelled = True
        try:
            with trio.move_on_at(progress.deadline):
                said = await self._repeat(progress, read)
                cancelled = False
                return said
            raise self._overdue(progress) from progress.last_error
        except errors.AzureFilesError as caught:
            error, cancelled = caught, False
            raise
        finally:
            self._note_doubt(progress, cancelled=cancelled)
            self._tell_operation(progress, error, cancelled=cancelled)

    @asynccontextmanager
    async def stream(self, call: Call, read: Callable[[WireStream], T]) -> AsyncIterator[T]:
        """Send a call and hand out its answer before the body.

        ``read`` makes of the answer what is handed out, and may refuse it. Deadline and retries
        cover the time until the headers are there; from then on only the idle limit holds. The
        observer hears of the attempt when the headers are there, and of the bytes with the end of
        the operation.

        Raises:
            As ``execute``.
        """
        progress = self._begin(call)
        error: errors.AzureFilesError | None = None
        cancelled = True
        async with AsyncExitStack() as stack:
            try:
                with trio.move_on_at(progress.deadline) as scope:
                    opened = await self._open_repeatedly(progress, read, stack)
                if scope.cancelled_caught:
                    raise self._overdue(progress) from progress.last_error
                yield opened
                cancelled = False
            except errors.AzureFilesError as caught:
                error, cancelled = caught, False
                raise
            finally:
                if call.reads:
                    self._attempts.admission.charge_read(progress.received)
                self._tell_operation(progress, error, cancelled=cancelled)

    def _begin(self, call: Call) -> Progress:
        now = trio.current_time()
        return Progress(call, now, now + self._options.timeouts.seconds(call.budget))

    async def _repeat(self, progress: Progress, read: Callable[[WireAnswer], Awaitable[T]]) -> T:
        while True:
            try:
                return await self._attempt(progress, read)
            except errors.AzureFilesError as error:
                settled = await self._after_failure(progress, error)
            if settled is not None:
                return await read(settled)

    async def _attempt(self, progress: Progress, read: Callable[[WireAnswer], Awaitable[T]]) -> T:
        call = progress.call
        async with self._attempts.one(progress):
            request = self._sign(progress)
            if call.fence is not None and call.mutates:
                await call.fence()
            answer = await self._transport.send(request, _limit(call))
            progress.received = len(answer.body)
            self._judge(progress, request, answer)
            with _APPLIED:
                return await read(answer)

    async def _open_repeatedly(
        self, progress: Progress, read: Callable[[WireStream], T], stack: AsyncExitStack
    ) -> T:
        while True:
            try:
                return await self._open(progress, read, stack)
            except errors.AzureFilesError as error:
                await self._after_failure(progress, error)

    async def _open(
        self, progress: Progress, read: Callable[[WireStream], T], stack: AsyncExitStack
    ) -> T:
        async with self._attempts.one(progress), AsyncExitStack() as attempt:
            request = self._sign(progress)
            answer = await attempt.enter_async_context(self._transport.stream(request))
            body = b""
            if answer.status not in progress.call.success:
                body = await _read_error(answer)
            whole = WireAnswer(answer.status, answer.headers, answer.raw_headers, body)
            self._judge(progress, request, whole)
            opened = read(replace(answer, chunks=Counted(answer.chunks, progress)))
            stack.push_async_exit(attempt.pop_all())
            return opened

    def _sign(self, progress: Progress) -> WireRequest:
        call = progress.call
        progress.attempts += 1
        progress.credential = self._credentials.current()
        progress.version = self._version
        progress.status, progress.request_id, progress.received = None, None, 0
        if progress.version < call.since:
            raise errors.UnsupportedServiceVersion(
                f"{call.name} needs service version {call.since}, not {progress.version}"
            )
        request = signed_request(
            self.endpoint,
            call,
            progress.credential,
            version=progress.version,
            now=self._clock(),
            timeouts=self._options.timeouts,
        )
        progress.in_flight = True
        return request

    def _judge(self, progress: Progress, request: WireRequest, answer: WireAnswer) -> None:
        """Accept an answer, or raise what it stands for."""
        progress.status = answer.status
        progress.request_id = answer.headers.get("x-ms-request-id")
        if answer.status not in progress.call.success:
            confirmed = self._is_version_confirmed
            raise error_of(progress.call, answer, is_version_confirmed=confirmed)
        echoed = answer.headers.get("x-ms-client-request-id")
        with _APPLIED:
            if not progress.request_id:
                raise errors.ProtocolError("the answer is not one of the file service")
            if echoed is not None and echoed != request.headers["x-ms-client-request-id"]:
                raise errors.ProtocolError("the answer belongs to another request")
        if progress.version == self._version:
            self._is_version_confirmed = True

    async def _after_failure(
        self, progress: Progress, error: errors.AzureFilesError
    ) -> WireAnswer | None:
        """Make ready for another attempt, or raise.

        Returns:
            What stands for the call's answer where it took effect after all, None to try again.
        """
        call = progress.call
        progress.failures += 1
        progress.last_error = error
        progress.is_ambiguous |= error.may_have_been_applied and call.mutates
        self._complete(progress, error)
        if self._steps_down(progress, error) or await self._refreshed(progress, error):
            progress.failures -= 1
            return None
        if progress.is_ambiguous and call.settle is not None:
            settled = await call.settle(error)
            if settled is not None:
                return settled
        remaining = progress.deadline - trio.current_time()
        spread = jitter(0, 1)
        delay = self._options.retry.decide(error, progress.failures, remaining, spread)
        if delay is None or not call.repeat:
            raise error
        self._observer.retrying(
            RetryEvent(
                operation=call.name,
                share=call.share,
                path=call.shown_path,
                attempt=progress.attempts,
                delay=delay,
                error=error,
            )
        )
        await trio.sleep(delay)
        return None

    def _complete(self, progress: Progress, error: errors.AzureFilesError) -> None:
        error.operation = progress.call.name
        error.path = progress.call.shown_path
        error.status = error.status if error.status is not None else progress.status
        error.request_id = error.request_id or progress.request_id
        error.may_have_been_applied = progress.is_ambiguous

    def _steps_down(self, progress: Progress, error: errors.AzureFilesError) -> bool:
        if not isinstance(error, errors.UnsupportedServiceVersion) or error.status is None:
            return False
        if progress.version == self._version:
            older = next_older(self._version)
            if older is None:
                return False
            self._version = older
            self._is_version_confirmed = False
            self._observer.version_changed(older)
        return True

    async def _refreshed(self, progress: Progress, error: errors.AzureFilesError) -> bool:
        if not isinstance(error, errors.AuthenticationError) or progress.has_refreshed:
            return False
        progress.has_refreshed = True
        # Another call may have had it refreshed since this one was signed.
        changed = self._credentials.current() != progress.credential
        if not changed:
            changed = await self._credentials.refresh()
            self._observer.credentials_refreshed(changed=changed)
        return changed

    def _overdue(self, progress: Progress) -> errors.AzureFilesError:
        seconds = progress.deadline - progress.started
        error: errors.AzureFilesError
        if progress.waits_for_breaker or (progress.waits_for_turn and self._attempts.gate.is_open):
            error = errors.CircuitOpen(
                f"the service failed repeatedly and no probe within {seconds:g} s succeeded"
            )
        else:
            waited = ", waiting for its turn at the end" if progress.waits_for_turn else ""
            error = errors.Timeout(f"not done within {seconds:g} s{waited}")
        progress.is_ambiguous |= progress.in_flight and progress.call.mutates
        self._complete(progress, error)
        return error

    def _note_doubt(self, progress: Progress, *, cancelled: bool) -> None:
        """Remember the lease ids of a change that may still arrive, also where a repetition of it
        was answered.
        """
        call = progress.call
        is_open = progress.is_ambiguous or (cancelled and progress.in_flight)
        if is_open and call.mutates and call.fence is not None:
            carried = (call.headers.get(name) for name in LEASE_HEADERS)
            self.doubtful_leases.update(lease for lease in carried if lease is not None)

    def _tell_operation(
        self, progress: Progress, error: errors.AzureFilesError | None, *, cancelled: bool
    ) -> None:
        self._observer.operation_finished(
            progress.event(progress.started, error, cancelled=cancelled)
        )


class _Applied:
    """Marks errors found in an answer that reports success: the request took effect."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, errors.AzureFilesError):
            error.may_have_been_applied = True


_APPLIED: Final = _Applied()


def _limit(call: Call) -> int | None:
    return None if call.body_limit is None else max(call.body_limit, SMALL_ANSWER_BYTES)


async def _read_error(answer: WireStream) -> bytes:
    body = b""
    async for chunk in answer.chunks:
        body += chunk
        if len(body) > SMALL_ANSWER_BYTES:
            raise errors.ProtocolError("the answer's body is longer than any error")
    return body
