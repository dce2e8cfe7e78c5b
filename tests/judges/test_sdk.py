"""The official SDK as a judge of the emulator."""

import hashlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests import features
from tests.judges.conftest import RunningEmulator

pytestmark = pytest.mark.slow
if (missing := features.sdk_missing()) is not None:
    pytest.skip(missing, allow_module_level=True)

from azure.core.exceptions import (  # noqa: E402  # only where it is installed
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.fileshare import (  # noqa: E402  # only where it is installed
    AccountSasPermissions,
    FileSasPermissions,
    ResourceTypes,
    ShareClient,
    ShareDirectoryClient,
    ShareFileClient,
    ShareLeaseClient,
    ShareSasPermissions,
    ShareServiceClient,
    generate_account_sas,
    generate_file_sas,
    generate_share_sas,
)

LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Keep the SDK from printing every request."""
    logging.getLogger("azure").setLevel(logging.WARNING)


@pytest.fixture
def service(emulator: RunningEmulator) -> Iterator[ShareServiceClient]:
    """Return the SDK's client of the account."""
    with ShareServiceClient.from_connection_string(
        emulator.connection_string,
        retry_total=0,
        allow_trailing_dot=True,
        allow_source_trailing_dot=True,
        **trust(emulator),
    ) as client:
        yield client


@pytest.fixture
def share(service: ShareServiceClient) -> ShareClient:
    """Return the SDK's client of the share."""
    return service.get_share_client("share")


def trust(emulator: RunningEmulator) -> dict[str, Any]:
    """Return the arguments that make the SDK trust the emulator's CA."""
    return {} if emulator.ca_file is None else {"connection_verify": str(emulator.ca_file)}


@contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect the service's error code."""
    with pytest.raises(HttpResponseError) as caught:
        yield
    assert getattr(caught.value, "error_code", None) == code


def test_shares_are_created_listed_and_deleted(service: ShareServiceClient) -> None:
    """Shares with metadata and quota appear in the listing, and are gone after a delete."""
    service.create_share("second", metadata={"colour": "blue"}, quota=7)

    found = {item.name: item for item in service.list_shares(include_metadata=True)}
    assert set(found) == {"share", "second"}
    assert found["second"].metadata == {"colour": "blue"}
    assert found["second"].quota == 7
    with pytest.raises(ResourceExistsError):
        service.create_share("second")

    service.delete_share("second")
    assert [item.name for item in service.list_shares()] == ["share"]


def test_upload_and_download_large_files(share: ShareClient) -> None:
    """A file of several ranges comes back as it was, whole and in parts."""
    data = os.urandom(10 * 1024 * 1024 + 17)
    file = share.get_file_client("large.bin")
    file.upload_file(data, max_concurrency=3, validate_content=True)

    assert file.download_file(max_concurrency=3).readall() == data
    assert (
        file.download_file(offset=4_000_000, length=500_000).readall() == data[4_000_000:4_500_000]
    )
    assert share.get_share_stats() == len(data)


def test_uploads_from_streams_keep_properties(share: ShareClient) -> None:
    """Content settings and metadata of an upload are shown again."""
    from azure.storage.fileshare import ContentSettings

    file = share.get_file_client("note.txt")
    digest = bytearray(hashlib.md5(b"hello").digest())
    settings = ContentSettings(
        content_type="text/plain", cache_control="no-cache", content_md5=digest
    )
    file.upload_file(io.BytesIO(b"hello"), content_settings=settings, metadata={"Mixed": "Case"})

    shown = file.get_file_properties()
    assert shown.size == 5
    assert shown.content_settings.content_type == "text/plain"
    assert shown.content_settings.cache_control == "no-cache"
    assert shown.content_settings.content_md5 == digest
    assert shown.metadata == {"Mixed": "Case"}
    file.set_file_metadata({"other": "1"})
    assert file.get_file_properties().metadata == {"other": "1"}


def test_directories_nest_and_list(share: ShareClient) -> None:
    """A tree with odd names lists in the service's order, page by page, with details."""
    names = ["b", "A", "ä %41 #+&.txt", "c d", "日本語", "😀", "dot."]
    directory = share.create_directory("tree")
    for name in names:
        share.get_directory_client(f"tree/{name}").create_directory()
    share.get_file_client("tree/file").upload_file(b"12345")

    listed = list(
        directory.list_directories_and_files(include=["timestamps", "Etag", "Attributes"])
    )

    assert {item["name"] for item in listed} == {*names, "file"}
    # The SDK puts the directories of a page first.
    shown = [item["name"] for item in listed if item["is_directory"]]
    assert shown == ["A", "b", "c d", "dot.", "ä %41 #+&.txt", "日本語", "😀"]
    assert next(item["size"] for item in listed if item["name"] == "file") == 5
    assert all(item["file_id"] and item["etag"] for item in listed)
    pages = directory.list_directories_and_files(results_per_page=3).by_page()
    sizes = [len(list(page)) for page in pages]
    assert sizes == [3, 3, 2]
    found = directory.list_directories_and_files(name_starts_with="D")
    assert [item["name"] for item in found] == ["dot."]
    with refused("DirectoryNotEmpty"):
        directory.delete_directory()


def test_missing_things_have_their_codes(share: ShareClient, service: ShareServiceClient) -> None:
    """Leaf, parent and share each have their own code."""
    with refused("ResourceNotFound"):
        share.get_file_client("nothing").get_file_properties()
    with refused("ParentNotFound"):
        share.get_file_client("no/thing").get_file_properties()
    with refused("ShareNotFound"):
        service.get_share_client("absent").get_share_properties()
    assert not share.get_file_client("nothing").exists()
    assert not share.get_directory_client("nothing").exists()


def test_ranges_are_written_cleared_and_listed(share: ShareClient) -> None:
    """Only what was written is listed; cleared parts read as zeros; past the end is refused."""
    file = share.get_file_client("sparse")
    file.create_file(16 * 1024**3)
    file.upload_range(b"x" * 1024, offset=8 * 1024**3, length=1024)
    file.upload_range(b"y" * 1024, offset=0, length=1024)
    file.clear_range(offset=512, length=512)

    written = [(part.start, part.end) for part in file.list_ranges()]
    assert written == [(0, 511), (8 * 1024**3, 8 * 1024**3 + 1023)]
    assert file.download_file(offset=0, length=1024).readall() == b"y" * 512 + bytes(512)
    file.resize_file(100)
    with pytest.raises(HttpResponseError) as caught:
        file.upload_range(b"z" * 101, offset=0, length=101)
    assert caught.value.status_code == 416


def test_renames_replace_only_when_told(share: ShareClient) -> None:
    """Files and directories move with their ids; an existing destination needs overwrite."""
    share.create_directory("old")
    share.get_file_client("old/a").upload_file(b"a")
    share.get_file_client("b").upload_file(b"b")
    before = share.get_file_client("old/a").get_file_properties().file_id

    with refused("ResourceAlreadyExists"):
        share.get_file_client("old/a").rename_file("b")
    moved = share.get_file_client("old/a").rename_file("b", overwrite=True)

    assert moved.get_file_properties().file_id == before
    assert moved.download_file().readall() == b"a"
    renamed = share.get_directory_client("old").rename_directory("new")
    assert renamed.exists()
    assert not share.get_directory_client("old").exists()


def test_file_leases_fence(share: ShareClient) -> None:
    """A lease guards writes, is changed, released and broken, and its lost id is refused."""
    file = share.get_file_client("leased")
    file.upload_file(b"1")
    lease = file.acquire_lease()

    with refused("LeaseIdMissing"):
        file.upload_range(b"2", offset=0, length=1)
    file.upload_range(b"2", offset=0, length=1, lease=lease)
    with refused("LeaseAlreadyPresent"):
        file.acquire_lease()
    old = lease.id
    lease.change("11111111-2222-3333-4444-555555555555")
    with refused("LeaseIdMismatchWithFileOperation"):
        file.upload_range(b"3", offset=0, length=1, lease=old)
    assert file.get_file_properties().lease.state == "leased"
    assert ShareLeaseClient(file).break_lease() == 0
    with refused("LeaseNotPresentWithFileOperation"):
        file.upload_range(b"4", offset=0, length=1, lease=lease)
    lease.release()
    file.delete_file()


def test_share_leases_have_durations(share: ShareClient) -> None:
    """A share lease is renewed, guards the share's deletion, and is released."""
    lease = share.acquire_lease(lease_duration=15)
    lease.renew()
    assert share.get_share_properties().lease.duration == "fixed"
    with refused("LeaseIdMissing"):
        share.delete_share()
    with refused("InvalidHeaderValue"):
        share.acquire_lease(lease_duration=10)
    lease.release()
    assert share.get_share_properties().lease.state == "available"


def test_snapshots_keep_the_past(share: ShareClient, service: ShareServiceClient) -> None:
    """A snapshot shows the files as they were, lists and reads, and cannot be written."""
    file = share.get_file_client("diary")
    file.upload_file(b"yesterday")
    snapshot = share.create_snapshot()
    file.upload_file(b"today!")
    file.upload_range(b"T", offset=0, length=1)

    past = service.get_share_client("share", snapshot=snapshot["snapshot"])
    assert past.get_file_client("diary").download_file().readall() == b"yesterday"
    assert [item["name"] for item in past.list_directories_and_files()] == ["diary"]
    assert file.download_file().readall() == b"Today!"
    with pytest.raises(HttpResponseError):
        past.get_file_client("diary").upload_range(b"x", offset=0, length=1)
    with refused("ShareHasSnapshots"):
        share.delete_share()
    past.delete_share()


def test_copies_stay_in_the_service(share: ShareClient, service: ShareServiceClient) -> None:
    """Copy File, and ranges copied from a URL between shares."""
    data = os.urandom(3000)
    source = share.get_file_client("source")
    source.upload_file(data, metadata={"kept": "yes"})
    service.create_share("other")
    target = service.get_share_client("other").get_file_client("target")

    assert target.start_copy_from_url(source.url)["copy_status"] == "success"
    assert target.download_file().readall() == data
    assert target.get_file_properties().metadata == {"kept": "yes"}
    with refused("NoPendingCopyOperation"):
        target.abort_copy(target.get_file_properties().copy.id)
    token = generate_file_sas(
        DEFAULT_ACCOUNT, "share", ["source"], DEFAULT_KEY, permission="r", expiry=LATER
    )
    target.upload_range_from_url(f"{source.url}?{token}", offset=1000, length=500, source_offset=0)
    assert target.download_file().readall() == data[:1000] + data[:500] + data[1500:]


def test_share_sas_allows_what_it_says(emulator: RunningEmulator, share: ShareClient) -> None:
    """A read-only share SAS lists and reads files, and neither writes nor sees the share itself."""
    share.get_file_client("public").upload_file(b"read me")
    token = generate_share_sas(
        DEFAULT_ACCOUNT,
        "share",
        DEFAULT_KEY,
        permission=ShareSasPermissions(read=True, list=True),
        expiry=LATER,
        protocol="https,http",
    )
    with ShareClient(
        emulator.account_url, "share", credential=token, retry_total=0, **trust(emulator)
    ) as client:
        assert [item["name"] for item in client.list_directories_and_files()] == ["public"]
        assert client.get_file_client("public").download_file().readall() == b"read me"
        with refused("AuthorizationPermissionMismatch"):
            client.get_file_client("new").upload_file(b"x")
        with refused("AuthorizationFailure"):
            client.get_share_properties()


def test_file_and_account_sas(emulator: RunningEmulator, share: ShareClient) -> None:
    """A file SAS opens its file only, an account SAS its resource types; expiry counts."""
    share.get_file_client("mine").upload_file(b"mine")
    token = generate_file_sas(
        DEFAULT_ACCOUNT,
        "share",
        ["mine"],
        DEFAULT_KEY,
        permission=FileSasPermissions(read=True, write=True),
        expiry=LATER,
        content_type="text/x-mine",
    )
    options = {"retry_total": 0, **trust(emulator)}
    with ShareFileClient(
        emulator.account_url, "share", "mine", credential=token, **options
    ) as file:
        assert file.download_file().readall() == b"mine"
        assert file.get_file_properties().content_settings.content_type == "text/x-mine"
    with (
        ShareFileClient(
            emulator.account_url, "share", "other", credential=token, **options
        ) as file,
        refused("AuthenticationFailed"),
    ):
        file.get_file_properties()
    for expiry, code in (
        (LATER, "AuthorizationResourceTypeMismatch"),
        (None, "AuthenticationFailed"),
    ):
        account_token = generate_account_sas(
            DEFAULT_ACCOUNT,
            DEFAULT_KEY,
            ResourceTypes(container=True),
            AccountSasPermissions(read=True, list=True),
            expiry or datetime.now(UTC) - timedelta(minutes=1),
        )
        with (
            ShareDirectoryClient(
                emulator.account_url, "share", "", credential=account_token, **options
            ) as root,
            refused(code),
        ):
            root.get_directory_properties()


def test_stored_policies_limit_a_sas(emulator: RunningEmulator, share: ShareClient) -> None:
    """A SAS that names a policy has the policy's permission, and dies with the policy."""
    from azure.storage.fileshare import AccessPolicy

    share.get_file_client("f").upload_file(b"f")
    share.set_share_access_policy(
        {"reader": AccessPolicy(permission="r", expiry=LATER, start=LATER - timedelta(hours=2))}
    )
    token = generate_share_sas(DEFAULT_ACCOUNT, "share", DEFAULT_KEY, policy_id="reader")
    with ShareFileClient(
        emulator.account_url, "share", "f", credential=token, retry_total=0, **trust(emulator)
    ) as file:
        assert file.download_file().readall() == b"f"
        share.set_share_access_policy({})
        with refused("AuthenticationFailed"):
            file.get_file_properties()


def test_a_wrong_key_is_refused(emulator: RunningEmulator) -> None:
    """Another key's signature does not match."""
    with (
        ShareServiceClient(
            emulator.account_url,
            credential={"account_name": DEFAULT_ACCOUNT, "account_key": "d3Jvbmc="},
            retry_total=0,
            **trust(emulator),
        ) as client,
        refused("AuthenticationFailed"),
    ):
        client.get_service_properties()


def test_permissions_and_service_properties(
    share: ShareClient, service: ShareServiceClient
) -> None:
    """Permissions are stored under keys; service properties are kept; handles are never open."""
    sddl = "O:S-1-5-32-544G:S-1-5-18D:(A;;FA;;;SY)"
    key = share.create_permission_for_share(sddl) or ""
    assert share.get_permission_for_share(key).startswith(sddl)
    file = share.get_file_client("guarded")
    file.create_file(1, permission_key=key)
    assert file.get_file_properties().permission_key == key
    assert service.get_service_properties()["cors"] == []
    assert list(share.get_directory_client("").list_handles()) == []
    assert file.close_all_handles() == {"closed_handles_count": 0, "failed_handles_count": 0}


def test_deleted_shares_come_back(service: ShareServiceClient) -> None:
    """A deleted share is listed as deleted and can be restored with its files."""
    service.create_share("phoenix").get_file_client("f").upload_file(b"ash")
    service.delete_share("phoenix")
    with pytest.raises(ResourceNotFoundError):
        service.get_share_client("phoenix").get_share_properties()
    gone = next(item for item in service.list_shares(include_deleted=True) if item.deleted)

    service.undelete_share(gone.name, gone.version or "")

    back = service.get_share_client("phoenix").get_file_client("f")
    assert back.download_file().readall() == b"ash"
