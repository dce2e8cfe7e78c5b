"""What the end of an attempt says about the service: is it there, and is it overloaded. Pure."""

from __future__ import annotations

from azfilesfs import errors
from azfilesfs.client.breaker import Outcome
from azfilesfs.client.requests import Call
from azfilesfs.client.schedule import Verdict


def outcome_of(error: errors.AzureFilesError, call: Call) -> tuple[Outcome, str | None]:
    """Return what a failure says about the service's health, and the one thing that it may concern.

    A request that was sent and not answered may be the fault of its file alone: one for the bytes
    of a file says nothing, others count once for each path.
    """
    if isinstance(error, errors.Timeout) and error.may_have_been_applied:
        is_content = bool(call.reads or call.body)
        return Outcome.NEUTRAL if is_content else Outcome.FAILURE, call.shown_path
    failures = (
        errors.ConnectionFailed,
        errors.DnsResolutionFailed,
        errors.Timeout,
        errors.InternalError,
        errors.OperationTimedOut,
    )
    if isinstance(error, failures):
        return Outcome.FAILURE, None
    is_answer = error.status is not None and error.status < 429
    return Outcome.SUCCESS if is_answer else Outcome.NEUTRAL, None


def verdict_of(error: errors.AzureFilesError | None, *, is_answered: bool) -> Verdict:
    """Return what an attempt says about the service's load."""
    if isinstance(error, (errors.ServerBusy, errors.ServiceUnavailable)):
        return Verdict.THROTTLED
    return Verdict.ANSWERED if is_answered else Verdict.NOTHING
