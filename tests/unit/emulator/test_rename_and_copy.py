"""Rename, Copy File and Put Range From URL."""

import pytest

from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests.unit.emulator import signing
from tests.unit.emulator.harness import (
    Caller,
    Reply,
    lease,
    make_caller,
    make_directory,
    put_file,
    read,
    rename,
)

A = "aaaaaaaa-0000-0000-0000-000000000000"
HOST = f"https://{DEFAULT_ACCOUNT}.file.core.windows.net"


async def rename_directory(call: Caller, source: str, target: str, **headers: str) -> Reply:
    """Rename a directory."""
    url = f"{HOST}/{call.share}/{source}"
    target += "?restype=directory&comp=rename"
    return await call("PUT", target, ms_file_rename_source=url, **headers)


async def test_a_rename_keeps_id_and_content(call: Caller) -> None:
    """Without replace an existing destination refuses; with it the destination is replaced."""
    await put_file(call, "a%20%26", b"source", ms_meta_kept="1")
    await put_file(call, "b", b"destination")
    source = (await call("HEAD", "a%20%26")).headers

    refused = await rename(call, "a%20%26", "b")
    assert (refused.status, refused.code) == (409, "ResourceAlreadyExists")
    done = await rename(call, "a%20%26", "B", ms_file_rename_replace_if_exists="true")
    assert (done.status, done.headers["x-ms-file-id"]) == (200, source["x-ms-file-id"])
    assert await read(call, "b") == b"source"
    assert (await call("HEAD", "b")).headers["x-ms-meta-kept"] == "1"
    assert (await call("HEAD", "a%20%26")).status == 404
    listed = await call("GET", "?restype=directory&comp=list")
    assert [item.text for item in listed.xml.iter("Name")] == ["B"]


async def test_a_change_of_case_replaces_nothing(call: Caller) -> None:
    """The same file under another spelling is renamed without replace."""
    await put_file(call, "name", b"x")
    assert (await rename(call, "name", "NAME")).status == 200
    listed = await call("GET", "?restype=directory&comp=list")
    assert [item.text for item in listed.xml.iter("Name")] == ["NAME"]


async def test_directories_move_with_their_trees(call: Caller) -> None:
    """Everything below is found under the new name, with its ids; not into itself."""
    for path in ("d", "d/e", "t"):
        await make_directory(call, path)
    await put_file(call, "d/e/f", b"deep")
    before = (await call("HEAD", "d/e/f")).headers["x-ms-file-id"]
    moved = await rename_directory(call, "d", "t/d2", ms_file_attributes="Hidden")
    assert moved.headers["x-ms-file-attributes"] == "Hidden | Directory"
    shown = (await call("HEAD", "t/d2/e/f")).headers
    assert shown["x-ms-file-id"] == before
    assert (await call("HEAD", "d/e/f")).code == "ParentNotFound"
    inside = await rename_directory(call, "t", "t/d2/x")
    assert (inside.status, inside.code) == (409, "SharingViolation")
    taken = await rename_directory(call, "t/d2/e", "t", ms_file_rename_replace_if_exists="true")
    assert taken.code == "ResourceAlreadyExists"


async def test_a_directory_may_replace_a_file(call: Caller) -> None:
    """Recorded: replace-if-exists removes a file in the way of a directory."""
    await make_directory(call, "d")
    await put_file(call, "f", b"gone")
    assert (await rename_directory(call, "d", "f")).code == "ResourceAlreadyExists"
    done = await rename_directory(call, "d", "f", ms_file_rename_replace_if_exists="true")
    assert done.status == 200
    assert (await call("GET", "f?restype=directory")).status == 200


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("no", 404, "ResourceNotFound"),
        ("no/x", 404, "ParentNotFound"),
        ("d", 409, "ResourceTypeMismatch"),
        ("f?sharesnapshot=2020-01-01T00:00:00.0000000Z", 400, "InvalidHeaderValue"),
    ],
)
async def test_sources_that_cannot_be_renamed(
    call: Caller, source: str, status: int, code: str
) -> None:
    """Missing sources, directories and snapshots are refused."""
    await make_directory(call, "d")
    await put_file(call, "f")
    reply = await rename(call, source, "new")
    assert (reply.status, reply.code) == (status, code)


