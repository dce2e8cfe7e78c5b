"""Service versions, validators, and what properties say of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model import versions
from azfilesfs.model.properties import (
    UNKNOWN_SIZE,
    EntryKind,
    LeaseInfo,
    ListedEntry,
    Properties,
)
from azfilesfs.model.versions import PartialValidator, Validator

validators = st.builds(
    Validator,
    st.integers(0, 2**64 - 1),
    st.sampled_from(['"0x1"', '"0x2"']),
    st.integers(0, 9),
    st.integers(0, 9),
)


def test_versions_step_down():
    """From the newest every older one follows, down to the oldest."""
    seen = [versions.NEWEST]
    while (older := versions.next_older(seen[-1])) is not None:
        seen.append(older)

    assert tuple(seen) == versions.SERVICE_VERSIONS
    assert seen[-1] == versions.OLDEST == "2023-11-03"
    assert seen == sorted(seen, reverse=True)
    assert versions.next_older("2025-12-31") == "2025-11-05"


def test_what_a_version_has():
    """Create with data came with 2026-06-06."""
    assert versions.has_create_with_data("2026-06-06")
    assert not versions.has_create_with_data("2026-04-06")


@given(validators, validators)
def test_keys(one, two):
    """Two versions have the same key if and only if they are the same."""
    assert (one.key() == two.key()) is (one == two)
    assert '"' not in one.key()


@given(validators, st.sets(st.sampled_from(["file_id", "etag", "size", "change_time_ns"])))
def test_a_part_never_contradicts_its_whole(validator, fields):
    """What an answer leaves out says nothing; what it has is compared."""
    part = PartialValidator(**{name: getattr(validator, name) for name in fields})

    assert not part.contradicts(validator)
    for name in fields:
        other = '"other"' if name == "etag" else getattr(validator, name) + 1
        assert part.contradicts(validator._replace(**{name: other}))


def properties(**more) -> Properties:
    """Return properties with a full validator."""
    given_fields = {"file_id": 1, "etag": '"e"', "size": 2, "change_time_ns": 3, **more}
    return Properties(kind=EntryKind.FILE, **given_fields)


def test_the_validator_of_properties():
    """It is there where nothing of it is missing."""
    assert properties().validator() == Validator(1, '"e"', 2, 3)
    assert properties().partial_validator() == PartialValidator(1, '"e"', 2, 3)


@pytest.mark.parametrize("missing", ["file_id", "etag", "change_time_ns"])
def test_a_missing_part(missing):
    """Without a part there is no validator, and the partial one knows it."""
    found = properties(**{missing: None})

    assert found.validator() is None
    assert getattr(found.partial_validator(), missing) is None


def test_an_unknown_size():
    """A size that the answer did not have is no size."""
    found = properties(size=UNKNOWN_SIZE)

    assert found.validator() is None
    assert found.partial_validator() == PartialValidator(1, '"e"', None, 3)


def test_kinds_and_leases():
    """Directories are told from files; a lease holds while its status is locked."""
    directory = Properties(kind=EntryKind.DIRECTORY)

    assert directory.is_directory
    assert not properties().is_directory
    assert ListedEntry("d", directory).properties.size == 0
    assert LeaseInfo(status="locked").is_leased
    assert not LeaseInfo(state="broken", status="unlocked").is_leased
    assert dict(directory.metadata) == {}
