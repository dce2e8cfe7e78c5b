"""Attributes as the service writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.attributes import FileAttributes, format_attributes, parse_attributes


@given(st.sets(st.sampled_from(FileAttributes)))
def test_round_trip(bits):
    """Any set of attributes is read as it was written."""
    attributes = FileAttributes.NONE
    for bit in bits:
        attributes |= bit

    assert parse_attributes(format_attributes(attributes)) == attributes


def test_the_services_form():
    """Names stand in the order of their bits, joined by `` | ``; nothing is ``None``."""
    attributes = FileAttributes.ARCHIVE | FileAttributes.READ_ONLY

    assert format_attributes(attributes) == "ReadOnly | Archive"
    assert format_attributes(FileAttributes.NONE) == "None"
    assert parse_attributes("archive|readonly") == attributes
    assert parse_attributes(" none ") == FileAttributes.NONE


@pytest.mark.parametrize("text", ["", "Weird", "Archive | ", "Archive, Hidden"])
def test_unknown_names(text):
    """An unknown name is refused."""
    with pytest.raises(ValueError, match="unknown file attribute"):
        parse_attributes(text)