async def test_malformed_sources(call: Caller) -> None:
    """The source is a URL of the same share."""
    await put_file(call, "f")
    for url, code in (
        (f"{HOST}/other/f", "InvalidHeaderValue"),
        ("f", "InvalidHeaderValue"),
        ("https://[x/f", "InvalidHeaderValue"),
        ("https://elsewhere/share/f", "InvalidHeaderValue"),
        ("", "MissingRequiredHeader"),
    ):
        reply = await call("PUT", "new?comp=rename", ms_file_rename_source=url)
        assert (reply.status, reply.code) == (400, code), url
    root = await rename_directory(call, "", "new")
    assert root.code == "InvalidHeaderValue"


async def test_leases_in_a_rename(call: Caller) -> None:
    """Both sides need their ids; the source's lease travels, the destination's dies."""
    for name in ("a", "b"):
        await put_file(call, name)
        await lease(call, name, "acquire", ms_lease_duration="-1", ms_proposed_lease_id=A)
    replace = {"ms_file_rename_replace_if_exists": "true"}
    assert (await rename(call, "a", "b", **replace)).code == "LeaseIdMissing"
    replace["ms_source_lease_id"] = A
    assert (await rename(call, "a", "b", **replace)).code == "LeaseIdMissing"
    replace["ms_destination_lease_id"] = A
    assert (await rename(call, "a", "b", **replace)).status == 200
    assert (await call("HEAD", "b", ms_lease_id=A)).status == 200
    stray = await rename(call, "b", "c", ms_source_lease_id=A, ms_destination_lease_id=A)
    assert stray.code == "LeaseNotPresentWithFileOperation"


async def test_read_only_destinations(call: Caller) -> None:
    """ReadOnly protects a destination unless it is ignored; new properties are applied."""
    await put_file(call, "a")
    await put_file(call, "b", ms_file_attributes="ReadOnly")
    replace = {"ms_file_rename_replace_if_exists": "true"}
    assert (await rename(call, "a", "b", **replace)).code == "ReadOnlyAttribute"
    done = await rename(
        call,
        "a",
        "b",
        **replace,
        ms_file_rename_ignore_readonly="true",
        ms_content_type="text/x",
        ms_meta_new="1",
        ms_file_last_write_time="2020-01-01T00:00:00.0000000Z",
    )
    assert done.headers["x-ms-file-last-write-time"] == "2020-01-01T00:00:00.0000000Z"
    shown = (await call("HEAD", "b")).headers
    assert (shown["content-type"], shown["x-ms-meta-new"]) == ("text/x", "1")


async def copy(call: Caller, source: str, target: str, **headers: str) -> Reply:
    """Copy a file."""
    return await call("PUT", target, ms_copy_source=f"{HOST}/{source}", **headers)


async def test_a_copy_is_independent(call: Caller) -> None:
    """Content, HTTP properties and metadata are copied; later changes stay apart."""
    await put_file(call, "a", b"content", ms_content_type="text/a", ms_meta_m="1")
    done = await copy(call, "share/a", "b")
    assert (done.status, done.headers["x-ms-copy-status"]) == (202, "success")
    await call("PUT", "a?comp=range", b"CC", ms_range="bytes=0-1", ms_write="update")
    assert await read(call, "b") == b"content"
    shown = (await call("HEAD", "b")).headers
    assert (shown["content-type"], shown["x-ms-meta-m"]) == ("text/a", "1")
    assert shown["x-ms-copy-id"] == done.headers["x-ms-copy-id"]
    assert (shown["x-ms-copy-progress"], shown["x-ms-copy-status"]) == ("7/7", "success")
    assert "x-ms-copy-completion-time" in shown


