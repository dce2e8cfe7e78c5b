"""Files with several writers: exclusive creation, conditional update, appending."""

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import (
    ClientOptions,
    ShareServiceClient,
    StaticCredentials,
    append,
    asgi_transport,
    create_exclusively,
    held_lease,
    held_share_lease,
    update_if_unchanged,
)
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from tests.unit.client.conftest import EMULATOR, EMULATOR_CREDENTIAL

FILE = SharePath.parse("file")


async def names(share) -> list[str]:
    """Return what the root lists."""
    return [entry.name for entry in (await share.list_page(SharePath.ROOT)).entries]


async def test_exclusive_creation(share):
    """The file is there with its content, and nothing else is left."""
    made = await create_exclusively(share, FILE, b"hello")

    assert (await share.get_file(FILE)).data == b"hello"
    assert made.validator() == (await share.get_file_properties(FILE)).validator()
    assert await names(share) == ["file"]


async def test_a_taken_name(share):
    """A name that is taken stays as it was, and the temporary file goes."""
    await create_exclusively(share, FILE, b"first")

    with pytest.raises(errors.FileAlreadyExists):
        await create_exclusively(share, FILE, b"second")

    assert (await share.get_file(FILE)).data == b"first"
    assert await names(share) == ["file"]


@pytest.mark.parametrize("round_", range(5))
async def test_one_of_many_wins(round_, share):
    """Of several that create at once one succeeds, and its content is there."""
    won: list[int] = []

    async def contend(number: int) -> None:
        try:
            await create_exclusively(share, FILE, b"%d" % number)
        except errors.FileAlreadyExists:
            return
        won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(contend, number)

    assert len(won) == 1
    assert (await share.get_file(FILE)).data == b"%d" % won[0]
    assert await names(share) == ["file"]


async def test_a_large_file_on_an_old_service(app):
    """Without create-with-data, and beyond 4 MiB, the content is written before it is shown."""
    options = ClientOptions(version="2025-05-05")
    async with ShareServiceClient.open(
        EMULATOR, StaticCredentials(EMULATOR_CREDENTIAL), options, transport=asgi_transport(app)
    ) as service:
        share = service.share("data")
        data = b"x" * (RANGE_BYTES + 3)
        made = await create_exclusively(share, FILE, data)
        assert made.size == len(data)
        assert (await share.get_file(FILE)).data == data


async def test_a_lost_answer_of_the_rename(app, share, autojump_clock):
    """The file is recognised as the own one when the answer to the rename is lost."""
    app.faults.add(operation="RenameFile", cut="after", times=1)

    await create_exclusively(share, FILE, b"hello")

    assert await names(share) == ["file"]


async def test_a_cancelled_creation(app, share, autojump_clock):
    """A cancellation in the middle leaves neither the file nor the temporary one."""
    app.faults.add(operation="RenameFile", delay=100.0)

    with trio.move_on_after(10) as scope:
        await create_exclusively(share, FILE, b"hello")

    assert scope.cancelled_caught
    assert await names(share) == []


async def test_a_temporary_file_that_cannot_be_removed(app, share, autojump_clock):
    """The first failure is reported even where cleaning up fails too."""
    await share.create_file(FILE)
    app.faults.add(operation="DeleteFile", status=403, code="AuthorizationFailure")

    with pytest.raises(errors.FileAlreadyExists):
        await create_exclusively(share, FILE)


@pytest.mark.parametrize("hold_lease", [True, False])
async def test_update_of_the_known_version(hold_lease, share):
    """The known version is replaced, longer or shorter; the new version is returned."""
    await share.create_file(FILE, data=b"hello world")
    validator = (await share.get_file_properties(FILE)).validator()
    assert validator is not None

    after = await update_if_unchanged(share, FILE, validator, b"bye", hold_lease=hold_lease)

    found = await share.get_file_properties(FILE)
    assert (await share.get_file(FILE)).data == b"bye"
    assert after.validator() == found.validator() != validator
    assert not found.lease.is_leased


