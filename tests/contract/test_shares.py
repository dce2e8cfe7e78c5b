"""Contract: shares as a whole, and the leases on them."""

import uuid

import pytest

from azfilesfs import errors
from azfilesfs.model.paths import SharePath

FILE = SharePath.parse("file")


async def test_life_of_a_share(service):
    """Create, see, list, change and delete a share."""
    share = service.share(f"azfilesfs-{uuid.uuid4().hex[:20]}")
    etag = await share.create_share(2, {"purpose": "test"})
    try:
        found = await share.get_share_properties()
        assert (found.quota_gib, found.etag, found.metadata) == (2, etag, {"purpose": "test"})
        assert not found.lease.is_leased
        with pytest.raises(errors.ShareAlreadyExists):
            await share.create_share()

        assert await share.set_share_properties(quota_gib=3) != etag
        await share.set_share_metadata({"a": "b"})
        found = await share.get_share_properties()
        assert (found.quota_gib, found.metadata) == (3, {"a": "b"})

        listed = [
            item async for item in service.list_shares(prefix=share.name, include=["metadata"])
        ]
        assert [(item.name, item.quota_gib, item.metadata) for item in listed] == [
            (share.name, 3, {"a": "b"})
        ]
        assert await share.get_share_statistics() == 0
    finally:
        await share.delete_share()
    with pytest.raises((errors.ShareNotFound, errors.ShareBeingDeleted)):
        await share.get_share_properties()


async def test_a_share_that_is_not_there(service):
    """Everything below a missing share is ShareNotFound."""
    share = service.share("azfilesfs-there-is-none")

    with pytest.raises(errors.ShareNotFound):
        await share.get_directory_properties(SharePath.ROOT)
    with pytest.raises(errors.ShareNotFound):
        await share.get_file_properties(FILE)
    with pytest.raises(errors.ShareNotFound):
        await share.delete_share()


async def test_snapshots(share):
    """What a snapshot took stays readable as it was."""
    await share.create_file(FILE, 3)
    await share.put_range(FILE, 0, b"old")
    snapshot = await share.create_snapshot()
    await share.put_range(FILE, 0, b"new")

    assert (await share.get_file(FILE)).data == b"new"
    assert (await share.get_file(FILE, snapshot=snapshot)).data == b"old"
    assert (await share.get_file_properties(FILE, snapshot=snapshot)).size == 3
    page = await share.list_page(SharePath.ROOT, snapshot=snapshot)
    assert [entry.name for entry in page.entries] == ["file"]
    assert (await share.get_share_properties(snapshot=snapshot)).quota_gib == 1
    with pytest.raises(errors.ShareConflict):
        await share.delete_share()


async def test_lease_on_a_share(share):
    """Acquire for a time, renew, change, release; the holder alone may delete the share."""
    lease = await share.acquire_share_lease(15)
    assert (await share.get_share_properties()).lease.is_leased
    with pytest.raises(errors.LeaseAlreadyPresent):
        await share.acquire_share_lease(15)
    with pytest.raises(errors.LeaseIdMissing):
        await share.delete_share()

    assert (await share.renew_share_lease(lease.lease_id)).lease_id == lease.lease_id
    changed = await share.change_share_lease(lease.lease_id, str(uuid.uuid4()))
    with pytest.raises(errors.LeaseIdMismatch):
        await share.renew_share_lease(lease.lease_id)

    await share.release_share_lease(changed.lease_id)
    assert not (await share.get_share_properties()).lease.is_leased


async def test_breaking_the_lease_of_a_share(share):
    """A break takes as long as it is given; without a lease there is nothing to break."""
    with pytest.raises(errors.LeaseNotPresent):
        await share.break_share_lease()
    lease = await share.acquire_share_lease(60, str(uuid.uuid4()))

    assert 0 < await share.break_share_lease(10) <= 10
    with pytest.raises(errors.LeaseError):
        await share.acquire_share_lease(15)
    assert await share.break_share_lease(0) == 0
    with pytest.raises(errors.LeaseError):
        await share.renew_share_lease(lease.lease_id)


@pytest.mark.parametrize("duration", [0, 14, 61, -2])
async def test_durations(duration, share):
    """A share is leased for 15 to 60 seconds or for ever, nothing else."""
    with pytest.raises(ValueError, match="15 to 60"):
        await share.acquire_share_lease(duration)
    with pytest.raises(ValueError, match="0 to 60"):
        await share.break_share_lease(61)


@pytest.mark.parametrize("name", ["", "ab", "UPPER", "a--b", "-ab", "a_b", "é" * 3])
async def test_share_names(name, service):
    """A malformed share name is refused before anything is sent."""
    with pytest.raises(errors.InvalidShareName):
        service.share(name)
