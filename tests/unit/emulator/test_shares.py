"""Shares: properties, policies, permissions, snapshots, deletion; and the service itself."""

import json

import pytest

from azfilesfs.emulator.options import EmulatorOptions
from tests.unit.emulator.harness import Caller, make_caller, make_directory, put_file, read

SHARE = "/share?restype=share"


async def test_creation_and_properties(call: Caller) -> None:
    """Quota, tier, metadata and other settings are kept and shown."""
    made = await call(
        "PUT",
        "/new?restype=share",
        ms_share_quota="10",
        ms_access_tier="hot",
        ms_meta_A="1",
        ms_root_squash="NoRootSquash",
    )
    assert (made.status, made.headers.keys() >= {"etag", "last-modified"}) == (201, True)
    shown = (await call("GET", "/new?restype=share")).headers
    assert (shown["x-ms-share-quota"], shown["x-ms-access-tier"]) == ("10", "Hot")
    assert (shown["x-ms-meta-A"], shown["x-ms-root-squash"]) == ("1", "NoRootSquash")
    assert (shown["x-ms-lease-state"], shown["x-ms-has-legal-hold"]) == ("available", "false")
    assert (await call("GET", SHARE)).headers["x-ms-share-quota"] == "5120"
    again = await call("PUT", "/new?restype=share")
    assert (again.status, again.code) == (409, "ShareAlreadyExists")


@pytest.mark.parametrize(
    ("target", "headers", "code"),
    [
        ("/UPPER?restype=share", {}, "InvalidResourceName"),
        ("/a--b?restype=share", {}, "InvalidResourceName"),
        ("/new?restype=share", {"ms_share_quota": "0"}, "InvalidHeaderValue"),
        ("/new?restype=share", {"ms_share_quota": "x"}, "InvalidHeaderValue"),
        ("/new?restype=share", {"ms_access_tier": "Lukewarm"}, "InvalidHeaderValue"),
        ("/new?restype=share", {"ms_enabled_protocols": "NFS"}, "InvalidHeaderValue"),
    ],
)
async def test_malformed_creations(
    call: Caller, target: str, headers: dict[str, str], code: str
) -> None:
    """Bad names and settings are refused."""
    reply = await call("PUT", target, **headers)
    assert (reply.status, reply.code) == (400, code)


async def test_changes(call: Caller) -> None:
    """Properties and metadata are set, each with a new ETag."""
    first = (await call("GET", SHARE)).headers["etag"]
    call.clock.advance(1)
    await call("PUT", SHARE + "&comp=properties", ms_share_quota="7", ms_access_tier="Cool")
    await call("PUT", SHARE + "&comp=metadata", ms_meta_b="2")
    shown = (await call("GET", SHARE)).headers
    assert (shown["x-ms-share-quota"], shown["x-ms-access-tier"]) == ("7", "Cool")
    assert shown["etag"] != first
    metadata = await call("GET", SHARE + "&comp=metadata")
    assert metadata.headers["x-ms-meta-b"] == "2"


async def test_statistics_count_bytes(call: Caller) -> None:
    """Used bytes follow creation, growth, overwriting, copies, renames and deletion."""

    async def used() -> int:
        reply = await call("GET", SHARE + "&comp=stats")
        return int(reply.xml.findtext("ShareUsageBytes") or -1)

    await put_file(call, "a", b"12345")
    await put_file(call, "b", b"123")
    assert await used() == 8
    await call("PUT", "a?comp=properties", ms_content_length="7")
    await put_file(call, "b", b"1")
    assert await used() == 8
    url = f"https://{call.account}.file.core.windows.net/share/a"
    await call("PUT", "c", ms_copy_source=url)
    assert await used() == 15
    await call(
        "PUT", "b?comp=rename", ms_file_rename_source=url, ms_file_rename_replace_if_exists="true"
    )
    await call("DELETE", "c")
    assert await used() == 7
    call.version = "2017-04-17"
    reply = await call("GET", SHARE + "&comp=stats")
    assert reply.xml.findtext("ShareUsage") == "1"


