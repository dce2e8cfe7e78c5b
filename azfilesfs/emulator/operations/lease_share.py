"""Lease Share: acquire, renew, change, release, break; of shares and snapshots."""

from __future__ import annotations

import uuid

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import invalid_header, missing_header
from azfilesfs.emulator.leases import INFINITE
from azfilesfs.emulator.operations.lease_file import guid, optional_guid
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service, Share
from azfilesfs.emulator.smb import stamp_headers
from azfilesfs.model.limits import SHARE_LEASE_SECONDS

MAX_BREAK_SECONDS = 60


def lease_share(service: Service, request: Request) -> Answer:
    """Do what ``x-ms-lease-action`` says."""
    share = service.share(request.account, request.share, request.snapshot)
    action = request.required("x-ms-lease-action").lower()
    now = service.clock.now()
    if action == "acquire":
        answer = _acquire(request, share, now)
    elif action == "renew":
        lease_id = guid(request, "x-ms-lease-id")
        share.lease.renew(lease_id, now)
        answer = Answer(200, [("x-ms-lease-id", lease_id)])
    elif action == "change":
        lease_id = guid(request, "x-ms-lease-id")
        proposed = guid(request, "x-ms-proposed-lease-id")
        share.lease.change(lease_id, proposed)
        answer = Answer(200, [("x-ms-lease-id", proposed)])
    elif action == "release":
        share.lease.release(guid(request, "x-ms-lease-id"))
        answer = Answer(200, [("x-ms-lease-time", "0")])
    elif action == "break":
        seconds = share.lease.break_(_break_period(request), now)
        answer = Answer(202, [("x-ms-lease-time", str(seconds))])
    else:
        raise invalid_header("x-ms-lease-action", action)
    service.store.save_share(share)
    answer.headers += stamp_headers(share.modified)
    return answer


def _acquire(request: Request, share: Share, now: int) -> Answer:
    duration = request.number("x-ms-lease-duration")
    if duration is None:
        raise missing_header("x-ms-lease-duration")
    shortest, longest = SHARE_LEASE_SECONDS
    if duration != INFINITE and not shortest <= duration <= longest:
        raise invalid_header("x-ms-lease-duration", str(duration))
    lease_id = optional_guid(request, "x-ms-proposed-lease-id") or str(uuid.uuid4())
    share.lease.acquire(lease_id, duration, now)
    return Answer(201, [("x-ms-lease-id", lease_id)])


def _break_period(request: Request) -> int | None:
    period = request.number("x-ms-lease-break-period")
    if period is not None and not 0 <= period <= MAX_BREAK_SECONDS:
        raise invalid_header("x-ms-lease-break-period", str(period))
    return period
