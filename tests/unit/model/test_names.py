"""Local names and service names: reversible, and as Linux cifs writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.errors import InvalidPath, NameTooLong
from azfilesfs.model.names import InvalidEncoding, literal, to_local, to_service
from azfilesfs.model.paths import check_name

local_names = st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("local", "service"),
    [
        (b"plain.txt", "plain.txt"),
        (b"a:b", "a\uf022b"),
        (b'"*:<>?\\|', "\uf020\uf021\uf022\uf023\uf024\uf025\uf026\uf027"),
        (b"tab\there", "tab\uf009here"),
        (b"dot.", "dot\uf029"),
        (b"space ", "space\uf028"),
        (b"a . b", "a . b"),
        ("ü日".encode(), "ü日"),
        (b"...", "..\uf029"),
    ],
)
def test_known_pairs(local, service):
    """Forbidden characters go to the code points of ``mapposix``, and come back."""
    assert to_service(local) == service
    assert to_local(service) == local


@given(local_names)
def test_every_name_is_mapped_reversibly_or_refused(name):
    """A local name becomes one that the service takes, from which it comes back, or is refused."""
    try:
        service = to_service(name)
    except InvalidPath:
        return

    check_name(service)
    assert to_local(service) == name


@given(local_names, local_names)
def test_different_names_stay_different(one, two):
    """No two local names share a service name."""
    try:
        spelled = to_service(one), to_service(two)
    except InvalidPath:
        return

    assert (spelled[0] == spelled[1]) is (one == two)


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"CON", b"nul", "a\uf022b".encode(), "a\uf029".encode()]
)
def test_names_without_a_spelling(name):
    """Relative and device names, and code points that stand for others, are refused."""
    with pytest.raises(InvalidPath):
        to_service(name)


def test_other_encodings_and_lengths():
    """Bytes that are not UTF-8, and names that are too long when spelled, have their own errors."""
    with pytest.raises(InvalidEncoding):
        to_service(b"\xff")
    with pytest.raises(NameTooLong):
        to_service(b"x" * 256)
    assert to_service(b":" * 255)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "a\ud800"])
def test_names_that_cannot_be_shown(name):
    """A listed name that Linux could not have, or that leads elsewhere, is refused."""
    with pytest.raises(InvalidPath):
        to_local(name)


@given(st.text(max_size=20))
def test_nothing_dangerous_is_shown(name):
    """Whatever the service lists, what is shown is one component without NUL."""
    try:
        shown = to_local(name)
    except InvalidPath:
        return

    assert shown not in {b"", b".", b".."}
    assert b"/" not in shown
    assert b"\0" not in shown


def test_a_second_spelling():
    """Only a trailing space or period may also be there literally."""
    assert literal(b"a.") == "a."
    assert literal(b"a ") == "a "
    assert literal(b"a") is None
    assert to_local("a.") == b"a."