async def test_policies(call: Caller) -> None:
    """Up to five policies are stored, with times in full."""
    entry = (
        "<SignedIdentifier><Id>{}</Id><AccessPolicy><Start>2020-01-01</Start>"
        "<Permission>r</Permission></AccessPolicy></SignedIdentifier>"
    )
    empty = "<SignedIdentifier><Id>bare</Id></SignedIdentifier>"
    body = f"<SignedIdentifiers>{entry.format('one')}{empty}</SignedIdentifiers>".encode()
    assert (await call("PUT", SHARE + "&comp=acl", body)).status == 200
    found = (await call("GET", SHARE + "&comp=acl")).xml
    assert [item.text for item in found.iter("Id")] == ["one", "bare"]
    assert found.findtext(".//Start") == "2020-01-01T00:00:00.0000000Z"

    six = "".join(entry.format(number) for number in range(6))
    for text, code in (
        (f"<SignedIdentifiers>{six}</SignedIdentifiers>", "InvalidXmlDocument"),
        ("<SignedIdentifiers>", "InvalidXmlDocument"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><SignedIdentifiers/>', "InvalidXmlDocument"),
        ("<Other/>", "InvalidXmlDocument"),
        (f"<SignedIdentifiers>{entry.format('')}</SignedIdentifiers>", "InvalidXmlNodeValue"),
        (
            body.decode().replace("2020-01-01", "soon"),
            "InvalidXmlNodeValue",
        ),
    ):
        assert (await call("PUT", SHARE + "&comp=acl", text.encode())).code == code


async def test_permissions(call: Caller) -> None:
    """A permission is stored under a key that files can be created with."""
    sddl = "O:S-1-5-32-544G:S-1-5-18D:(A;;FA;;;SY)"
    made = await call(
        "PUT", SHARE + "&comp=filepermission", json.dumps({"permission": sddl}).encode()
    )
    key = made.headers["x-ms-file-permission-key"]
    shown = await call("GET", SHARE + "&comp=filepermission", ms_file_permission_key=key)
    assert json.loads(shown.body)["permission"] == sddl + "S:NO_ACCESS_CONTROL"
    file = await put_file(call, "f", ms_file_permission_key=key)
    assert file.headers["x-ms-file-permission-key"] == key
    other = await put_file(call, "g", ms_file_permission=sddl)
    assert other.headers["x-ms-file-permission-key"] == key
    kept = await call("PUT", "g?comp=properties", ms_file_permission="preserve")
    assert kept.headers["x-ms-file-permission-key"] == key
    plain = await call("PUT", "g?comp=properties", ms_file_permission="inherit")
    assert plain.headers["x-ms-file-permission-key"] != key
    for body, code in (
        (b"{}", "InvalidInput"),
        (b"no", "InvalidInput"),
        (b'{"permission": 1}', "InvalidInput"),
        (b'{"permission": "O:x"}', "FileInvalidPermission"),
    ):
        assert (await call("PUT", SHARE + "&comp=filepermission", body)).code == code
    unknown = await call("GET", SHARE + "&comp=filepermission", ms_file_permission_key="1*2")
    assert unknown.code == "InvalidHeaderValue"


async def test_snapshots_are_for_reading(call: Caller) -> None:
    """A snapshot has files, directories and metadata of its moment, and refuses every change."""
    await make_directory(call, "d")
    await put_file(call, "d/f", b"then", ms_meta_a="1")
    taken = await call("PUT", SHARE + "&comp=snapshot", ms_meta_s="1")
    name = taken.headers["x-ms-snapshot"]
    assert name == "2023-11-14T22:13:20.0000000Z"
    assert taken.headers["etag"] == (await call("GET", SHARE)).headers["etag"]
    await put_file(call, "d/f", b"now!!")
    await call("PUT", "d/f?comp=range", b"N", ms_range="bytes=0-0", ms_write="update")
    await put_file(call, "d/g")

    at = f"sharesnapshot={name}"
    assert await read(call, f"d/f?{at}") == b"then"
    shown = await call("HEAD", f"d/f?{at}")
    assert shown.headers["x-ms-meta-a"] == "1"
    assert "x-ms-lease-state" not in shown.headers
    listed = (await call("GET", f"d?restype=directory&comp=list&{at}")).xml
    assert [item.text for item in listed.iter("Name")] == ["f"]
    assert listed.get("ShareSnapshot") == name
    assert (await call("GET", f"{SHARE}&{at}")).headers["x-ms-meta-s"] == "1"
    for method, target in (
        ("DELETE", f"d/f?{at}"),
        ("PUT", f"d/x?restype=directory&{at}"),
        ("PUT", f"d/f?comp=lease&{at}"),
        ("PUT", f"{SHARE}&comp=metadata&{at}"),
    ):
        reply = await call(method, target)
        assert (reply.status, reply.code) == (400, "InvalidQueryParameterValue")
    missing = await call("GET", "d/f?sharesnapshot=2000-01-01T00:00:00.0000000Z")
    assert (missing.status, missing.code) == (404, "ShareNotFound")


async def test_snapshots_have_names_of_their_own(call: Caller) -> None:
    """Two in one second differ; 200 are the limit; listings show them."""
    names = {
        (await call("PUT", SHARE + "&comp=snapshot")).headers["x-ms-snapshot"] for _ in range(200)
    }
    assert len(names) == 200
    assert (await call("PUT", SHARE + "&comp=snapshot")).code == "ShareSnapshotCountExceeded"
    found = (await call("GET", "/?comp=list&include=snapshots")).xml
    assert len(list(found.iter("Snapshot"))) == 200
    assert len(list((await call("GET", "/?comp=list")).xml.iter("Share"))) == 1


async def test_deletion_and_snapshots(call: Caller) -> None:
    """Snapshots, and leases on them, stand in the way unless they are included."""
    name = (await call("PUT", SHARE + "&comp=snapshot")).headers["x-ms-snapshot"]
    at = f"{SHARE}&sharesnapshot={name}"
    assert (await call("DELETE", SHARE)).code == "ShareHasSnapshots"
    await call("PUT", f"{at}&comp=lease", ms_lease_action="acquire", ms_lease_duration="-1")
    refused = await call("DELETE", SHARE, ms_delete_snapshots="include")
    assert refused.code == "DeleteShareWhenSnapshotLeased"
    assert (await call("DELETE", at)).code == "LeaseIdMissing"
    assert (await call("DELETE", SHARE, ms_delete_snapshots="all")).code == "InvalidHeaderValue"
    done = await call("DELETE", SHARE, ms_delete_snapshots="include-leased")
    assert (done.status, done.headers["x-ms-file-share-usage-bytes"]) == (202, "0")
    assert (await call("GET", "f")).code == "ShareNotFound"


async def test_a_single_snapshot_is_deleted(call: Caller) -> None:
    """Afterwards it is gone and the share is free."""
    name = (await call("PUT", SHARE + "&comp=snapshot")).headers["x-ms-snapshot"]
    assert (await call("DELETE", f"{SHARE}&sharesnapshot={name}")).status == 202
    assert (await call("GET", f"{SHARE}&sharesnapshot={name}")).code == "ShareNotFound"
    assert (await call("DELETE", SHARE)).status == 202


async def test_deleting_again_while_it_is_removed(call: Caller) -> None:
    """Recorded: for a while a second delete succeeds as well, everything else finds nothing."""
    assert (await call("DELETE", SHARE)).status == 202
    assert (await call("DELETE", SHARE)).status == 202
    assert (await call("GET", SHARE)).code == "ShareNotFound"
    call.clock.advance(31)
    assert (await call("DELETE", SHARE)).code == "ShareNotFound"


async def test_names_of_deleted_shares_can_stay_taken() -> None:
    """With ``deletion_seconds`` a new share of that name has to wait."""
    call = make_caller(deletion_seconds=30)
    await call("DELETE", SHARE)
    early = await call("PUT", SHARE)
    assert (early.status, early.code) == (409, "ShareBeingDeleted")
    call.clock.advance(31)
    assert (await call("PUT", SHARE)).status == 201


async def test_restoring_a_share(call: Caller) -> None:
    """A deleted share is listed with its version and comes back with its files."""
    await put_file(call, "f", b"kept")
    await call("DELETE", SHARE)
    listed = (await call("GET", "/?comp=list&include=deleted")).xml
    version = listed.findtext(".//Version") or ""
    assert listed.findtext(".//Deleted") == "true"
    fields = {"ms_deleted_share_name": "share", "ms_deleted_share_version": version}
    wrong = await call(
        "PUT", SHARE + "&comp=undelete", **{**fields, "ms_deleted_share_version": "01"}
    )
    assert wrong.code == "ShareNotFound"
    assert (await call("PUT", SHARE + "&comp=undelete")).code == "MissingRequiredHeader"
    assert (await call("PUT", SHARE + "&comp=undelete", **fields)).status == 201
    assert await read(call, "f") == b"kept"
    assert (await call("PUT", SHARE + "&comp=undelete", **fields)).code == "ShareAlreadyExists"


async def test_without_soft_delete_nothing_comes_back() -> None:
    """Then deleted shares are not listed and give their contents back."""
    call = make_caller(soft_delete=False)
    await put_file(call, "f", b"lost")
    await call("DELETE", SHARE)
    assert (await call("GET", "/?comp=list&include=deleted")).xml.find(".//Share") is None


async def test_listing_shares_by_pages(call: Caller) -> None:
    """Prefix, markers and details work as for directories."""
    for name in ("aaa", "aab", "bbb"):
        await call("PUT", f"/{name}?restype=share", ms_meta_k=name)
    first = (await call("GET", "/?comp=list&prefix=a&maxresults=1&include=metadata")).xml
    assert first.findtext(".//Name") == "aaa"
    assert first.findtext(".//Metadata/k") == "aaa"
    marker = (first.findtext("NextMarker") or "").replace("!", "%21")
    second = (await call("GET", f"/?comp=list&prefix=a&marker={marker}")).xml
    assert [item.text for item in second.iter("Name")] == ["aab"]
    assert second.findtext("NextMarker") == ""
    assert (await call("GET", "/?comp=list&include=all")).status == 400


async def test_service_properties(call: Caller) -> None:
    """Sections that are sent replace those that were there; rules of CORS are limited."""
    target = "/?restype=service&comp=properties"
    rule = (
        "<CorsRule><AllowedOrigins>*</AllowedOrigins><AllowedMethods>GET</AllowedMethods>"
        "<MaxAgeInSeconds>1</MaxAgeInSeconds></CorsRule>"
    )
    body = f"<StorageServiceProperties><Cors>{rule}</Cors></StorageServiceProperties>"
    assert (await call("PUT", target, body.encode())).status == 202
    shown = (await call("GET", target)).xml
    assert [item.tag for item in shown] == [
        "HourMetrics",
        "MinuteMetrics",
        "Cors",
        "ProtocolSettings",
    ]
    first = shown.find("Cors/CorsRule")
    assert first is not None
    assert [item.tag for item in first] == ["AllowedMethods", "AllowedOrigins", "MaxAgeInSeconds"]
    many = body.replace(rule, rule * 6)
    assert (await call("PUT", target, many.encode())).code == "InvalidXmlDocument"


def test_options_hide_the_key() -> None:
    """Representations of options show no account key."""
    assert "Eby8" not in repr(EmulatorOptions())
    assert "Eby8" not in repr(make_caller().app.service.accounts)
