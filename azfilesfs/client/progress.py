"""What has become of one call so far."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import trio

from azfilesfs import errors
from azfilesfs.client.credentials import Credential
from azfilesfs.client.options import AttemptEvent
from azfilesfs.client.requests import Call


@dataclass(slots=True)
class Progress:
    """What has become of one call so far.

    Attributes:
        attempts: attempts begun.
        failures: attempts failed that count for the retry policy.
        in_flight: a request may be on its way now.
        is_ambiguous: an earlier attempt may have taken effect.
        waits_for_breaker: the call is held back by the open breaker.
        waits_for_turn: the call is held back by the limits of the client.
        credential: the one last used.
        version: the one last used.
        has_refreshed: the provider was asked for a newer credential once.
        last_error: what the last failed attempt met.
        received, status, request_id: of the last answer.
    """

    call: Call
    started: float
    deadline: float
    attempts: int = 0
    failures: int = 0
    in_flight: bool = False
    is_ambiguous: bool = False
    waits_for_breaker: bool = False
    waits_for_turn: bool = False
    credential: Credential | None = None
    version: str = ""
    has_refreshed: bool = False
    last_error: errors.AzureFilesError | None = None
    received: int = 0
    status: int | None = None
    request_id: str | None = None

    def event(
        self, started: float, error: errors.AzureFilesError | None, *, cancelled: bool
    ) -> AttemptEvent:
        """Return what to tell the observer of an attempt, or of the whole, that began then."""
        call = self.call
        return AttemptEvent(
            operation=call.name,
            share=call.share,
            path=call.shown_path,
            status=self.status,
            error=error,
            seconds=trio.current_time() - started,
            bytes_sent=memoryview(call.body).nbytes,
            bytes_received=self.received,
            request_id=self.request_id,
            attempt=self.attempts,
            cancelled=cancelled,
        )


class Counted:
    """Chunks of a streamed answer, counted for the observer."""

    def __init__(self, chunks: AsyncIterator[bytes], progress: Progress) -> None:
        self._chunks = chunks
        self._progress = progress

    def __aiter__(self) -> Counted:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.__anext__()
        self._progress.received += len(chunk)
        return chunk
