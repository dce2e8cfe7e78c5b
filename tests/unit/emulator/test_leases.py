"""Leases of files and shares, by the tables of the REST reference."""

import pytest

from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.leases import FileLease, ShareLease
from tests.unit.emulator.harness import Caller, lease, put_file, put_range

A, B, C = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "abc")


def state_of(state: str) -> FileLease:
    """Return a file lease in a state, by A where it had one."""
    return FileLease() if state == "available" else FileLease(state, A)


def outcome(found: FileLease | ShareLease, action: str, arguments: tuple[object, ...]) -> str:
    """Return the state after an action, or the code of its refusal, which is always 409."""
    try:
        getattr(found, action)(*arguments)
    except ServiceError as error:
        return error.code if error.status == 409 else str(error.status)
    return found.state


@pytest.mark.parametrize(
    ("state", "action", "arguments", "expected"),
    [
        ("available", "acquire", (A,), "leased"),
        ("leased", "acquire", (A,), "leased"),
        ("leased", "acquire", (B,), "LeaseAlreadyPresent"),
        ("broken", "acquire", (B,), "leased"),
        ("available", "change", (A, B), "LeaseNotPresentWithLeaseOperation"),
        ("leased", "change", (A, B), "leased"),
        ("leased", "change", (B, A), "leased"),
        ("leased", "change", (B, C), "LeaseIdMismatchWithLeaseOperation"),
        ("broken", "change", (A, B), "LeaseNotPresentWithLeaseOperation"),
        ("available", "release", (A,), "LeaseNotPresentWithLeaseOperation"),
        ("leased", "release", (A,), "available"),
        ("leased", "release", (B,), "LeaseIdMismatchWithLeaseOperation"),
        ("broken", "release", (A,), "available"),
        ("broken", "release", (B,), "LeaseIdMismatchWithLeaseOperation"),
        ("available", "break_", (None,), "LeaseNotPresentWithLeaseOperation"),
        ("leased", "break_", (None,), "broken"),
        ("leased", "break_", (B,), "LeaseIdMismatchWithLeaseOperation"),
        ("broken", "break_", (None,), "broken"),
    ],
)
def test_operations_on_a_file_lease(
    state: str, action: str, arguments: tuple[str | None, ...], expected: str
) -> None:
    """Each action in each state ends in a state or in its error code."""
    found = state_of(state)
    assert outcome(found, action, arguments) == expected


@pytest.mark.parametrize(
    ("state", "sent", "write_code", "read_code"),
    [
        ("available", None, None, None),
        ("leased", None, "LeaseIdMissing", None),
        ("leased", B, "LeaseIdMismatchWithFileOperation", "LeaseIdMismatchWithFileOperation"),
        ("leased", A, None, None),
        ("broken", None, None, None),
        ("broken", A, "LeaseNotPresentWithFileOperation", "LeaseNotPresentWithFileOperation"),
        ("available", A, "LeaseNotPresentWithFileOperation", "LeaseNotPresentWithFileOperation"),
    ],
)
def test_what_a_file_lease_blocks(
    state: str, sent: str | None, write_code: str | None, read_code: str | None
) -> None:
    """Reads need no id; a wrong or lost id is refused for reads and writes."""
    for writes, code in ((True, write_code), (False, read_code)):
        if code is None:
            state_of(state).check(sent, writes=writes)
        else:
            with pytest.raises(ServiceError) as caught:
                state_of(state).check(sent, writes=writes)
            assert (caught.value.code, caught.value.status) == (code, 412)


SECOND = 1_000_000_000
ABSENT = "LeaseNotPresentWithLeaseOperation"


def share_state(state: str) -> ShareLease:
    """Return a share lease in a state at time 0, by A where it had one."""
    found = ShareLease()
    if state == "available":
        return found
    found.acquire(A, 15, 0)
    if state == "expired":
        found.settle(15 * SECOND)
    elif state == "breaking":
        found.break_(10, 0)
    elif state == "broken":
        found.break_(0, 0)
    assert found.state == state
    return found


