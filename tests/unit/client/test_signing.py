"""SharedKey signatures: known answers, and the service's order of header names."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client.credentials import SharedKeyCredential
from azfilesfs.client.secret import Secret
from azfilesfs.client.signing import (
    authorization,
    canonicalized_headers,
    canonicalized_resource,
    collation_key,
    string_to_sign,
)
from tests.unit.client.support import ACCOUNT, CREDENTIAL, KEY
from tests.unit.client.vectors import VECTORS, vectors_missing

needs_vectors = pytest.mark.skipif(vectors_missing() is not None, reason=vectors_missing() or "")


@needs_vectors
@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v["kind"] == "SharedKey"], ids=lambda v: v["name"]
)
def test_vectors(vector):
    """String to sign and signature are those that the official client computes."""
    url = urlsplit(vector["url"])
    query = parse_qsl(url.query, keep_blank_values=True)
    text = string_to_sign(vector["account"], vector["method"], url.path, query, vector["headers"])
    credential = SharedKeyCredential(vector["account"], Secret(vector["key"]))

    assert vector["string_to_sign"] == text
    assert vector["authorization"] == authorization(credential, text)


def test_own_known_answer():
    """A Put Range under a path-style endpoint: the account stands twice, the length is signed."""
    headers = {
        "Content-Length": "3",
        "x-ms-date": "Mon, 27 Jan 2014 22:15:50 GMT",
        "x-ms-version": "2026-10-06",
        "x-ms-range": "bytes=0-2",
        "x-ms-write": "update",
    }
    text = string_to_sign(ACCOUNT, "PUT", f"/{ACCOUNT}/s/a%20b", [("comp", "range")], headers)

    assert text == (
        "PUT\n\n\n3\n\n\n\n\n\n\n\n\n"
        "x-ms-date:Mon, 27 Jan 2014 22:15:50 GMT\nx-ms-range:bytes=0-2\n"
        "x-ms-version:2026-10-06\nx-ms-write:update\n"
        "/myaccount/myaccount/s/a%20b\ncomp:range"
    )
    assert authorization(CREDENTIAL, text) == (
        "SharedKey myaccount:YWzS3P3kz4k7Dj2RvEcjrCwmfsUjFd7+zV2tto3muD0="
    )


def test_zero_length_is_signed_as_nothing():
    """A Content-Length of 0 is an empty line since 2015-02-21, any other is signed."""
    zero = string_to_sign(ACCOUNT, "PUT", "/", [], {"Content-Length": "0"})
    some = string_to_sign(ACCOUNT, "PUT", "/", [], {"Content-Length": "10"})

    assert zero.split("\n")[3] == ""
    assert some.split("\n")[3] == "10"


def test_the_date_slot_is_empty_beside_x_ms_date():
    """The plain Date counts only where there is no x-ms-date."""
    plain = string_to_sign(ACCOUNT, "GET", "/", [], {"Date": "d"})
    both = string_to_sign(ACCOUNT, "GET", "/", [], {"Date": "d", "x-ms-date": "m"})

    assert plain.split("\n")[6] == "d"
    assert both.split("\n")[6] == ""


def test_empty_header_values_are_signed():
    """An x-ms header without a value keeps its line."""
    assert canonicalized_headers({"X-MS-Meta-A": " ", "other": "x"}) == "x-ms-meta-a:\n"


def test_resource_query():
    """Query names are lower-cased and sorted, repeated ones joined with their values sorted."""
    query = [("Include", "b"), ("comp", "list"), ("include", "a"), ("prefix", "")]

    assert canonicalized_resource("acc", "/s", query) == ("/acc/s\ncomp:list\ninclude:a,b\nprefix:")


def test_collation_examples():
    """Punctuation comes before digits before letters; a hyphen breaks ties only."""
    names = ["x-ms-meta-ab", "x-ms-meta-a-c", "x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-a-b"]

    assert sorted(names, key=collation_key) == [
        "x-ms-meta-a_b",
        "x-ms-meta-a1",
        "x-ms-meta-ab",
        "x-ms-meta-a-b",
        "x-ms-meta-a-c",
    ]


@given(st.lists(st.text(alphabet="abz019_-", min_size=1, max_size=6), unique=True, max_size=8))
def test_collation_is_that_of_the_official_client(names):
    """Any set of metadata names is ordered as the official client orders it."""
    authentication = pytest.importorskip("azure.storage.fileshare._shared.authentication")
    headers = [(f"x-ms-meta-{name}", "") for name in names]

    expected = [name for name, _ in authentication._storage_header_sort(headers)]

    assert expected == sorted((name for name, _ in headers), key=collation_key)


def test_key_is_the_decoded_one():
    """The key enters the signature decoded from base64."""
    assert bytes(range(64)) == SharedKeyCredential(ACCOUNT, Secret(KEY)).key_bytes()


def test_the_decoded_key_is_not_shown():
    """The key is decoded once and kept; neither form of it is shown."""
    shown = repr(SharedKeyCredential(ACCOUNT, Secret(KEY)))

    assert repr(bytes(range(64)))[2:-1] not in shown
    assert KEY not in shown


def test_a_name_counts_in_any_case():
    """Headers that differ only in the case of their names are signed alike."""
    lower = {"content-length": "7", "x-ms-date": "d", "x-ms-meta-b": "1", "x-ms-meta-a": "2"}
    upper = {name.upper(): value for name, value in lower.items()}

    assert string_to_sign(ACCOUNT, "PUT", "/", [], lower) == string_to_sign(
        ACCOUNT, "PUT", "/", [], upper
    )
