"""Contract: signatures that the library makes, accepted and confined by the service."""

from datetime import UTC, datetime, timedelta

import pytest

from azfilesfs import errors
from azfilesfs.client import (
    ShareServiceClient,
    StaticCredentials,
    narrow_sas,
    sas,
)
from azfilesfs.client.credentials import SharedKeyCredential
from azfilesfs.model.paths import SharePath

FILE = SharePath.parse("dir/file ü")
OTHER = SharePath.parse("dir/other")


def limits(**more) -> sas.SasLimits:
    """Return limits from some time ago until in an hour, http allowed for the emulator."""
    now = datetime.now(UTC)
    given = {"start": now - timedelta(minutes=20), "expiry": now + timedelta(hours=1), **more}
    return sas.SasLimits(protocols=sas.Protocols.HTTPS_AND_HTTP, **given)


@pytest.fixture
async def filled(share):
    """Return the share with a directory and two files."""
    await share.create_directory(FILE.parent)
    await share.create_file(FILE, data=b"hello")
    await share.create_file(OTHER, data=b"other")
    return share


def key_of(share) -> SharedKeyCredential:
    """Return the key that the share's client uses."""
    credential = share._pipeline._credentials.current()
    assert isinstance(credential, SharedKeyCredential)
    return credential


def opened(share, credential):
    """Open a client of the same service with a signature."""
    pipeline = share._pipeline
    return ShareServiceClient.open(
        pipeline.endpoint, StaticCredentials(credential), transport=pipeline._transport._inner
    )


async def test_reading_a_share(filled):
    """A read-only signature of a share reads and lists it, and changes nothing."""
    token = narrow_sas.read_only_share_sas(key_of(filled), filled.name, limits())
    async with opened(filled, token) as service:
        share = service.share(filled.name)
        assert (await share.get_file(FILE)).data == b"hello"
        assert len((await share.list_page(FILE.parent)).entries) == 2
        for change in (
            share.create_file(SharePath.parse("x")),
            share.put_range(FILE, 0, b"x"),
            share.delete_file(FILE),
            share.rename_file(FILE, SharePath.parse("x")),
            share.get_share_properties(),
        ):
            with pytest.raises(errors.AuthenticationError):
                await change


async def test_writing_a_share(filled):
    """A mount's signature does everything below the share, renames included."""
    token = narrow_sas.read_write_share_sas(key_of(filled), filled.name, limits())
    async with opened(filled, token) as service:
        share = service.share(filled.name)
        await share.create_directory(SharePath.parse("new"))
        await share.rename_file(FILE, SharePath.parse("new/name"))
        state = await share.copy_file(OTHER, SharePath.parse("new/copy"))
        await share.wait_for_copy(SharePath.parse("new/copy"), state.copy_id)
        await share.put_range(SharePath.parse("new/name"), 0, b"j")
        lease = await share.acquire_file_lease(OTHER)
        await share.delete_file(OTHER, lease_id=lease.lease_id)
        assert (await share.get_file(SharePath.parse("new/name"))).data == b"jello"


async def test_one_file(filled):
    """A file's signature opens that file and no other."""
    token = narrow_sas.read_only_file_sas(key_of(filled), filled.name, FILE, limits())
    async with opened(filled, token) as service:
        share = service.share(filled.name)
        assert (await share.get_file(FILE)).data == b"hello"
        for beyond in (
            share.get_file(OTHER),
            share.list_page(FILE.parent),
            share.put_range(FILE, 0, b"x"),
        ):
            with pytest.raises(errors.AuthenticationError):
                await beyond


async def test_writing_one_file(filled):
    """A writer's signature of a file writes it and cannot read it."""
    token = narrow_sas.write_file_sas(key_of(filled), filled.name, FILE, limits())
    async with opened(filled, token) as service:
        share = service.share(filled.name)
        await share.put_range(FILE, 0, b"j")
        with pytest.raises(errors.AuthenticationError):
            await share.get_file(FILE)
    assert (await filled.get_file(FILE)).data == b"jello"


async def test_an_account(filled):
    """An account's signature for listing lists the shares and reads no file."""
    token = narrow_sas.list_shares_sas(key_of(filled), limits())
    async with opened(filled, token) as service:
        assert [item.name async for item in service.list_shares(prefix=filled.name)] == [
            filled.name
        ]
        with pytest.raises(errors.AuthenticationError):
            await service.share(filled.name).get_file(FILE)


async def test_an_expired_signature(filled):
    """A signature whose time is over is refused, and named as such where the service says it."""
    past = datetime.now(UTC) - timedelta(hours=1)
    old = limits(start=past - timedelta(hours=1), expiry=past)
    token = narrow_sas.read_only_share_sas(key_of(filled), filled.name, old)
    async with opened(filled, token) as service:
        with pytest.raises((errors.ExpiredSas, errors.InvalidKey)):
            await service.share(filled.name).get_file(FILE)


async def test_a_drop_box(filled):
    """A signature that only creates makes new files and does not read them."""
    token = narrow_sas.drop_box_share_sas(key_of(filled), filled.name, limits())
    async with opened(filled, token) as service:
        share = service.share(filled.name)
        await share.create_file(SharePath.parse("dropped"), 3)
        with pytest.raises(errors.AuthenticationError):
            await share.get_file(SharePath.parse("dropped"))
        with pytest.raises(errors.AuthenticationError):
            await share.put_range(FILE, 0, b"x")
    assert (await filled.get_file_properties(SharePath.parse("dropped"))).size == 3