async def test_what_a_copy_takes_from_its_source(call: Caller) -> None:
    """``source`` takes times and attributes over, else they are as of now."""
    past = "2020-01-01T00:00:00.0000000Z"
    await put_file(
        call,
        "a",
        ms_file_creation_time=past,
        ms_file_last_write_time=past,
        ms_file_attributes="Hidden",
    )
    await copy(
        call,
        "share/a",
        "b",
        ms_file_creation_time="source",
        ms_file_last_write_time="source",
        ms_file_attributes="source",
        ms_file_permission_copy_mode="source",
        ms_meta_own="1",
    )
    shown = (await call("HEAD", "b")).headers
    assert shown["x-ms-file-creation-time"] == shown["x-ms-file-last-write-time"] == past
    assert shown["x-ms-file-attributes"] == "Hidden | Archive"
    assert shown["x-ms-meta-own"] == "1"
    await copy(call, "share/a", "c")
    shown = (await call("HEAD", "c")).headers
    assert shown["x-ms-file-creation-time"] > past
    assert shown["x-ms-file-attributes"] == "Archive"


async def test_copies_over_existing_files(call: Caller) -> None:
    """The target keeps its id, needs its lease, and is protected by ReadOnly."""
    await put_file(call, "a", b"new")
    await put_file(call, "b", b"old!")
    before = (await call("HEAD", "b")).headers["x-ms-file-id"]
    await copy(call, "share/a", "b")
    assert (await call("HEAD", "b")).headers["x-ms-file-id"] == before
    assert await read(call, "b") == b"new"
    await lease(call, "b", "acquire", ms_lease_duration="-1", ms_proposed_lease_id=A)
    assert (await copy(call, "share/a", "b")).code == "LeaseIdMissing"
    assert (await copy(call, "share/a", "b", ms_lease_id=A)).status == 202
    await put_file(call, "r", ms_file_attributes="ReadOnly")
    assert (await copy(call, "share/a", "r")).code == "ReadOnlyAttribute"
    assert (await copy(call, "share/a", "r", ms_file_copy_ignore_readonly="true")).status == 202
    await make_directory(call, "d")
    assert (await copy(call, "share/a", "d")).code == "ResourceTypeMismatch"
    stray = await copy(call, "share/a", "n", ms_lease_id=A)
    assert stray.code == "LeaseNotPresentWithFileOperation"


async def test_sources_that_cannot_be_read(call: Caller) -> None:
    """A missing source, another account and a bearer token are CannotVerifyCopySource."""
    await put_file(call, "a")
    for source, headers, status in (
        ("share/no", {}, 404),
        ("none/a", {}, 404),
        ("share/a?sv=2026-10-06&sr=f&sp=r&se=2030-01-01T00:00:00Z&sig=x", {}, 403),
        ("share/a", {"ms_copy_source_authorization": "Bearer x"}, 401),
    ):
        reply = await copy(call, source, "b", **headers)
        assert (reply.status, reply.code) == (status, "CannotVerifyCopySource"), source


async def test_a_sas_request_needs_a_sas_in_its_source(call: Caller) -> None:
    """The key of the account reads any of its files, a SAS only what it says."""
    await put_file(call, "a", b"data")
    fields = {"sp": "rcw", "se": "2023-11-14T23:13:20Z"}
    token = signing.service_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, "share", **fields)
    without = await copy(call, "share/a", "b", sas=token)
    assert (without.status, without.code) == (403, "CannotVerifyCopySource")
    assert (await copy(call, f"share/a?{token}", "b", sas=token)).status == 202


