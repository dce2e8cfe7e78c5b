"""Changes behind a fence: asked before each attempt; and the lease ids of changes left in doubt."""

import contextlib

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import ClientOptions, HttpResponse, RetryPolicy
from azfilesfs.model.paths import SharePath
from tests.unit.client.support import CHANGED, answer, refusal, scripted, shown_file

PATH = SharePath.parse("file")
LEASE = "2f0d0a5c-6d6b-4d0c-9d52-1f8c2c9c2a10"
CUT = ConnectionResetError("cut")
STEADY = ClientOptions(retry=RetryPolicy(jitter=0.0))


class Fence:
    """Counts how often it is asked, and closes after some time."""

    def __init__(self, opens: int = 1000) -> None:
        """Let that many through."""
        self.asked = 0
        self.opens = opens

    async def __call__(self) -> None:
        """Let an attempt through, or not."""
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.asked > self.opens:
            raise errors.LeaseExpired("closed")


async def test_each_attempt_at_a_change_is_asked_for(autojump_clock):
    """A repetition passes the fence again; a read never does."""
    fence = Fence()
    steps = [refusal(503, "ServerBusy"), answer(201, CHANGED), shown_file(3)]
    async with scripted(steps, STEADY) as (share, _):
        fenced = share.fenced(fence)
        await fenced.put_range(PATH, 0, b"x")
        await fenced.get_file_properties(PATH)
        assert fence.asked == 2


async def test_a_closed_fence_sends_nothing(autojump_clock):
    """What the fence raises ends the call before anything goes out, also between attempts."""
    async with scripted([refusal(503, "ServerBusy")], STEADY) as (share, script):
        with pytest.raises(errors.LeaseExpired) as caught:
            await share.fenced(Fence(opens=1)).put_range(PATH, 0, b"x")
        assert len(script.requests) == 1
        assert not caught.value.may_have_been_applied


async def test_a_lost_answer_leaves_the_lease_in_doubt_although_repeated(autojump_clock):
    """The first request may still arrive, whatever its repetition was answered."""
    async with scripted([CUT, answer(201, CHANGED)], STEADY) as (share, _):
        fenced = share.fenced(Fence())
        await fenced.put_range(PATH, 0, b"x", lease_id=LEASE)
        assert fenced.is_in_doubt(LEASE)
        fenced.forget_doubt(LEASE)
        assert not fenced.is_in_doubt(LEASE)


@pytest.mark.parametrize("step", [refusal(412, "LeaseIdMismatchWithFileOperation"), CHANGED])
async def test_an_answer_leaves_no_doubt(step, autojump_clock):
    """What was answered once, either way, does not arrive again."""
    step = step if isinstance(step, HttpResponse) else answer(201, step)
    async with scripted([step], STEADY) as (share, _):
        fenced = share.fenced(Fence())
        with contextlib.suppress(errors.LeaseIdMismatch):
            await fenced.put_range(PATH, 0, b"x", lease_id=LEASE)
        assert not fenced.is_in_doubt(LEASE)


async def test_a_change_that_nobody_waits_for_is_in_doubt(autojump_clock):
    """A cancelled request may be on its way; one that waits at the fence counts as well."""
    async with scripted([answer(201, CHANGED)], STEADY) as (share, _):

        async def hang() -> None:
            await trio.sleep_forever()

        with trio.move_on_after(1):
            await share.fenced(hang).put_range(PATH, 0, b"x", lease_id=LEASE)
        # In flight as far as the pipeline knows: doubt errs on the safe side.
        assert share.is_in_doubt(LEASE)


async def test_requests_without_a_fence_are_not_watched(autojump_clock):
    """Whoever holds leases by hand judges by the error alone; nothing is collected for them."""
    async with scripted([CUT, answer(201, CHANGED)], STEADY) as (share, _):
        await share.put_range(PATH, 0, b"x", lease_id=LEASE)
        assert not share.is_in_doubt(LEASE)
