"""The listing: what the service sends, what versions leave out, what an attacker might send."""

from xml.sax.saxutils import escape

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client import listing as listing_module
from azfilesfs.client.listing import Listing, parse_listing
from azfilesfs.client.xml_documents import feed
from azfilesfs.errors import ProtocolError
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.properties import EntryKind
from azfilesfs.model.times import parse_iso, parse_rfc1123
from tests.unit.client.support import DATE, TIME

HEAD = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?>'
    '<EnumerationResults ServiceEndpoint="x" ShareName="s" DirectoryPath="">'
)


def page(entries: str, tail: str = "<NextMarker />", top: str = "") -> bytes:
    """Return a page with these entries."""
    return f"{HEAD}{top}<Entries>{entries}</Entries>{tail}</EnumerationResults>".encode()


def directory(properties: str) -> bytes:
    """Return a page with one directory."""
    name = "<Name>d</Name>"
    return page(f"<Directory>{name}<Properties>{properties}</Properties></Directory>")


FULL = (
    "<File><Name>a &amp; b</Name><FileId>13835128424026341376</FileId><Properties>"
    f"<Content-Length>4</Content-Length><CreationTime>{TIME}</CreationTime>"
    f"<LastAccessTime>{TIME}</LastAccessTime><LastWriteTime>{TIME}</LastWriteTime>"
    f"<ChangeTime>{TIME}</ChangeTime><Last-Modified>{DATE}</Last-Modified>"
    '<Etag>"0x8D"</Etag></Properties><Attributes>ReadOnly | Archive</Attributes>'
    "<PermissionKey>1*2</PermissionKey></File>"
)


async def test_a_full_entry():
    """Every detail that a listing can have is read."""
    listing = await parse_listing(
        page(FULL, "<NextMarker>1!8!abc-</NextMarker>", "<DirectoryId>7</DirectoryId>")
    )

    (entry,) = listing.entries
    found = entry.properties
    assert (entry.name, found.kind, found.size) == ("a & b", EntryKind.FILE, 4)
    assert found.file_id == 13835128424026341376
    assert found.etag == '"0x8D"'
    assert found.creation_time_ns == parse_iso(TIME)
    assert found.last_write_time_ns == parse_iso(TIME)
    assert found.change_time_ns == parse_iso(TIME)
    assert found.last_modified_ns == parse_rfc1123(DATE)
    assert found.attributes == FileAttributes.READ_ONLY | FileAttributes.ARCHIVE
    assert found.permission_key == "1*2"
    assert found.validator() is not None
    assert (listing.next_marker, listing.directory_id) == ("1!8!abc-", 7)


async def test_the_oldest_form():
    """Names, kinds and sizes are enough; everything else is unknown."""
    listing = await parse_listing(
        page(
            "<File><Name>f</Name><Properties><Content-Length>0</Content-Length></Properties></File>"
            "<Directory><Name>d</Name><Properties /></Directory>"
        )
    )

    assert [(entry.name, entry.properties.kind) for entry in listing.entries] == [
        ("f", EntryKind.FILE),
        ("d", EntryKind.DIRECTORY),
    ]
    assert listing.entries[0].properties.validator() is None
    assert (listing.next_marker, listing.directory_id) == (None, None)


async def test_an_etag_gets_its_quotes():
    """ETags of listings compare equal to those of headers."""
    listing = await parse_listing(directory("<Etag>0x8D</Etag>"))

    assert listing.entries[0].properties.etag == '"0x8D"'


@pytest.mark.parametrize("name", ["..", "a/b", ".", "", "CON", "a\\b"])
async def test_names_are_passed_on_as_listed(name):
    """The listing judges no name; who shows them must."""
    listing = await parse_listing(
        page(f"<Directory><Name>{escape(name)}</Name><Properties /></Directory>")
    )

    assert [name] == [entry.name for entry in listing.entries]


async def test_an_encoded_name():
    """A name that XML cannot hold arrives percent-encoded, NUL included."""
    listing = await parse_listing(
        page('<Directory><Name Encoded="true">a%00%EF%BF%BF</Name><Properties /></Directory>')
    )

    assert listing.entries[0].name == "a\0\uffff"


ENTRY = "<File><Name>f</Name>{}</File>"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>Sign in to the network</body></html>",
        b"<Error><Code>ServerBusy</Code></Error>",
        page("")[:-5],
        page("") + b"<more/>",
        page("<File><Properties><Content-Length>1</Content-Length></Properties></File>"),
        page(ENTRY.format("<Properties />")),
        page(ENTRY.format("<Properties><Content-Length>-1</Content-Length></Properties>")),
        page(ENTRY.format("<Properties><Content-Length>many</Content-Length></Properties>")),
        page(ENTRY.format(f"<Properties><Content-Length>{'9' * 30}</Content-Length></Properties>")),
        page("<Directory><Name>d</Name><FileId>x</FileId></Directory>"),
        directory("<LastWriteTime>now</LastWriteTime>"),
        directory("<LastWriteTime>2022-13-30T22:57:12Z</LastWriteTime>"),
        directory("<Last-Modified>x</Last-Modified>"),
        page("<Directory><Name>d</Name><Attributes>Odd</Attributes></Directory>"),
        page("", top="<DirectoryId>?</DirectoryId>"),
        b'<!DOCTYPE a [<!ENTITY x "y">]>' + page("")[3:],
    ],
    ids=range(17),
)
async def test_refused(data):
    """A page that is not one, or has a value that cannot be read, is a ProtocolError."""
    with pytest.raises(ProtocolError):
        await parse_listing(data)