@pytest.mark.parametrize("hold_lease", [True, False])
async def test_update_of_another_version(hold_lease, share):
    """Another version is left alone."""
    await share.create_file(FILE, data=b"hello")
    validator = (await share.get_file_properties(FILE)).validator()
    assert validator is not None
    await share.put_range(FILE, 0, b"j")

    with pytest.raises(errors.ConditionNotMet) as caught:
        await update_if_unchanged(share, FILE, validator, b"bye", hold_lease=hold_lease)

    assert not caught.value.may_have_been_applied
    assert (await share.get_file(FILE)).data == b"jello"
    assert not (await share.get_file_properties(FILE)).lease.is_leased


async def test_a_writer_in_between_is_reported(share):
    """Without a lease, a foreign write between ours and the last look is reported."""
    await share.create_file(FILE, data=b"hello")
    validator = (await share.get_file_properties(FILE)).validator()
    assert validator is not None
    plain = share.put_range

    async def meddling(path, start, data, **more):
        answer = await plain(path, start, data, **more)
        await plain(path, 0, b"!")
        return answer

    share.put_range = meddling
    with pytest.raises(errors.ConditionNotMet) as caught:
        await update_if_unchanged(share, FILE, validator, b"bye", hold_lease=False)

    assert caught.value.may_have_been_applied


async def test_a_lease_prevents_what_is_in_between(share):
    """With the lease, nobody else writes meanwhile."""
    await share.create_file(FILE, data=b"hello")
    validator = (await share.get_file_properties(FILE)).validator()
    assert validator is not None
    plain, refused = share.put_range, []

    async def meddling(path, start, data, **more):
        try:
            await plain(path, 0, b"!")
        except errors.LeaseIdMissing as error:
            refused.append(error)
        return await plain(path, start, data, **more)

    share.put_range = meddling
    await update_if_unchanged(share, FILE, validator, b"bye")

    assert len(refused) == 1
    assert (await share.get_file(FILE)).data == b"bye"


async def test_appending(share):
    """Bytes go to the end, their offset is returned, a missing file is made."""
    assert await append(share, FILE, b"one") == 0
    assert await append(share, FILE, b"two") == 3
    assert await append(share, FILE, b"") == 6

    assert (await share.get_file(FILE)).data == b"onetwo"
    assert not (await share.get_file_properties(FILE)).lease.is_leased
    with pytest.raises(errors.ParentNotFound):
        await append(share, SharePath.parse("no/file"), b"x")


async def test_many_appenders(share, autojump_clock):
    """Of many that append at once every record is there once and whole."""

    async def add(number: int) -> None:
        await append(share, FILE, b"<%03d>" % number, wait_seconds=1000)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(add, number)

    data = (await share.get_file(FILE)).data
    assert sorted(data[at : at + 5] for at in range(0, len(data), 5)) == [
        b"<%03d>" % number for number in range(20)
    ]


async def test_waiting_for_a_lease(share, autojump_clock):
    """A lease that another holds is waited for as long as allowed."""
    await share.create_file(FILE)
    other = await share.acquire_file_lease(FILE)

    started = trio.current_time()
    with pytest.raises(errors.LeaseAlreadyPresent):
        async with held_lease(share, FILE, wait_seconds=5):
            raise AssertionError
    assert 3 < trio.current_time() - started <= 5

    async def release_later() -> None:
        await trio.sleep(20)
        await share.release_file_lease(FILE, other.lease_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_later)
        async with held_lease(share, FILE, wait_seconds=60) as lease:
            assert lease.lease_id != other.lease_id
    assert not (await share.get_file_properties(FILE)).lease.is_leased


async def test_a_lease_is_released_whatever_happens(share, autojump_clock):
    """An error or a cancellation in the block, or in acquiring, leaves no lease."""
    await share.create_file(FILE)
    with pytest.raises(ZeroDivisionError):
        async with held_lease(share, FILE):
            raise ZeroDivisionError
    with trio.move_on_after(1):
        async with held_lease(share, FILE):
            await trio.sleep_forever()
    plain = share.acquire_file_lease

    async def slow(path, proposed):
        await plain(path, proposed)
        await trio.sleep_forever()

    share.acquire_file_lease = slow
    with trio.move_on_after(1):
        async with held_lease(share, FILE):
            raise AssertionError

    assert not (await share.get_file_properties(FILE)).lease.is_leased


