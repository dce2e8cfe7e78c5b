"""Credentials of the client, read anew, and failures of the start as one line."""

from pathlib import Path

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import SasCredential, SharedKeyCredential
from azfilesfs.config.credentials import CredentialFiles, CredentialSources, CredentialTexts
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.credentials import ReloadingCredentials, resolve
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.errors import ConfigurationError, MissingCredentials

STRING = "AccountName=acc;AccountKey=a2V5"


def test_kinds_of_credentials():
    """A connection string, a key and a signature become credentials with their endpoint."""
    endpoint, credential = resolve(CredentialTexts(connection_string=STRING))
    assert (endpoint.url, endpoint.account) == ("https://acc.file.core.windows.net", "acc")
    assert isinstance(credential, SharedKeyCredential)

    endpoint, credential = resolve(CredentialTexts(account="acc", key="a2V5"))
    assert endpoint.url == "https://acc.file.core.windows.net"
    assert isinstance(credential, SharedKeyCredential)

    texts = CredentialTexts(endpoint="http://127.0.0.1:5/acc", sas="?sv=1&sig=x")
    endpoint, credential = resolve(texts)
    assert (endpoint.url, endpoint.account) == ("http://127.0.0.1:5/acc", "acc")
    assert isinstance(credential, SasCredential)


def test_an_endpoint_beside_a_connection_string():
    """A stronger endpoint replaces that of the connection string, for the same account."""
    texts = CredentialTexts(connection_string=STRING, account="acc", endpoint="https://e.example")

    assert resolve(texts)[0].url == "https://e.example"
    assert resolve(texts)[0].account == "acc"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (CredentialTexts(connection_string=STRING, account="other"), "for the account acc"),
        (CredentialTexts(key="a2V5"), "which storage account"),
        (CredentialTexts(account="acc"), "neither a key nor a signature"),
        (CredentialTexts(account="acc", key="not base64!"), "not base64"),
        (CredentialTexts(account="A", key="a2V5"), "not a storage account name"),
        (CredentialTexts(endpoint="http://e.example/acc", key="a2V5"), "plain http"),
    ],
)
def test_credentials_that_cannot_be(texts: CredentialTexts, said: str):
    """What is incomplete, malformed or contradictory is refused."""
    with pytest.raises(ConfigurationError, match=said):
        resolve(texts)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Write a key file."""
    path = tmp_path / "key"
    path.write_text("b25l")
    return path


@pytest.fixture
def credentials(key: Path) -> ReloadingCredentials:
    """Make credentials out of the key file."""
    files = CredentialFiles(where="x", account="acc", key_file=key)
    return ReloadingCredentials(CredentialSources((files,)))


def key_of(credentials: ReloadingCredentials) -> str:
    """Return the key in use."""
    found = credentials.current()
    assert isinstance(found, SharedKeyCredential)
    return found.key.reveal()


async def test_refreshing(credentials: ReloadingCredentials, key: Path):
    """A changed file gives a new credential, an unchanged one does not."""
    assert key_of(credentials) == "b25l"
    assert not await credentials.refresh()
    key.write_text("dHdv")
    assert await credentials.refresh()
    assert key_of(credentials) == "dHdv"


@pytest.mark.expect_log("the credential is kept")
async def test_a_credential_that_cannot_be_renewed_is_kept(
    credentials: ReloadingCredentials, key: Path
):
    """A file that is gone or malformed leaves the old credential in use, with one warning."""
    for text in ("not base64!", ""):
        key.write_text(text)
        assert not await credentials.refresh()
    key.unlink()
    assert not await credentials.refresh()
    assert key_of(credentials) == "b25l"


@pytest.mark.expect_log("the new one is for https://two")
async def test_another_account_is_not_taken(tmp_path: Path):
    """A running mount stays with its account, whatever the file says now."""
    path = tmp_path / "c"
    path.write_text("AccountName=one1;AccountKey=a2V5")
    files = CredentialFiles(where="x", connection_string_file=path)
    credentials = ReloadingCredentials(CredentialSources((files,)))
    path.write_text("AccountName=two2;AccountKey=a2V5")

    assert not await credentials.refresh()
    assert credentials.endpoint.account == "one1"


async def test_many_refusals_at_once(credentials: ReloadingCredentials, key: Path):
    """Everybody who was refused with the old credential learns that there is a new one."""
    key.write_text("dHdv")
    told: list[bool] = []

    async def refused() -> None:
        told.append(await credentials.refresh())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(refused)

    assert told == [True] * 5


async def test_giving_up_a_refresh(credentials: ReloadingCredentials, key: Path):
    """A refresh that is cancelled leaves the provider usable."""
    key.write_text("dHdv")
    with trio.CancelScope() as scope:
        scope.cancel()
        await credentials.refresh()

    assert scope.cancelled_caught
    assert await credentials.refresh()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidKey("x"), ExitCode.REFUSED),
        (errors.ExpiredSas("x"), ExitCode.REFUSED),
        (errors.AuthorizationFailure("x"), ExitCode.REFUSED),
        (errors.ShareNotFound("x"), ExitCode.NOT_FOUND),
        (errors.FileNotFound("x"), ExitCode.NOT_FOUND),
        (errors.ParentNotFound("x"), ExitCode.NOT_FOUND),
        (errors.ResourceTypeMismatch("x"), ExitCode.NOT_FOUND),
        (errors.Timeout("x"), ExitCode.UNREACHABLE),
        (errors.DnsResolutionFailed("x"), ExitCode.UNREACHABLE),
        (errors.TlsFailed("x"), ExitCode.UNREACHABLE),
        (errors.ServerBusy("x"), ExitCode.UNREACHABLE),
        (errors.InvalidPath("x"), ExitCode.USAGE),
        (MissingCredentials("x"), ExitCode.USAGE),
        (errors.ShareDisabled("x"), ExitCode.FAILED),
        (CommandFailed(ExitCode.INTERRUPTED, "x"), ExitCode.INTERRUPTED),
    ],
)
def test_failures_of_the_start(error: Exception, code: ExitCode):
    """Each kind of failure has its status, also from inside the groups of nurseries."""
    wrapped = RuntimeError("above")
    wrapped.__cause__ = error
    for seen in (error, ExceptionGroup("g", [ExceptionGroup("g", [error])]), wrapped):
        failure = to_command_failure(seen)
        assert failure is not None
        assert failure.code is code
        assert str(failure).endswith("x")


def test_what_is_nobodys_failure():
    """A defect is not dressed up as a failure of the service."""
    assert to_command_failure(ValueError("x")) is None
    assert to_command_failure(ExceptionGroup("g", [ValueError("x"), KeyError("y")])) is None
