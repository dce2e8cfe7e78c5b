"""What goes into a request: times, metadata, attributes, paths, URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client import NOW, PRESERVE, HttpRequest, SasCredential, Secret, TimeMark, Times
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.client.requests import (
    Call,
    Target,
    check_sendable,
    content_headers,
    metadata_headers,
)
from azfilesfs.client.timeouts import TimeoutPolicy
from azfilesfs.client.wire import raw_path, resource_url, signed_request
from azfilesfs.errors import AzureFilesError, ConfigurationError, InvalidPath, InvalidRequest
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from tests.unit.client.support import CREDENTIAL, ENDPOINT


def test_times():
    """Times are cut to 100 ns; words stand for themselves; None is left out."""
    assert Times(1, 1_669_849_032_290_995_799, PRESERVE).headers() == {
        "x-ms-file-creation-time": "1970-01-01T00:00:00.0000000Z",
        "x-ms-file-last-write-time": "2022-11-30T22:57:12.2909957Z",
        "x-ms-file-change-time": "preserve",
    }
    assert Times(NOW, TimeMark.SOURCE).headers() == {
        "x-ms-file-creation-time": "now",
        "x-ms-file-last-write-time": "source",
    }
    assert Times().headers() == {}


def test_metadata():
    """Names are identifiers, values printable."""
    assert metadata_headers({"Mtime": "1.5", "_a1": ""}) == {
        "x-ms-meta-Mtime": "1.5",
        "x-ms-meta-_a1": "",
    }
    assert metadata_headers(None) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("a-b", "x"),
        ("1a", "x"),
        ("é", "x"),
        ("a", "é"),
        ("a", "x\r\nx-ms-evil: 1"),
        ("a", " x"),
    ],
)
def test_metadata_that_cannot_be_sent(name, value):
    """What would break the request, or come back changed, is refused before it is sent."""
    with pytest.raises(InvalidRequest):
        metadata_headers({name: value})


def test_content_headers():
    """Only what is given is sent; control characters are refused."""
    content = ContentHeaders(content_type="text/plain", content_md5=b"\0" * 16)

    assert content_headers(content) == {
        "x-ms-content-type": "text/plain",
        "x-ms-content-md5": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with pytest.raises(InvalidRequest):
        content_headers(ContentHeaders(cache_control="a\nb"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "a\ud800"])
def test_names_that_would_become_another_path(name):
    """Names that a URL would resolve or split differently are never sent."""
    with pytest.raises(InvalidPath):
        check_sendable(SharePath(("d", name)))


def test_foreign_names_are_sendable():
    """Names that the service would not create today can still be addressed where it lists them."""
    check_sendable(SharePath(("CON", "a:b", "x" * 300, "\uffff", "a.")))


def wire(call, endpoint=ENDPOINT, credential=CREDENTIAL):
    """Return the signed request."""
    return signed_request(
        endpoint, call, credential, version="2026-10-06", now=0.0, timeouts=TimeoutPolicy()
    )


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=20
).filter(lambda name: name not in {".", ".."})


@given(st.lists(names, max_size=4), st.text(st.characters(codec="utf-8"), max_size=10))
def test_the_url_is_the_one_that_is_signed(components, prefix):
    """Whatever the names, the HTTP library sends the very path and query that were signed."""
    path = SharePath(tuple(components))
    call = Call(
        name="X",
        method="GET",
        target=Target.DIRECTORY,
        share="myshare",
        path=path,
        query={"comp": "list", "prefix": prefix},
    )
    request = wire(call)
    sent = HttpRequest(request.method, request.url)

    raw, _, query = sent.url.raw_path.decode().partition("?")
    assert raw == raw_path(ENDPOINT, "myshare", path)
    assert request.url.endswith(f"?{query}")
    assert dict(sent.url.params) == {"comp": "list", "prefix": prefix}


def test_path_of_the_account():
    """The root of a host-style endpoint is a slash, that of a path-style one ends in one."""
    assert raw_path(Endpoint.of_account("abc"), None, None) == "/"
    assert raw_path(ENDPOINT, None, None) == "/myaccount/"
    assert raw_path(ENDPOINT, "s", SharePath.ROOT) == "/myaccount/s"


def test_a_signature_is_appended():
    """With a SAS there is no Authorization; the token ends the URL, and those of sources."""
    sas = SasCredential(Secret("?sv=1&sig=x%3D"))
    source = SharePath.parse("a b")
    call = Call(
        name="RenameFile",
        method="PUT",
        target=Target.FILE,
        share="myshare",
        path=SharePath.parse("c"),
        query={"comp": "rename"},
        source=("x-ms-file-rename-source", source),
    )

    request = wire(call, credential=sas)

    assert request.url == f"{ENDPOINT.url}/myshare/c?comp=rename&sv=1&sig=x%3D"
    assert "Authorization" not in request.headers
    assert (
        request.headers["x-ms-file-rename-source"] == f"{ENDPOINT.url}/myshare/a%20b?sv=1&sig=x%3D"
    )
    assert resource_url(ENDPOINT, "myshare", source, CREDENTIAL) == f"{ENDPOINT.url}/myshare/a%20b"
    plain = wire(Call(name="X", method="GET", target=Target.FILE, share="s"), credential=sas)
    assert plain.url == f"{ENDPOINT.url}/s?sv=1&sig=x%3D"


def test_common_headers():
    """Every request names its version, date and own id; no stray Content-Type, no compression."""
    call = Call(
        name="X",
        method="PUT",
        target=Target.FILE,
        share="s",
        path=SharePath.parse("f"),
        body=b"abc",
    )

    headers = wire(call).headers

    assert headers["x-ms-version"] == "2026-10-06"
    assert headers["x-ms-date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert headers["Content-Length"] == "3"
    assert headers["x-ms-allow-trailing-dot"] == "true"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Authorization"].startswith("SharedKey myaccount:")
    assert "content-type" not in {name.lower() for name in headers}
    assert headers["x-ms-client-request-id"] != wire(call).headers["x-ms-client-request-id"]


def test_a_key_of_another_account():
    """A key that cannot sign for the endpoint is refused before it is sent anywhere."""
    with pytest.raises(ConfigurationError, match="myaccount"):
        wire(Call(name="X", method="GET", target=Target.SERVICE), Endpoint.of_account("other"))


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3))
def test_metadata_is_sent_or_refused(metadata):
    """Any metadata become headers of printable ASCII, or are refused."""
    try:
        headers = metadata_headers(metadata)
    except AzureFilesError:
        return
    assert all(f"{name}{value}".isascii() for name, value in headers.items())
    assert not any("\n" in value or "\r" in value for value in headers.values())
