"""Headers of answers: complete, partial, missing, garbled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client import responses
from azfilesfs.client.transport import WireAnswer
from azfilesfs.client.xml_documents import parse_document
from azfilesfs.errors import ProtocolError
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.properties import UNKNOWN_SIZE, EntryKind
from azfilesfs.model.times import parse_iso
from tests.unit.client.support import DATE, SHOWN, TIME


def wire_answer(headers, status=200) -> WireAnswer:
    """Return an answer with these headers."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return WireAnswer(status, lowered, tuple(headers.items()))


FULL = {
    **SHOWN,
    "Content-Type": "text/plain",
    "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Cache-Control": "no-cache",
    "x-ms-meta-Mtime": "1",
    "x-ms-lease-state": "leased",
    "x-ms-lease-status": "locked",
    "x-ms-lease-duration": "infinite",
    "x-ms-copy-id": "c",
    "x-ms-copy-status": "success",
    "x-ms-copy-progress": "1/1",
    "x-ms-file-permission-key": "1*2",
}


def test_a_full_answer():
    """All that a read says of a file is kept, metadata names as spelled."""
    found = responses.shown_properties(wire_answer(FULL), EntryKind.FILE, size=9)

    assert (found.size, found.file_id, found.parent_id) == (9, 13835128424026341376, 0)
    assert found.change_time_ns == parse_iso(TIME)
    assert found.attributes == FileAttributes.ARCHIVE
    assert found.content.content_type == "text/plain"
    assert found.content.content_md5 == b"\0" * 16
    assert found.metadata == {"Mtime": "1"}
    assert found.lease.is_leased
    assert found.copy is not None
    assert (found.copy.status, found.copy.progress) == ("success", "1/1")
    assert found.validator() is not None


def test_the_md5_of_a_range_is_not_that_of_the_file():
    """In a partial answer the file's MD5 is in x-ms-content-md5."""
    headers = {**FULL, "x-ms-content-md5": "AQEBAQEBAQEBAQEBAQEBAQ=="}

    found = responses.shown_properties(wire_answer(headers, 206), EntryKind.FILE, size=9)

    assert found.content.content_md5 == b"\1" * 16
    partial = responses.shown_properties(wire_answer(FULL, 206), EntryKind.FILE, size=9)
    assert partial.content.content_md5 is None


def test_an_answer_of_a_change():
    """What a write does not say is unknown; its plain headers are not the file's."""
    headers = {name: FULL[name] for name in ("ETag", "Last-Modified", "Content-Type")}

    found = responses.properties_of(wire_answer(headers), EntryKind.FILE)

    assert found.size == UNKNOWN_SIZE
    assert found.validator() is None
    assert found.partial_validator().size is None
    assert found.content.content_type is None


def test_directories_have_no_size():
    """A directory's size is 0, never unknown."""
    assert responses.properties_of(wire_answer(SHOWN), EntryKind.DIRECTORY).size == 0


@pytest.mark.parametrize(
    "name", ["ETag", "x-ms-file-id", "x-ms-file-change-time", "x-ms-file-last-write-time"]
)
def test_what_a_read_must_have(name):
    """Without id, times or ETag an answer is not one."""
    headers = {key: value for key, value in FULL.items() if key != name}

    with pytest.raises(ProtocolError):
        responses.shown_properties(wire_answer(headers), EntryKind.FILE, size=9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Last-Modified", "yesterday"),
        ("x-ms-file-id", "-1"),
        ("x-ms-file-id", "1" * 40),
        ("x-ms-file-id", "²"),
        ("x-ms-file-creation-time", "2022"),
        ("x-ms-file-change-time", "9999-99-99T00:00:00Z"),
        ("x-ms-file-attributes", "Weird"),
        ("Content-MD5", "!"),
    ],
)
def test_garbled(name, value):
    """A header that cannot be read is a ProtocolError."""
    with pytest.raises(ProtocolError):
        responses.shown_properties(wire_answer({**FULL, name: value}), EntryKind.FILE, size=9)


@given(st.sampled_from(sorted(FULL)), st.text(st.characters(codec="latin-1"), max_size=30))
def test_any_value_is_read_or_refused(name, value):
    """No value of any header makes anything but properties or a ProtocolError."""
    try:
        responses.shown_properties(wire_answer({**FULL, name: value}), EntryKind.FILE, size=9)
    except ProtocolError:
        return


def test_share_properties():
    """A share's headers are read; the quota must be there."""
    headers = {**SHOWN, "x-ms-share-quota": "5120", "x-ms-access-tier": "Hot", "x-ms-meta-a": "b"}

    found = responses.share_properties_of(wire_answer(headers))

    assert (found.quota_gib, found.access_tier, found.metadata) == (5120, "Hot", {"a": "b"})
    with pytest.raises(ProtocolError):
        responses.share_properties_of(wire_answer(SHOWN))


def test_share_item():
    """A listed share with and without details."""
    text = (
        f"<Share><Name>s</Name><Snapshot>t</Snapshot><Deleted>true</Deleted><Properties>"
        f"<Last-Modified>{DATE}</Last-Modified><Etag>0x1</Etag><Quota>1</Quota>"
        "<LeaseStatus>locked</LeaseStatus></Properties><Metadata><A>b</A></Metadata></Share>"
    )

    found = responses.share_item_of(parse_document(text.encode()))

    assert (found.name, found.snapshot, found.is_deleted) == ("s", "t", True)
    assert (found.quota_gib, found.etag, found.metadata) == (1, '"0x1"', {"A": "b"})
    assert found.lease.is_leased
    for bad in ("<Share/>", "<Share><Name>s</Name></Share>"):
        with pytest.raises(ProtocolError):
            responses.share_item_of(parse_document(bad.encode()))
