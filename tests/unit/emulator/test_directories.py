"""Directories, names and listings."""

import pytest

from azfilesfs.emulator.tree import order_key
from tests.unit.emulator.harness import (
    Caller,
    Reply,
    make_directory,
    put_file,
    rename,
)


def names(reply: Reply) -> list[str]:
    """Return the names of a listing."""
    assert reply.status == 200, reply
    return [entry.findtext("Name") or "" for entry in reply.xml.find("Entries") or ()]


async def listing(call: Caller, path: str = "", **query: str) -> Reply:
    """List a directory."""
    text = "".join(f"&{name}={value}" for name, value in query.items())
    return await call("GET", f"{path}?restype=directory&comp=list{text}")


async def test_directories_come_and_go(call: Caller) -> None:
    """Create is exclusive, delete wants an empty directory, the root stays."""
    made = await make_directory(call, "d", ms_meta_a="1")
    assert (made.status, made.headers["x-ms-file-attributes"]) == (201, "Directory")
    assert (await make_directory(call, "D")).code == "ResourceAlreadyExists"
    await put_file(call, "d/f")
    assert (await make_directory(call, "d/F")).code == "ResourceAlreadyExists"
    shown = await call("GET", "d?restype=directory")
    assert shown.headers["x-ms-meta-a"] == "1"
    assert "x-ms-lease-state" not in shown.headers
    assert (await call("DELETE", "d?restype=directory")).code == "DirectoryNotEmpty"
    await call("DELETE", "d/f")
    assert (await call("DELETE", "d?restype=directory")).status == 202
    assert (await call("DELETE", "d?restype=directory")).code == "ResourceNotFound"
    refused = await call("DELETE", "/share?restype=directory")
    assert (refused.status, refused.code) == (409, "CannotDeleteFileOrDirectory")
    assert (await make_directory(call, "/share")).code == "ResourceAlreadyExists"


async def test_set_directory_properties(call: Caller) -> None:
    """Times and attributes change; Directory stays set; the root can be changed too."""
    await make_directory(call, "d")
    call.clock.advance(1)
    reply = await call(
        "PUT",
        "d?restype=directory&comp=properties",
        ms_file_attributes="Hidden",
        ms_file_last_write_time="now",
    )
    assert reply.headers["x-ms-file-attributes"] == "Hidden | Directory"
    assert reply.headers["x-ms-file-last-write-time"].startswith("2023-11-14T22:13:21")
    root = await call("PUT", "/share?restype=directory&comp=properties")
    assert (root.status, root.headers["x-ms-file-id"]) == (200, "0")


async def test_kinds_do_not_mix(call: Caller) -> None:
    """A file is no directory: missing to readers, a mismatch to writers, no parent to anybody."""
    await put_file(call, "f")
    await make_directory(call, "d")
    for method, target, status, code in (
        ("GET", "f?restype=directory", 404, "ResourceNotFound"),
        ("HEAD", "d", 404, "ResourceNotFound"),
        ("GET", "d", 404, "ResourceNotFound"),
        ("DELETE", "f?restype=directory", 409, "ResourceTypeMismatch"),
        ("DELETE", "d", 409, "ResourceTypeMismatch"),
        ("PUT", "f/x?restype=directory", 404, "ParentNotFound"),
        ("GET", "f/x", 404, "ParentNotFound"),
        ("GET", "/none/x", 404, "ShareNotFound"),
        ("HEAD", "/share/", 400, "InvalidUri"),
        ("GET", "/share", 400, "InvalidUri"),
    ):
        reply = await call(method, target)
        assert (reply.status, reply.code) == (status, code), target
    reply = await call("PUT", "d", ms_type="file", ms_content_length="0")
    assert (reply.status, reply.code) == (409, "ResourceTypeMismatch")
    reply = await call("PUT", "new/", ms_type="file", ms_content_length="0")
    assert (reply.status, reply.code) == (400, "InvalidUri")


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        ("a%3Ab", "InvalidResourceName"),
        ("a%5Cb", "InvalidResourceName"),
        ("a%01b", "InvalidResourceName"),
        ("CON", "InvalidResourceName"),
        ("lpt1", "InvalidResourceName"),
        ("%2E%2E", "InvalidResourceName"),
        ("a//b", "InvalidResourceName"),
        ("%FF", "InvalidUri"),
        ("x" * 256, "InvalidFileOrDirectoryPathName"),
        ("/".join(["x"] * 251), "InvalidFileOrDirectoryPathName"),
        ("/".join(["x" * 200] * 11), "InvalidFileOrDirectoryPathName"),
    ],
)
async def test_names_that_the_service_forbids(call: Caller, encoded: str, code: str) -> None:
    """Forbidden characters, device names, and names or paths too long are refused."""
    reply = await make_directory(call, encoded)
    assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("a%20b", "a b"),
        ("%41", "A"),
        ("%2541", "%41"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("%23%26%3B%3D%40%5B%5D%5E%7B%7D~!%27()%24%2C", "#&;=@[]^{}~!'()$,"),
        ("%E6%97%A5%F0%9F%98%80", "日😀"),
        ("x" * 255, "x" * 255),
        ("%EF%80%81", "\uf001"),
    ],
)
async def test_names_arrive_decoded_once(call: Caller, encoded: str, name: str) -> None:
    """Percent-encoding is undone once, a plus stays a plus."""
    assert (await make_directory(call, encoded)).status == 201
    assert names(await listing(call)) == [name]


