"""Contract: leases on files, as the tables of the service have them."""

import uuid

import pytest

from azfilesfs import errors
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange

FILE = SharePath.parse("file")


def guid() -> str:
    """Return a new lease id."""
    return str(uuid.uuid4())


async def test_life_of_a_lease(share):
    """Acquire, change, release: the ETag never moves, the properties show the state."""
    made = await share.create_file(FILE, 3)
    first, second = guid(), guid()

    lease = await share.acquire_file_lease(FILE, first)
    assert (lease.lease_id, lease.etag) == (first, made.etag)
    found = await share.get_file_properties(FILE)
    assert (found.lease.state, found.lease.duration) == ("leased", "infinite")
    assert (await share.acquire_file_lease(FILE, first)).lease_id == first
    with pytest.raises(errors.LeaseAlreadyPresent):
        await share.acquire_file_lease(FILE)

    assert (await share.change_file_lease(FILE, first, second)).lease_id == second
    assert (await share.change_file_lease(FILE, first, second)).lease_id == second
    with pytest.raises(errors.LeaseError):
        await share.change_file_lease(FILE, first, guid())
    with pytest.raises(errors.LeaseError):
        await share.release_file_lease(FILE, first)

    await share.release_file_lease(FILE, second)
    found = await share.get_file_properties(FILE)
    assert (found.lease.state, found.etag) == ("available", made.etag)
    with pytest.raises(errors.LeaseError):
        await share.release_file_lease(FILE, second)


async def test_what_a_lease_blocks(share):
    """Changes need the id, reads do not; a wrong id fails everywhere."""
    await share.create_file(FILE, 3)
    held, wrong = (await share.acquire_file_lease(FILE)).lease_id, guid()
    other = SharePath.parse("other")
    await share.create_file(other)

    for change in (
        share.create_file(FILE, 3),
        share.put_range(FILE, 0, b"x"),
        share.clear_range(FILE, ByteRange(0, 1)),
        share.set_file_properties(FILE, size=3),
        share.set_file_metadata(FILE, {}),
        share.delete_file(FILE),
        share.copy_file(other, FILE),
        share.rename_file(FILE, SharePath.parse("new")),
        share.rename_file(other, FILE, replace=True),
    ):
        with pytest.raises(errors.LeaseIdMissing):
            await change
    assert (await share.get_file(FILE)).data == b"\0\0\0"
    for read in (
        share.get_file(FILE, lease_id=wrong),
        share.get_file_properties(FILE, lease_id=wrong),
        share.get_file_metadata(FILE, lease_id=wrong),
        share.list_ranges(FILE, lease_id=wrong),
        share.put_range(FILE, 0, b"x", lease_id=wrong),
        share.delete_file(FILE, lease_id=wrong),
    ):
        with pytest.raises(errors.LeaseIdMismatch):
            await read

    await share.put_range(FILE, 0, b"x", lease_id=held)
    await share.set_file_properties(FILE, size=2, lease_id=held)
    await share.set_file_metadata(FILE, {"a": "b"}, lease_id=held)
    assert (await share.get_file(FILE, lease_id=held)).data == b"x\0"
    assert (await share.list_ranges(FILE, lease_id=held)).file_size == 2


async def test_a_lease_travels_with_a_rename(share):
    """The source's lease goes along, the destination's ends with the replaced file."""
    other = SharePath.parse("other")
    await share.create_file(FILE)
    await share.create_file(other)
    source = (await share.acquire_file_lease(FILE)).lease_id
    destination = (await share.acquire_file_lease(other)).lease_id

    await share.rename_file(
        FILE, other, replace=True, source_lease_id=source, destination_lease_id=destination
    )

    await share.get_file_properties(other, lease_id=source)
    await share.delete_file(other, lease_id=source)


async def test_a_broken_lease_fences(share):
    """Anyone may break; then the old id fails, and none is needed."""
    await share.create_file(FILE, 1)
    with pytest.raises(errors.LeaseNotPresent):
        await share.break_file_lease(FILE)
    held = (await share.acquire_file_lease(FILE)).lease_id

    await share.break_file_lease(FILE)

    assert (await share.get_file_properties(FILE)).lease.state == "broken"
    with pytest.raises((errors.LeaseNotPresent, errors.LeaseExpired)):
        await share.put_range(FILE, 0, b"x", lease_id=held)
    with pytest.raises((errors.LeaseNotPresent, errors.LeaseExpired)):
        await share.get_file(FILE, lease_id=held)
    await share.put_range(FILE, 0, b"x")
    await share.acquire_file_lease(FILE, retry=False)
    await share.break_file_lease(FILE)


async def test_no_lease(share):
    """A missing file cannot be leased; an id must be a GUID; a never leased file knows no id."""
    with pytest.raises(errors.FileNotFound):
        await share.acquire_file_lease(FILE)
    await share.create_file(FILE, 1)
    with pytest.raises(errors.InvalidRequest):
        await share.acquire_file_lease(FILE, "mine")
    with pytest.raises(errors.LeaseNotPresent):
        await share.get_file_properties(FILE, lease_id=guid())
    with pytest.raises(errors.LeaseError):
        await share.change_file_lease(FILE, guid(), guid(), retry=False)
