"""Credentials from values, the environment and files."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client import Secret, SharedKeyCredential
from azfilesfs.client.credential_sources import (
    CredentialValues,
    FileCredentials,
    read_credential_file,
    values_from_environment,
    values_from_text,
)
from azfilesfs.client.credentials import SasCredential, StaticCredentials
from azfilesfs.errors import ConfigurationError, MissingCredentials
from tests.unit.client.support import KEY

OTHER_KEY = "b3RoZXI="
SAS = "sv=2026-10-06&sr=s&sp=rl&sig=abc%3D"
CONNECTION_STRING = f"AccountName=myaccount;AccountKey={KEY};EndpointSuffix=core.windows.net"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{KEY}\n", CredentialValues(key=Secret(KEY))),
        (f"\ufeff{KEY}", CredentialValues(key=Secret(KEY))),
        (f"?{SAS}\n", CredentialValues(sas_token=Secret(f"?{SAS}"))),
        (SAS, CredentialValues(sas_token=Secret(SAS))),
        (CONNECTION_STRING, CredentialValues(connection_string=Secret(CONNECTION_STRING))),
        (
            f"# mine\nusername=myaccount\npassword={KEY}\ndomain=Azure\n",
            CredentialValues(account="myaccount", key=Secret(KEY)),
        ),
        (f"password={KEY}", CredentialValues(key=Secret(KEY))),
        (
            f"AZURE_STORAGE_CONNECTION_STRING={CONNECTION_STRING}\nAZFILESFS_CA_FILE=/x\n",
            CredentialValues(connection_string=Secret(CONNECTION_STRING)),
        ),
        (
            f"export AZURE_STORAGE_ACCOUNT=\"myaccount\"\nAZURE_STORAGE_KEY='{KEY}'\n",
            CredentialValues(account="myaccount", key=Secret(KEY)),
        ),
        (f"AZURE_STORAGE_SAS_TOKEN={SAS}", CredentialValues(sas_token=Secret(SAS))),
    ],
)
def test_forms_of_a_file(text, expected):
    """Each form is told by its content."""
    assert expected == values_from_text(text)


@pytest.mark.parametrize("text", ["", "a=b", "a b", "two\nlines", "a;b"])
def test_what_is_no_credential_file(text):
    """Anything else is refused."""
    with pytest.raises(ConfigurationError):
        values_from_text(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    """No content of a file makes anything but values or a ConfigurationError."""
    with suppress(ConfigurationError):
        values_from_text(text).over(CredentialValues(account="myaccount")).resolve()


def test_environment():
    """The four names of the Azure CLI are read, empty ones do not count."""
    found = values_from_environment(
        {
            "AZURE_STORAGE_ACCOUNT": "myaccount",
            "AZURE_STORAGE_KEY": KEY,
            "AZURE_STORAGE_SAS_TOKEN": "",
            "OTHER": "x",
        }
    )

    assert found == CredentialValues(account="myaccount", key=Secret(KEY))
    assert values_from_environment({}) == CredentialValues()


def test_precedence():
    """A secret given explicitly rules out every other; account and endpoint complete each other."""
    environment = CredentialValues(
        account="envaccount", sas_token=Secret(SAS), connection_string=Secret(CONNECTION_STRING)
    )

    found = CredentialValues(key=Secret(KEY)).over(environment)

    assert found == CredentialValues(account="envaccount", key=Secret(KEY))
    assert CredentialValues(account="mine").over(environment).sas_token == Secret(SAS)
    own = CredentialValues(connection_string=Secret(CONNECTION_STRING))
    assert own.over(environment) == own


def test_resolving():
    """Values become an endpoint and a credential; a signature is preferred to a key."""
    endpoint, credential = CredentialValues(account="myaccount", key=Secret(KEY)).resolve()
    assert endpoint.url == "https://myaccount.file.core.windows.net"
    assert credential == SharedKeyCredential("myaccount", Secret(KEY))

    endpoint, credential = CredentialValues(
        endpoint="http://127.0.0.1:1/devstoreaccount1", key=Secret(KEY), sas_token=Secret(SAS)
    ).resolve()
    assert endpoint.account == "devstoreaccount1"
    assert credential == SasCredential(Secret(SAS))

    endpoint, _ = CredentialValues(
        connection_string=Secret(CONNECTION_STRING), endpoint="http://127.0.0.1:1/myaccount"
    ).resolve()
    assert endpoint.url == "http://127.0.0.1:1/myaccount"


@pytest.mark.parametrize(
    "values",
    [
        CredentialValues(),
        CredentialValues(key=Secret(KEY)),
        CredentialValues(account="myaccount"),
    ],
)
def test_missing(values):
    """Without an account or a secret there is no credential."""
    with pytest.raises(MissingCredentials):
        values.resolve()


def test_two_accounts():
    """An account that contradicts the connection string is an error, not a surprise."""
    values = CredentialValues(account="other", connection_string=Secret(CONNECTION_STRING))

    with pytest.raises(ConfigurationError, match="other"):
        values.resolve()


async def test_a_replaced_file_is_read_again(tmp_path):
    """refresh() takes a new key and says that it changed, or that nothing did."""
    path = tmp_path / "key"
    path.write_text(KEY)
    credentials = FileCredentials(path, CredentialValues(account="myaccount"))
    assert not await credentials.refresh()

    path.write_text(OTHER_KEY)

    assert credentials.current() == SharedKeyCredential("myaccount", Secret(KEY))
    assert await credentials.refresh()
    assert credentials.current() == SharedKeyCredential("myaccount", Secret(OTHER_KEY))
    assert KEY not in repr(credentials)


@pytest.mark.expect_log("the credential stays as it was")
async def test_a_broken_file_changes_nothing(tmp_path):
    """A file that is gone or malformed leaves the credential in place, with a warning."""
    path = tmp_path / "key"
    path.write_text(KEY)
    credentials = FileCredentials(path, CredentialValues(account="myaccount"))

    path.write_text("what is this")
    assert not await credentials.refresh()
    path.unlink()
    assert not await credentials.refresh()

    assert credentials.current() == SharedKeyCredential("myaccount", Secret(KEY))


@pytest.mark.expect_log("names another account now")
async def test_another_account_is_not_taken(tmp_path):
    """A file that names another account now is not followed: the share would be another one."""
    path = tmp_path / "credentials"
    path.write_text(f"username=myaccount\npassword={KEY}\n")
    credentials = FileCredentials(path)

    path.write_text(f"username=otheraccount\npassword={KEY}\n")

    assert not await credentials.refresh()


def test_unreadable_files(tmp_path):
    """A missing, binary or huge file is a ConfigurationError that quotes nothing of it."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_credential_file(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigurationError, match="not text") as caught:
        read_credential_file(tmp_path / "binary")
    assert caught.value.__cause__ is None
    (tmp_path / "huge").write_text("a" * 100_000)
    with pytest.raises(ConfigurationError, match="too large"):
        read_credential_file(tmp_path / "huge")


async def test_static_credentials():
    """A static credential is always the same."""
    credential = SharedKeyCredential("myaccount", Secret(KEY))
    provider = StaticCredentials(credential)

    assert provider.current() is credential
    assert not await provider.refresh()