@pytest.mark.parametrize(
    ("action", "arguments", "expected"),
    [
        ("acquire", (B, 15, 0), "leased LeaseAlreadyPresent LeaseAlreadyPresent leased leased"),
        (
            "acquire",
            (A, 15, 0),
            "leased leased LeaseIsBreakingAndCannotBeAcquired leased leased",
        ),
        (
            "renew",
            (A, 0),
            f"{ABSENT} leased{' LeaseIsBrokenAndCannotBeRenewed' * 2} leased",
        ),
        (
            "renew",
            (B, 0),
            "LeaseNotPresentWithLeaseOperation" + " LeaseIdMismatchWithLeaseOperation" * 4,
        ),
        (
            "change",
            (A, B),
            f"{ABSENT} leased LeaseIsBreakingAndCannotBeChanged {ABSENT} {ABSENT}",
        ),
        ("release", (A,), "LeaseNotPresentWithLeaseOperation" + " available" * 4),
        ("break_", (0, 0), "LeaseNotPresentWithLeaseOperation" + " broken" * 4),
        (
            "break_",
            (5, 0),
            "LeaseNotPresentWithLeaseOperation breaking breaking broken broken",
        ),
    ],
)
def test_operations_on_a_share_lease(
    action: str, arguments: tuple[object, ...], expected: str
) -> None:
    """Each action in each of the five states ends in a state or in its error code."""
    states = ("available", "leased", "breaking", "broken", "expired")
    for state, wanted in zip(states, expected.split(), strict=True):
        assert outcome(share_state(state), action, arguments) == wanted, state


def test_breaking_a_share_lease_takes_its_time() -> None:
    """A fixed lease breaks after its rest, an infinite one at once, a period shortens only."""
    fixed = share_state("leased")
    assert fixed.break_(None, 5 * SECOND) == 10
    assert fixed.break_(60, 6 * SECOND) == 9
    fixed.settle(15 * SECOND)
    assert fixed.state == "broken"
    infinite = ShareLease()
    infinite.acquire(A, -1, 0)
    assert infinite.kind == "infinite"
    assert infinite.break_(7, 0) == 7
    assert dict(infinite.headers()) == {
        "x-ms-lease-status": "locked",
        "x-ms-lease-state": "breaking",
    }


def test_what_a_share_lease_blocks() -> None:
    """Missing, wrong, lost and superfluous ids have codes of their own."""
    for state, sent, code in (
        ("leased", None, "LeaseIdMissing"),
        ("leased", B, "LeaseIdMismatchWithContainerOperation"),
        ("expired", A, "LeaseLost"),
        ("broken", A, "LeaseLost"),
        ("available", A, "LeaseNotPresentWithContainerOperation"),
    ):
        with pytest.raises(ServiceError) as caught:
            share_state(state).check(sent, writes=True)
        assert (caught.value.code, caught.value.status) == (code, 412)
    share_state("leased").check(None, writes=False)
    share_state("leased").check(A, writes=True)
    share_state("expired").check(None, writes=True)


async def test_lease_answers_of_a_file(call: Caller) -> None:
    """Statuses and headers are those of the service; ETag and times do not change."""
    created = await put_file(call, "f", b"1")
    taken = await lease(call, "f", "acquire", ms_lease_duration="-1", ms_proposed_lease_id=A)
    assert (taken.status, taken.headers["x-ms-lease-id"]) == (201, A)
    assert taken.headers["etag"] == created.headers["etag"]
    shown = await call("HEAD", "f")
    assert shown.headers["x-ms-lease-duration"] == "infinite"
    changed = await lease(call, "f", "change", ms_lease_id=A, ms_proposed_lease_id=B.upper())
    assert (changed.status, changed.headers["x-ms-lease-id"]) == (200, B)
    broken = await lease(call, "f", "break")
    assert (broken.status, broken.headers["x-ms-lease-time"]) == (202, "0")
    assert (await call("HEAD", "f")).headers["x-ms-lease-state"] == "broken"
    released = await lease(call, "f", "release", ms_lease_id=B)
    assert released.status == 200
    assert (await call("HEAD", "f")).headers["etag"] == created.headers["etag"]


