"""Names and paths of a share."""

import os.path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.errors import InvalidPath, InvalidShareName, NameTooLong
from azfilesfs.model.paths import (
    FORBIDDEN_CHARACTERS,
    SharePath,
    check_name,
    check_share_name,
    fold,
    utf16_units,
)

good_names = st.text(
    st.characters(codec="utf-8", exclude_characters="".join(FORBIDDEN_CHARACTERS)),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in {".", ".."} and len(name) > 6)
paths = st.lists(good_names, max_size=5).map(lambda names: SharePath(tuple(names)))


@pytest.mark.parametrize(
    "name", ["a", "a.", " a ", "x" * 255, "\U0001f4c1" * 127, "COM0", "CONS", "é~!'()"]
)
def test_good_names(name):
    """What the service takes passes."""
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "a:b",
        "a*",
        "a?",
        'a"',
        "<",
        ">",
        "|",
        "a\0",
        "a\x1f",
        "con",
        "NUL",
        "Com1",
        "lpt9",
        "CLOCK$",
        "a\ud800",
    ],
)
def test_forbidden_names(name):
    """What the service forbids is refused."""
    with pytest.raises(InvalidPath):
        check_name(name)


@pytest.mark.parametrize("name", ["x" * 256, "\U0001f4c1" * 128])
def test_long_names(name):
    """The limit counts UTF-16 units."""
    with pytest.raises(NameTooLong):
        check_name(name)


@given(st.text())
def test_units(text):
    """Units are those of the UTF-16 encoding."""
    assert utf16_units(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_long_and_deep_paths():
    """A path has at most 2,048 units and 250 components."""
    SharePath(("x" * 255,) * 8).check()
    with pytest.raises(NameTooLong):
        SharePath(("x" * 255,) * 9).check()
    SharePath(("x",) * 250).check()
    with pytest.raises(NameTooLong):
        SharePath(("x",) * 251).check()


@pytest.mark.parametrize("name", ["abc", "a-b", "a1b2", "a" * 63, "123"])
def test_share_names(name):
    """3 to 63 lower-case letters, digits and single dashes."""
    check_share_name(name)


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "Abc", "-ab", "ab-", "a--b", "a_b", "äbc", "a.b"]
)
def test_bad_share_names(name):
    """Anything else is refused."""
    with pytest.raises(InvalidShareName):
        check_share_name(name)


def test_folding():
    """Names are compared in upper case, one character for one."""
    assert fold("readme.TXT") == fold("README.txt")
    assert fold("Ä") == fold("ä")
    assert fold("straße") == "STRAßE"
    assert fold("ı") != fold("i")
    assert fold("ſ") != fold("s")


@given(st.text())
def test_folding_keeps_the_length_and_itself(text):
    """Folding maps character by character and is done in one step for ASCII and most letters."""
    folded = fold(text)

    assert len(folded) == len(text)
    assert fold(folded) == folded or not text.isascii()


@given(paths)
def test_parsing(path):
    """A path written with slashes is read as it was; slashes at its ends do not matter."""
    assert SharePath.parse(str(path)) == path
    assert SharePath.parse(f"/{path}/") == path


@given(paths)
def test_encoding(path):
    """A path in a URL decodes to itself and has only safe characters."""
    encoded = path.encoded()

    assert unquote(encoded) == str(path)
    assert encoded.isascii()
    assert not set(encoded) & set(" #?%+") - {"%"}
    assert encoded.count("/") == max(len(path.components) - 1, 0)


@given(paths, good_names)
def test_family(path, name):
    """A child knows its parent and its name, and lies below it."""
    child = path.child(name)

    assert (child.parent, child.name) == (path, name)
    assert child.is_below(path)
    assert not path.is_below(child)
    assert path.is_below(SharePath.ROOT)
    assert not child.is_root
    assert str(child) == os.path.join(str(path), name)


def test_the_root():
    """The root is its own parent and has no name."""
    assert SharePath.ROOT.is_root
    assert SharePath.ROOT.parent == SharePath.ROOT
    assert SharePath.ROOT.name == ""
    assert SharePath.parse("//") == SharePath.ROOT
    assert SharePath.ROOT.encoded() == ""


@pytest.mark.parametrize("text", ["a//b", "a/../b", "./a", "a/b\0"])
def test_bad_paths(text):
    """Empty and relative components are refused."""
    with pytest.raises(InvalidPath):
        SharePath.parse(text)