def xml_text():
    """Texts that XML can hold."""
    return st.text(
        st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cs", "Cc"]),
        min_size=1,
    ).filter(lambda text: not {"\ufffe", "\uffff"} & set(text))


@given(st.lists(st.tuples(st.booleans(), xml_text(), st.integers(0, 2**42)), max_size=20))
def test_round_trip(entries):
    """Whatever names and sizes a page has come out as they went in, in order."""
    body = page(
        "".join(
            f"<File><Name>{escape(name)}</Name><Properties><Content-Length>{size}</Content-Length>"
            "</Properties></File>"
            if is_file
            else f"<Directory><Name>{escape(name)}</Name><Properties /></Directory>"
            for is_file, name, size in entries
        )
    )

    listing = trio.run(parse_listing, body)

    assert [(is_file, name, size if is_file else 0) for is_file, name, size in entries] == [
        (not entry.properties.is_directory, entry.name, entry.properties.size)
        for entry in listing.entries
    ]


async def test_a_long_page_lets_others_run():
    """While a full page is parsed other tasks get their turn many times."""
    body = page(FULL * 5000)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        listing = await parse_listing(body)
        nursery.cancel_scope.cancel()

    assert len(listing.entries) == 5000
    assert turns > len(body) // (128 * 1024)


def field(tag: str, *values: str) -> st.SearchStrategy[str]:
    """Return an element with one of these texts, empty in either form, or no element."""
    return st.sampled_from(["", "", f"<{tag} />", *(f"<{tag}>{value}</{tag}>" for value in values)])


ISO_TIMES = (
    "2022-11-30T22:57:12.2909957Z",
    "2022-11-30T22:57:12Z",
    "2022-11-30T22:57:60.0000000Z",
    "2022-11-30T22:57:1x.0000000Z",
    "1601-01-01T00:00:00.0000000Z",
    "9999-12-31T23:59:59.9999999Z",
    "now",
)
HTTP_TIMES = (
    "Wed, 30 Nov 2022 22:57:12 GMT",
    "Wed, 30 Nov 2022 25:57:12 GMT",
    "Wed, 30 Nov 2022 22:57:12 +0100",
    "Wed, 30 Nov 2022 2x:57:12 GMT",
)
NAMES = (
    "<Name>f</Name>",
    "<Name>\u00e4 &amp; b</Name>",
    "<Name>a&lt;&amp;lt;&quot;&gt;&apos;</Name>",
    "<Name>&#38;&amp;</Name>",
    "<Name>&odd;</Name>",
    "<Name />",
)
ODD_NAMES = ('<Name Encoded="true">a%00%EF</Name>', '<Name Encoded="false">a%00</Name>', "")
ENTRIES = st.builds(
    "<{0}>{1}{2}<Properties>{3}{4}{5}{6}{7}</Properties>{8}{9}</{0}>".format,
    st.sampled_from(["File", "File", "Directory", "Other"]),
    st.sampled_from(NAMES + ODD_NAMES),
    field("FileId", "13835128424026341376", "x", "9" * 20, "9" * 21),
    field("Content-Length", "0", "4096", "-1", "9" * 20),
    field("CreationTime", *ISO_TIMES),
    st.builds(
        "".join, st.tuples(field("LastWriteTime", *ISO_TIMES), field("ChangeTime", *ISO_TIMES))
    ),
    field("Last-Modified", *HTTP_TIMES),
    field("Etag", '"0x8DAD327EC9F9E85"', "0x8D", '"other"', "&quot;0x1&quot;"),
    field("Attributes", "Archive", "ReadOnly | Hidden", "Odd"),
    field("PermissionKey", "1*2"),
)


@given(
    st.lists(ENTRIES, max_size=4), st.sampled_from(["", "<Marker>m</Marker>", "<Odd/>", "<!-- -->"])
)
def test_the_pattern_reads_what_the_parser_reads(entries, top):
    """With the pattern and without it a page says the same, or is refused."""
    body = page("".join(entries), top=top)

    async def nothing(data: bytes) -> tuple[list, bytes]:
        return [], data

    def read() -> Listing | None:
        try:
            return trio.run(parse_listing, body)
        except ProtocolError:
            return None

    found = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing_module, "_usual_entries", nothing)
        assert read() == found


async def test_entries_of_the_usual_form_are_spared_the_parser(monkeypatch):
    """The parser gets what stands around the entries; an odd one is left to it."""
    fed: list[bytes] = []

    def noting(parser, data, *, is_final: bool) -> None:
        fed.append(bytes(data))
        feed(parser, data, is_final=is_final)

    monkeypatch.setattr(listing_module, "feed", noting)
    listing = await parse_listing(page(FULL * 100))
    assert len(listing.entries) == 100
    assert len(b"".join(fed)) < 500
    fed.clear()
    odd = (
        "<File><Name>&#38;</Name><Properties><Content-Length>1</Content-Length></Properties></File>"
    )
    listing = await parse_listing(page(FULL * 100 + odd + FULL))
    assert [entry.name for entry in listing.entries][-2] == "&"
    assert len(listing.entries) == 102