async def test_a_lease_that_was_broken_meanwhile(share):
    """Releasing a lease that another has broken is no error."""
    await share.create_file(FILE)
    async with held_lease(share, FILE):
        await share.break_file_lease(FILE)


async def test_a_failed_append_is_cut_back(app, share, autojump_clock):
    """Where the bytes cannot be written the file is as long as before, and free again."""
    await append(share, FILE, b"one")
    app.faults.add(operation="PutRange", status=403, code="AuthorizationFailure", times=1)

    with pytest.raises(errors.AuthorizationFailure):
        await append(share, FILE, b"two")

    found = await share.get_file_properties(FILE)
    assert (found.size, found.lease.is_leased) == (3, False)


async def test_cutting_back_may_fail_too(app, share, autojump_clock):
    """The first failure is reported even where cutting back fails."""
    await append(share, FILE, b"one")
    app.faults.add(operation="PutRange", status=403, code="AuthorizationFailure")
    app.faults.add(operation="SetFileProperties", nth=[2], status=403, code="ShareDisabled")

    with pytest.raises(errors.AuthorizationFailure):
        await append(share, FILE, b"two")


async def test_another_appender_makes_the_file(share):
    """A file that appears between the look and the creation is appended to."""
    plain = share.rename_file

    async def late(source, destination, **more):
        share.rename_file = plain
        await share.create_file(FILE, data=b"first")
        return await plain(source, destination, **more)

    share.rename_file = late

    assert await append(share, FILE, b"second") == 5
    assert (await share.get_file(FILE)).data == b"firstsecond"


async def test_a_share_lease_is_renewed(app, share, autojump_clock):
    """It is held far beyond its duration, through failures, and is free afterwards."""
    app.faults.add(operation="LeaseShare", nth=[3], status=503, code="ServerBusy")
    async with held_share_lease(share, 15) as lease:
        await trio.sleep(100)
        assert (await share.renew_share_lease(lease.lease_id)).lease_id == lease.lease_id
        with pytest.raises(errors.LeaseAlreadyPresent):
            async with held_share_lease(share, 15):
                raise AssertionError

    assert not (await share.get_share_properties()).lease.is_leased
    assert app.requests.of("LeaseShare") > 20


async def test_a_lost_share_lease(share, autojump_clock):
    """A lease that another breaks cancels the block."""
    with pytest.raises(errors.LeaseExpired):
        async with held_share_lease(share, 15):
            await share.break_share_lease(0)
            await trio.sleep_forever()


async def test_a_share_lease_that_cannot_be_renewed(app, share, autojump_clock):
    """Where the service does not answer, the block ends before the lease can be another's."""
    started = trio.current_time()
    with pytest.raises(errors.LeaseExpired):
        async with held_share_lease(share, 15):
            app.faults.add(operation="LeaseShare", status=503, code="ServerBusy")
            await trio.sleep_forever()

    assert trio.current_time() - started <= 15 + 10


async def test_the_end_of_a_share_lease(share, autojump_clock):
    """Errors and cancellations of the block come out as they are, and the lease is free."""
    with pytest.raises(ZeroDivisionError):
        async with held_share_lease(share, 15):
            raise ZeroDivisionError
    assert not (await share.get_share_properties()).lease.is_leased
    with trio.move_on_after(5) as scope:
        async with held_share_lease(share, 15):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not (await share.get_share_properties()).lease.is_leased
    for duration in (-1, 14):
        with pytest.raises(ValueError, match=r"."):
            async with held_share_lease(share, duration):
                raise AssertionError


@pytest.mark.parametrize("content_type", ["text/plain", None])
async def test_a_stored_md5_goes_with_the_first_change(share, content_type):
    """Appending and updating clear an MD5 that would be wrong; the other headers stay."""
    path = SharePath.parse("summed")
    headers = ContentHeaders(content_type=content_type, content_md5=b"\1" * 16)
    for change in ("append", "update"):
        await share.create_file(path, 3, content=headers)
        if change == "append":
            await append(share, path, b"d")
        else:
            found = await share.get_file_properties(path)
            validator = found.validator()
            assert validator is not None
            await update_if_unchanged(share, path, validator, b"other")

        content = (await share.get_file_properties(path)).content
        assert content.content_md5 is None
        assert content.content_type == (content_type or "application/octet-stream")
