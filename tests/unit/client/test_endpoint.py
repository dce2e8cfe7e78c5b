"""Endpoints and connection strings."""

import pytest

from azfilesfs.client import Endpoint, SasCredential, Secret, SharedKeyCredential
from azfilesfs.client.endpoint import is_loopback, parse_connection_string
from azfilesfs.errors import ConfigurationError, InvalidAccountName, MissingCredentials
from tests.unit.client.support import KEY


def test_host_style():
    """An account's own host has no path before the share."""
    endpoint = Endpoint.of_account("myaccount")

    assert endpoint.url == "https://myaccount.file.core.windows.net"
    assert (endpoint.host, endpoint.path) == ("myaccount.file.core.windows.net", "")
    assert endpoint.origin == endpoint.url
    assert endpoint.is_https


def test_path_style():
    """An emulator's URL has the account in its path; slashes at the end do not matter."""
    endpoint = Endpoint.of_url("http://127.0.0.1:10004/devstoreaccount1/")

    assert endpoint.account == "devstoreaccount1"
    assert endpoint.path == "/devstoreaccount1"
    assert endpoint.origin == "http://127.0.0.1:10004"
    assert not endpoint.is_https


def test_the_account_is_that_of_the_host():
    """Without a path the first label of the host is the account, unless given."""
    assert Endpoint.of_url("https://abc.file.core.windows.net").account == "abc"
    assert Endpoint.of_url("https://files.example.com", "abc").account == "abc"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("example.com", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host, expected):
    """Only localhost and loopback addresses count."""
    assert expected is is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://abc.file.core.windows.net",
        "http://10.0.0.1/abc",
        "ftp://127.0.0.1/abc",
        "abc",
        "https://",
        "https://user:hunter2@abc.example.com",
        "https://abc.example.com?sig=hunter2",
        "https://abc.example.com#hunter2",
        "https://abc.example.com/other",
        "https://abc.example.com:99999999",
        "https://[::1",
    ],
)
def test_refused_urls(url):
    """What is not an endpoint is refused, and nothing secret of it is repeated."""
    with pytest.raises(ConfigurationError) as caught:
        Endpoint.of_url(url, "abc")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "ab", "UPPER", "a-b", "a" * 25, "ünï"])
def test_account_names(name):
    """An account name has 3 to 24 lower-case letters and digits."""
    with pytest.raises(InvalidAccountName):
        Endpoint.of_account(name)


def test_connection_string_with_key():
    """Account, key and suffix make the host-style endpoint."""
    endpoint, credential = parse_connection_string(
        f"DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey={KEY};"
        "EndpointSuffix=core.chinacloudapi.cn"
    )

    assert endpoint.url == "https://myaccount.file.core.chinacloudapi.cn"
    assert credential == SharedKeyCredential("myaccount", Secret(KEY))


def test_connection_string_with_file_endpoint():
    """A FileEndpoint rules, names are taken in any case, other services are ignored."""
    endpoint, credential = parse_connection_string(
        f"accountname=devstoreaccount1;ACCOUNTKEY={KEY};BlobEndpoint=http://127.0.0.1:1/x;"
        "fileendpoint=http://127.0.0.1:10004/devstoreaccount1;;"
    )

    assert endpoint.url == "http://127.0.0.1:10004/devstoreaccount1"
    assert isinstance(credential, SharedKeyCredential)


def test_connection_string_with_signature():
    """A signature is taken, also without an AccountName, and preferred to a key."""
    endpoint, credential = parse_connection_string(
        "FileEndpoint=https://abc.file.core.windows.net/;"
        "SharedAccessSignature=sv=2026-10-06&sig=x%3D"
    )

    assert endpoint.account == "abc"
    assert credential == SasCredential(Secret("sv=2026-10-06&sig=x%3D"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("UseDevelopmentStorage=true", ConfigurationError),
        ("AccountName", ConfigurationError),
        (f"AccountKey={KEY}", ConfigurationError),
        ("AccountName=myaccount", MissingCredentials),
        ("AccountName=myaccount;AccountKey=hunter2!", MissingCredentials),
        ("AccountName=myaccount;AccountKey=====", MissingCredentials),
        ("AccountName=myaccount;SharedAccessSignature=sv=hunter2", MissingCredentials),
        (
            f"DefaultEndpointsProtocol=http;AccountName=myaccount;AccountKey={KEY}",
            ConfigurationError,
        ),
        (f"AccountName=NO;AccountKey={KEY}", InvalidAccountName),
        ("", ConfigurationError),
    ],
)
def test_refused_connection_strings(text, error):
    """What cannot be used is refused with its own error, which repeats no secret."""
    with pytest.raises(error) as caught:
        parse_connection_string(text)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)