async def test_an_encoded_slash_separates(call: Caller) -> None:
    """``%2F`` is a separator, a slash at a directory's end is dropped."""
    await make_directory(call, "a")
    assert (await make_directory(call, "a%2Fb")).status == 201
    assert names(await listing(call, "a/")) == ["b"]


async def test_trailing_dots(call: Caller) -> None:
    """They are trimmed unless the header allows them, which versions before 2022-11-02 ignore."""
    await make_directory(call, "a.")
    assert names(await listing(call)) == ["a"]
    await make_directory(call, "b..", ms_allow_trailing_dot="true")
    assert names(await listing(call)) == ["a", "b.."]
    assert (await call("GET", "b..?restype=directory")).code == "ResourceNotFound"
    await put_file(call, "f.", ms_allow_trailing_dot="true")
    moved = await rename(call, "f.", "g.", ms_source_allow_trailing_dot="true")
    assert moved.status == 200
    assert "g" in names(await listing(call))
    call.version = "2021-12-02"
    await make_directory(call, "c.", ms_allow_trailing_dot="true")
    assert "c" in names(await listing(call))


async def test_listings_are_in_the_order_of_upper_case(call: Caller) -> None:
    """Files and directories intermingle, without regard to case, by UTF-16 units."""
    for name in ("b", "C", "_", "a", "%EF%BF%BD", "%F0%9F%98%80", "Z", "%C3%A9"):
        await make_directory(call, name)
    await put_file(call, "B2")
    assert names(await listing(call)) == ["a", "b", "B2", "C", "Z", "_", "é", "😀", "\ufffd"]
    assert order_key("a") == order_key("A") != order_key("b")


async def test_pages_and_markers(call: Caller) -> None:
    """Pages follow by opaque markers, also when entries come and go in between."""
    for index in range(7):
        await put_file(call, f"f{index}")
    first = await listing(call, maxresults="3")
    marker = first.xml.findtext("NextMarker") or ""
    assert (names(first), marker) == (["f0", "f1", "f2"], "1!4!ZjM-")
    assert first.xml.findtext("MaxResults") == "3"
    await call("DELETE", "f3")
    await put_file(call, "f35")
    await put_file(call, "f05")
    second = await listing(call, maxresults="3", marker=marker.replace("!", "%21"))
    assert names(second) == ["f35", "f4", "f5"]
    assert second.xml.findtext("Marker") == marker
    rest = await listing(call, marker=(second.xml.findtext("NextMarker") or ""))
    assert (names(rest), rest.xml.findtext("NextMarker")) == (["f6"], "")
    for query in ({"maxresults": "0"}, {"maxresults": "x"}, {"marker": "x"}, {"marker": "1!4!-"}):
        assert (await listing(call, **query)).status == 400
    assert len(names(await listing(call, maxresults="999999"))) == 8


async def test_prefixes(call: Caller) -> None:
    """A prefix is compared without regard to case, across pages."""
    for name in ("aa", "AB", "Ac", "b"):
        await put_file(call, name)
    reply = await listing(call, prefix="a", maxresults="2")
    assert (names(reply), reply.xml.findtext("Prefix")) == (["aa", "AB"], "a")
    marker = reply.xml.findtext("NextMarker") or ""
    assert names(await listing(call, prefix="a", marker=marker)) == ["Ac"]
    assert names(await listing(call, prefix="x")) == []


