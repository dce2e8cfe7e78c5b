"""Small XML documents, and what is refused of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client.xml_documents import decoded_name, parse_document
from azfilesfs.errors import ProtocolError

BILLION_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">
<!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]><a>&lol2;</a>"""


def test_a_document_with_a_byte_order_mark():
    """Elements, attributes and text are read; the mark is skipped."""
    root = parse_document(
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>'
        b'<A x="1"><B>\xc3\xa9&amp;</B><B>2</B><C/></A>'
    )

    assert (root.name, root.attributes) == ("A", {"x": "1"})
    assert [child.text for child in root.all("B")] == ["é&", "2"]
    assert root.text_of("C") is None
    assert root.text_of("D") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not xml",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a>\xff</a>",
        b"<a>&undefined;</a>",
        b"<a>\x00</a>",
        b"{}",
        BILLION_LAUGHS,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<?xml version="1.0" encoding="no-such-encoding"?><a/>',
        b"<a>" * 1000,
    ],
    ids=range(14),
)
def test_refused(data):
    """What is not well-formed, has a document type or is nested absurdly is a ProtocolError."""
    with pytest.raises(ProtocolError):
        parse_document(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    """No bytes make anything but a document or a ProtocolError."""
    try:
        parse_document(data)
    except ProtocolError:
        return


def test_encoded_names():
    """Names are percent-decoded only where the service says so; bad bytes become surrogates."""
    assert decoded_name("a%20b", {}) == "a%20b"
    assert decoded_name("a%EF%BF%BF", {"Encoded": "true"}) == "a\uffff"
    assert decoded_name("a%FF", {"Encoded": "True"}) == "a\udcff"
    assert decoded_name("a%20b", {"Encoded": "false"}) == "a%20b"
