"""Lease File: acquire, change, release, break; always infinite."""

from __future__ import annotations

import uuid

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import invalid_header, missing_header
from azfilesfs.emulator.leases import INFINITE
from azfilesfs.emulator.lookup import write_place
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service
from azfilesfs.emulator.smb import stamp_headers
from azfilesfs.emulator.tree import File
from azfilesfs.emulator.wire import is_guid


def lease_file(service: Service, request: Request) -> Answer:
    """Do what ``x-ms-lease-action`` says."""
    place = write_place(service, request)
    file = place.file(writes=True)
    action = request.required("x-ms-lease-action").lower()
    if action == "acquire":
        answer = _acquire(request, file)
    elif action == "change":
        lease_id = guid(request, "x-ms-lease-id")
        proposed = guid(request, "x-ms-proposed-lease-id")
        file.lease.change(lease_id, proposed)
        answer = Answer(200, [("x-ms-lease-id", proposed)])
    elif action == "release":
        file.lease.release(guid(request, "x-ms-lease-id"))
        answer = Answer(200)
    elif action == "break":
        file.lease.break_(optional_guid(request, "x-ms-lease-id"))
        answer = Answer(202, [("x-ms-lease-time", "0")])
    else:
        raise invalid_header("x-ms-lease-action", action)
    service.save(place.share, file)
    answer.headers += stamp_headers(file.modified)
    answer.content_length = None
    return answer


def _acquire(request: Request, file: File) -> Answer:
    duration = request.number("x-ms-lease-duration")
    if duration is None:
        raise missing_header("x-ms-lease-duration")
    if duration != INFINITE:
        raise invalid_header("x-ms-lease-duration", str(duration))
    lease_id = optional_guid(request, "x-ms-proposed-lease-id") or str(uuid.uuid4())
    file.lease.acquire(lease_id)
    return Answer(201, [("x-ms-lease-id", lease_id)])


def optional_guid(request: Request, name: str) -> str | None:
    """Return a header that is a GUID, in lower case, None where it is absent.

    Raises:
        ServiceError: InvalidHeaderValue.
    """
    value = request.header(name)
    if value is None:
        return None
    if not is_guid(value):
        raise invalid_header(name, value)
    return value.lower()


def guid(request: Request, name: str) -> str:
    """Return a header that is a GUID, in lower case.

    Raises:
        ServiceError: it is missing, or not a GUID.
    """
    value = optional_guid(request, name)
    if value is None:
        raise missing_header(name)
    return value