async def test_details_by_version(call: Caller) -> None:
    """Ids, times, ETag, attributes and permission key appear where asked for and known."""
    await make_directory(call, "d")
    await put_file(call, "d/f", b"123")
    include = "Timestamps,ETag,Attributes,PermissionKey"

    async def shape(version: str, **query: str) -> list[str]:
        call.version = version
        entry = (await listing(call, "d", **query)).xml.find("Entries/File")
        assert entry is not None
        return [item.tag for item in entry.iter()][1:]

    base = ["Name", "Properties", "Content-Length"]
    assert await shape("2019-02-02", include=include) == base
    assert await shape("2020-10-02") == ["Name", "FileId", "Properties", "Content-Length"]
    full = await shape("2026-10-06", include=include)
    assert full == [
        "Name",
        "FileId",
        "Properties",
        "Content-Length",
        "CreationTime",
        "LastAccessTime",
        "LastWriteTime",
        "ChangeTime",
        "Last-Modified",
        "Etag",
        "Attributes",
        "PermissionKey",
    ]
    assert "ChangeTime" not in await shape("2020-04-08", include=include)
    assert (await listing(call, "d", include="Everything")).status == 400
    root = (await listing(call, "d")).xml
    assert (root.get("DirectoryPath"), root.get("ShareName")) == ("d", "share")


async def test_names_that_xml_cannot_carry(call: Caller) -> None:
    """They are percent-encoded and marked; others are escaped."""
    await make_directory(call, "x%EF%BF%BF")
    await make_directory(call, "a%26b")
    reply = await listing(call)
    assert names(reply) == ["a&b", "x%EF%BF%BF"]
    entry = reply.xml.find("Entries")
    assert entry is not None
    assert [item.get("Encoded") for item in entry.iterfind("*/Name")] == [None, "true"]
    shown = await listing(call, prefix="x%EF%BF%BF")
    prefix = shown.xml.find("Prefix")
    assert prefix is not None
    assert (prefix.text, prefix.get("Encoded")) == ("x%EF%BF%BF", "true")


async def test_handles_are_never_open(call: Caller) -> None:
    """Listing and closing handles finds none, on files and directories that exist."""
    await put_file(call, "f")
    assert (await call("GET", "f?comp=listhandles")).xml.find("Entries") is not None
    closed = await call("PUT", "f?comp=forceclosehandles", ms_handle_id="*")
    assert closed.headers["x-ms-number-of-handles-closed"] == "0"
    for reply, code in (
        (await call("GET", "no?comp=listhandles"), "ResourceNotFound"),
        (await call("PUT", "no?comp=forceclosehandles", ms_handle_id="*"), "ResourceNotFound"),
        (await call("PUT", "f?comp=forceclosehandles", ms_handle_id="x"), "InvalidHeaderValue"),
        (await call("PUT", "f?comp=forceclosehandles"), "MissingRequiredHeader"),
    ):
        assert reply.code == code


async def test_many_entries(call: Caller) -> None:
    """A directory with more entries than a page lists all of them once."""
    root = call.app.service.share(call.account, "share").root
    await put_file(call, "model")
    model = root.get("model")
    assert model is not None
    import copy

    for index in range(6000):
        twin = copy.copy(model)
        twin.name, twin.id = f"n{index:05d}", index + 1000
        root.add(twin)
    found, marker = [], ""
    while True:
        reply = await listing(call, marker=marker.replace("!", "%21"))
        found += names(reply)
        marker = reply.xml.findtext("NextMarker") or ""
        if not marker:
            break
    assert len(found) == len(set(found)) == 6001


async def test_unknown_parameters(call: Caller) -> None:
    """An unknown comp names itself; a wrong verb is told apart."""
    reply = await call("PUT", "f?comp=lease1")
    assert (reply.status, reply.code) == (400, "InvalidQueryParameterValue")
    assert reply.xml.findtext("QueryParameterValue") == "lease1"
    assert (await call("DELETE", "f?comp=rangelist")).code == "UnsupportedHttpVerb"
    assert (await call("PATCH", "f")).code == "UnsupportedHttpVerb"
    assert (await call("GET", "/")).code == "InvalidUri"
