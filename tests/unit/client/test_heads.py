"""Heads and chunks: what is written cannot be broken open, what is read is read strictly or not."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client.transport.heads import (
    HEAD_BYTES,
    AnswerHead,
    Chunks,
    Headers,
    Origin,
    cut_head,
    has_final_answer,
    origin_of,
    request_head,
    split_url,
)

ORIGIN = Origin(is_https=True, host="a.example.com", port=443)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(*lines: str, status: str = "HTTP/1.1 200 OK", method: str = "GET") -> AnswerHead:
    """Read an answer's head of these lines."""
    return AnswerHead("\r\n".join([status, *lines, "", ""]).encode("latin-1"), method)


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://a.b/x%20y?c=d", Origin(True, "a.b", 443), "/x%20y?c=d"),
        ("http://127.0.0.1:10004/acc/", Origin(False, "127.0.0.1", 10004), "/acc/"),
        ("https://[::1]:8443/", Origin(True, "::1", 8443), "/"),
    ],
)
def test_urls(url, origin, target):
    """A URL is split into where it leads and what is asked for there, as it stands."""
    assert split_url(url) == (origin, target)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.b",
        "https:///x",
        "ftp://a.b/x",
        "https://user:hunter2@a.b/x",
        "https://a.b:x/y",
        "https://a.b/x y",
        "https://a.b/x\r\nHost: c",
        "https://a.b/ä",
        "https://a.b/x#y",
        "",
    ],
)
def test_urls_that_are_none(url):
    """A URL that is not complete and percent-encoded is refused."""
    with pytest.raises(httpx.InvalidURL):
        split_url(url)


def test_an_authority():
    """An IPv6 address stands in brackets where a port follows it."""
    assert origin_of("https://[::1]:8443").authority == "[::1]:8443"
    assert ORIGIN.authority == "a.example.com:443"


def test_the_head_of_a_request():
    """Headers go out as given; host and length are added where they are missing."""
    full = {"Host": "x", "Content-Length": "3", "a": "b"}
    assert request_head("PUT", "/p", ORIGIN, full, 3) == (
        b"PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\na: b\r\n\r\n"
    )
    assert request_head("PUT", "/p", ORIGIN, {"Transfer-Encoding": "chunked"}, 3) == (
        b"PUT /p HTTP/1.1\r\nHost: a.example.com:443\r\nContent-Length: 3\r\n\r\n"
    )


@given(st.text(), st.text())
def test_no_header_breaks_a_request(name, value):
    """Whatever a header contains, it makes one line of the head or none at all."""
    try:
        data = request_head("GET", "/", ORIGIN, {"Host": "x", name: value}, 0)
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        return
    assert data.count(b"\r") == data.count(b"\n") <= 4
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"a": "b\r\nc: d"}),
        ("GET", {"a": "b\0"}),
        ("GET", {"a b": "c"}),
        ("GET", {"a:": "c"}),
        ("GET", {"": "c"}),
        ("GET / HTTP/1.1\r\nx:", {}),
        ("PUT", {"Content-Length": "4"}),
        ("PUT", {"content-length": "x"}),
    ],
)
def test_requests_that_cannot_be_sent(method, headers):
    """A header that would break the request, or does not fit its body, is refused."""
    with pytest.raises(httpx.LocalProtocolError):
        request_head(method, "/", ORIGIN, {"Host": "x", **headers}, 3)


def test_headers_in_any_case():
    """Headers are found in any case; repeated ones are joined, unknown ones are missing."""
    headers = Headers([("X-A", "1"), ("x-a", "2"), ("B", "3")])
    assert headers["x-A"] == "1, 2"
    assert dict(headers) == {"x-a": "1, 2", "b": "3"}
    assert len(headers) == 2
    assert headers.get("c") is None