async def test_pending_copies_can_be_aborted() -> None:
    """While it is pending a copy is shown so, refuses another, and can be aborted."""
    call = make_caller(copy_seconds=10)
    await put_file(call, "a", b"data")
    started = await copy(call, "share/a", "b")
    copy_id = started.headers["x-ms-copy-id"]
    assert started.headers["x-ms-copy-status"] == "pending"
    assert (await call("HEAD", "b")).headers["x-ms-copy-progress"] == "0/4"
    assert (await copy(call, "share/a", "b")).code == "PendingCopyOperation"
    abort = {"ms_copy_action": "abort"}
    wrong = await call("PUT", f"b?comp=copy&copyid={A}", **abort)
    assert wrong.code == "InvalidQueryParameterValue"
    assert (await call("PUT", f"b?comp=copy&copyid={copy_id}")).code == "InvalidHeaderValue"
    assert (await call("PUT", f"b?comp=copy&copyid={copy_id}", **abort)).status == 204
    assert (await call("HEAD", "b")).headers["x-ms-copy-status"] == "aborted"
    again = await copy(call, "share/a", "b")
    call.clock.advance(11)
    assert (await call("HEAD", "b")).headers["x-ms-copy-status"] == "success"
    late = await call("PUT", f"b?comp=copy&copyid={again.headers['x-ms-copy-id']}", **abort)
    assert (late.status, late.code) == (409, "NoPendingCopyOperation")


def sourced(path: str, sp: str = "r") -> str:
    """Return the URL of a source with a SAS."""
    token = signing.service_sas(
        DEFAULT_ACCOUNT, DEFAULT_KEY, "share", path, sp=sp, se="2023-11-14T23:13:20Z"
    )
    return f"{HOST}/share/{path}?{token}"


async def test_ranges_from_a_url(call: Caller) -> None:
    """A range is copied from another file, its CRC64 told and compared."""
    await put_file(call, "a", b"abcdefghijklmnop" * 32)
    await call("PUT", "b", ms_type="file", ms_content_length="1024")
    fields = {"ms_write": "update", "ms_range": "bytes=512-1023", "ms_copy_source": sourced("a")}
    done = await call("PUT", "b?comp=range", **fields, ms_source_range="bytes=0-511")
    assert (done.status, done.headers["x-ms-content-crc64"]) == (201, "EZA9hgZaRrQ=")
    assert (await read(call, "b"))[512:] == b"abcdefghijklmnop" * 32
    for headers, status, code in (
        ({"ms_source_range": "bytes=0-511", "ms_source_content_crc64": "EZA9hgZaRrQ="}, 201, None),
        (
            {"ms_source_range": "bytes=0-511", "ms_source_content_crc64": "AAAAAAAAAAA="},
            400,
            "Crc64Mismatch",
        ),
        (
            {"ms_source_range": "bytes=0-511", "ms_source_if_none_match_crc64": "EZA9hgZaRrQ="},
            412,
            "Crc64ConditionNotMet",
        ),
        (
            {"ms_source_range": "bytes=0-511", "ms_source_if_match_crc64": "x"},
            400,
            "InvalidHeaderValue",
        ),
        ({"ms_source_range": "bytes=1-512"}, 409, "CannotVerifyCopySource"),
        ({"ms_source_range": "bytes=0-"}, 201, None),
        ({"ms_source_range": "bytes=0-5"}, 400, "InvalidHeaderValue"),
        ({"ms_source_range": "all"}, 400, "InvalidHeaderValue"),
        ({"ms_write": "clear"}, 400, "InvalidHeaderValue"),
        ({"ms_copy_source": f"{HOST}/share/a"}, 403, "CannotVerifyCopySource"),
        ({"ms_copy_source": sourced("a", "w")}, 403, "CannotVerifyCopySource"),
        ({"ms_range": "bytes=0-4194304"}, 413, "RequestBodyTooLarge"),
    ):
        reply = await call("PUT", "b?comp=range", **{**fields, **headers})
        assert (reply.status, reply.code) == (status, code), headers