@pytest.mark.parametrize(
    ("action", "headers", "code"),
    [
        ("acquire", {}, "MissingRequiredHeader"),
        ("acquire", {"ms_lease_duration": "15"}, "InvalidHeaderValue"),
        ("acquire", {"ms_lease_duration": "-1", "ms_proposed_lease_id": "x"}, "InvalidHeaderValue"),
        ("renew", {"ms_lease_id": A}, "InvalidHeaderValue"),
        ("release", {}, "MissingRequiredHeader"),
    ],
)
async def test_malformed_lease_requests(
    call: Caller, action: str, headers: dict[str, str], code: str
) -> None:
    """Durations, ids and actions that files do not have are refused."""
    await put_file(call, "f")
    reply = await lease(call, "f", action, **headers)
    assert (reply.status, reply.code) == (400, code)


async def test_a_lease_survives_overwriting_and_travels_with_a_rename(call: Caller) -> None:
    """Overwriting needs the id and keeps the lease; a missing file refuses ids."""
    await put_file(call, "f", b"1")
    await lease(call, "f", "acquire", ms_lease_duration="-1", ms_proposed_lease_id=A)

    refused = await call("PUT", "f", ms_type="file", ms_content_length="0")
    assert (refused.status, refused.code) == (412, "LeaseIdMissing")
    await put_file(call, "f", b"", ms_lease_id=A)
    assert (await call("HEAD", "f")).headers["x-ms-lease-state"] == "leased"
    stray = await call("PUT", "new", ms_type="file", ms_content_length="0", ms_lease_id=A)
    assert stray.status == 412
    lost = await put_range(call, "f", 0, b"x", ms_lease_id=B)
    assert (lost.status, lost.code) == (412, "LeaseIdMismatchWithFileOperation")


async def test_share_leases_over_the_wire(call: Caller) -> None:
    """Acquire, renew, expiry by the service's clock, break with a period, release."""
    path = "/share?restype=share&comp=lease"
    taken = await call("PUT", path, ms_lease_action="acquire", ms_lease_duration="15")
    lease_id = taken.headers["x-ms-lease-id"]
    assert (await call("DELETE", "/share?restype=share")).code == "LeaseIdMissing"
    call.clock.advance(14)
    renewed = await call("PUT", path, ms_lease_action="renew", ms_lease_id=lease_id)
    assert renewed.status == 200
    call.clock.advance(14)
    assert (await call("GET", "/share?restype=share")).headers["x-ms-lease-state"] == "leased"
    call.clock.advance(2)
    assert (await call("GET", "/share?restype=share")).headers["x-ms-lease-state"] == "expired"
    lost = await call("PUT", "/share?restype=share&comp=metadata", ms_lease_id=lease_id)
    assert (lost.status, lost.code) == (412, "LeaseLost")
    await call("PUT", path, ms_lease_action="renew", ms_lease_id=lease_id)
    changed = await call(
        "PUT", path, ms_lease_action="change", ms_lease_id=lease_id, ms_proposed_lease_id=A
    )
    assert changed.headers["x-ms-lease-id"] == A
    broken = await call("PUT", path, ms_lease_action="break", ms_lease_break_period="0")
    assert (broken.status, broken.headers["x-ms-lease-time"]) == (202, "0")
    released = await call("PUT", path, ms_lease_action="release", ms_lease_id=A)
    assert released.headers["x-ms-lease-time"] == "0"


@pytest.mark.parametrize("duration", ["-10", "10", "70"])
async def test_share_leases_last_15_to_60_seconds(call: Caller, duration: str) -> None:
    """Other durations are refused, and so are other break periods and actions."""
    path = "/share?restype=share&comp=lease"
    reply = await call("PUT", path, ms_lease_action="acquire", ms_lease_duration=duration)
    assert (reply.status, reply.code) == (400, "InvalidHeaderValue")
    reply = await call("PUT", path, ms_lease_action="break", ms_lease_break_period="61")
    assert (reply.status, reply.code) == (400, "InvalidHeaderValue")
    assert (await call("PUT", path, ms_lease_action="steal")).code == "InvalidHeaderValue"
    assert (await call("PUT", path, ms_lease_action="acquire")).code == "MissingRequiredHeader"