@pytest.mark.parametrize(
    ("lines", "method", "status", "length", "is_chunked", "keeps"),
    [
        (["Content-Length: 5"], "GET", "HTTP/1.1 200 OK", 5, False, True),
        (["Content-Length: 0"], "GET", "HTTP/1.1 201 Created", 0, False, True),
        (["Content-Length: 5"], "HEAD", "HTTP/1.1 200 OK", 0, False, True),
        (["Transfer-Encoding: chunked"], "GET", "HTTP/1.1 200 OK", None, True, True),
        (["Transfer-Encoding: Chunked"], "HEAD", "HTTP/1.1 200 OK", 0, False, True),
        (["Content-Length: 5"], "GET", "HTTP/1.1 304 Not Modified", 0, False, True),
        ([], "GET", "HTTP/1.1 204 No Content", 0, False, True),
        ([], "GET", "HTTP/1.1 100 Continue", 0, False, True),
        ([], "GET", "HTTP/1.1 200 OK", None, False, False),
        (["Content-Length: 5", "Connection: Close"], "GET", "HTTP/1.1 200 OK", 5, False, False),
        (["Content-Length: 5"], "GET", "HTTP/1.0 200 OK", 5, False, False),
        (["Content-Length: 5"], "GET", "HTTP/1.1 200", 5, False, True),
    ],
)
def test_where_an_answer_ends(lines, method, status, length, is_chunked, keeps):
    """Length, chunks or the connection's end: every answer says how its body ends."""
    found = head(*lines, status=status, method=method)
    assert (found.length, found.is_chunked, found.keeps) == (length, is_chunked, keeps)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
    ],
)
def test_heads_that_are_none(data):
    """Where a lenient reader would have to guess, this one refuses."""
    with pytest.raises(httpx.RemoteProtocolError):
        AnswerHead(data, "GET")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_head_or_refused(data):
    """Garbage after a good beginning is read or refused, and raises nothing else."""
    try:
        found = AnswerHead(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n", "GET")
    except httpx.RemoteProtocolError:
        return
    assert found.status == 200
    assert found.length is None or found.length >= 0


def test_cutting_heads():
    """A head ends with its empty line; before that there is nothing to read yet."""
    assert cut_head(b"") == 0
    assert cut_head(b"HT") == 0
    assert cut_head(b"HTTP/1.1 200 OK\r\n\r") == 0
    assert cut_head(b"HTTP/1.1 200 OK\r\n\r\nbody\r\n\r\n") == 19


@pytest.mark.parametrize(
    "data",
    [
        b"220 smtp",
        b"\r\nHTTP/1.1 200 OK",
        b"\x15\x03\x01",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
    ],
)
def test_what_is_no_beginning_of_a_head(data):
    """Another protocol, and a head beyond all bounds, are refused before their end."""
    with pytest.raises(httpx.RemoteProtocolError):
        cut_head(data)


def test_interim_answers():
    """1xx heads are not the answer; anything after them is."""
    interim = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
    assert not has_final_answer(b"")
    assert not has_final_answer(b"HTTP/1.1")
    assert not has_final_answer(interim[:20])
    assert not has_final_answer(interim + interim)
    assert has_final_answer(interim + b"HTTP/1.1 503 ")
    assert has_final_answer(b"HTTP/1.1 200 OK\r\n")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
def test_chunks_in_any_pieces(parts, data):
    """A chunked body is the same however the network cuts it."""
    text = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    chunks = Chunks(CHUNKED)
    body = b""
    for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
        assert not chunks.is_complete or start == len(text)
        if start < stop:
            body += chunks.feed(text[start:stop])
    assert body == b"".join(parts)
    assert chunks.is_clean


@pytest.mark.parametrize("more", [b"HTT", b"HTTP/1.1 200 OK\r\n\r\n", b"\0", b"5\r\nhello\r\n"])
def test_more_than_the_chunks(more):
    """What follows the last chunk is not part of the body, and spoils the connection."""
    chunks = Chunks(CHUNKED)
    assert chunks.feed(b"2\r\nab\r\n0\r\n\r\n" + more) == b"ab"
    assert chunks.is_complete
    assert not chunks.is_clean


@pytest.mark.parametrize(
    "data",
    [b"zz\r\n", b"-1\r\n", b"5\nhello\r\n", b"5\r\nhelloX\r\n", b"fffffffffffffffff\r\n", b"\r\n"],
)
def test_chunks_that_are_none(data):
    """A malformed chunk is refused."""
    with pytest.raises(httpx.RemoteProtocolError):
        Chunks(CHUNKED).feed(data)
