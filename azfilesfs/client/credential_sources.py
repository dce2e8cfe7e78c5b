"""Where credentials come from: explicit values, the environment, files that are read again.

The forms of a file, told apart by their content:

- a connection string (``AccountName=...;AccountKey=...``),
- ``NAME=value`` lines with the names of the environment (``AZURE_STORAGE_KEY=...``),
- ``username=``/``password=`` lines as for cifs: the account and its key,
- a shared access signature (``sv=...&sig=...``), or a bare account key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from azfilesfs.client.credentials import (
    Credential,
    SasCredential,
    SharedKeyCredential,
)
from azfilesfs.client.endpoint import Endpoint, parse_connection_string
from azfilesfs.client.secret import Secret
from azfilesfs.errors import AzureFilesError, ConfigurationError, MissingCredentials

logger = logging.getLogger(__name__)

ACCOUNT_VARIABLE: Final = "AZURE_STORAGE_ACCOUNT"
KEY_VARIABLE: Final = "AZURE_STORAGE_KEY"
SAS_VARIABLE: Final = "AZURE_STORAGE_SAS_TOKEN"
CONNECTION_STRING_VARIABLE: Final = "AZURE_STORAGE_CONNECTION_STRING"
VARIABLES: Final = (ACCOUNT_VARIABLE, KEY_VARIABLE, SAS_VARIABLE, CONNECTION_STRING_VARIABLE)
_FILE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialValues:
    """What was given, from wherever, under the names of the Azure CLI; None for what was not."""

    account: str | None = None
    key: Secret | None = None
    sas_token: Secret | None = None
    connection_string: Secret | None = None
    endpoint: str | None = None

    def over(self, other: CredentialValues) -> CredentialValues:
        """Return these values, completed from others.

        A secret given here rules out every secret of the other; account and endpoint are completed
        one by one, save that a connection string given here brings its own.
        """
        has_secret = bool(self.key or self.sas_token or self.connection_string)
        if self.connection_string:
            return self
        return CredentialValues(
            account=self.account or other.account,
            key=self.key if has_secret else other.key,
            sas_token=self.sas_token if has_secret else other.sas_token,
            connection_string=None if has_secret else other.connection_string,
            endpoint=self.endpoint or other.endpoint,
        )

    def resolve(self) -> tuple[Endpoint, Credential]:
        """Return where the service is and who asks.

        A connection string rules over the rest but an explicit endpoint; a signature is preferred
        to a key, as it is narrower.

        Raises:
            MissingCredentials: there is neither a key, a signature nor a connection string.
            ConfigurationError: no account can be told, two are, or a value is malformed.
        """
        if self.connection_string:
            endpoint, credential = parse_connection_string(self.connection_string.reveal())
            if self.account not in {None, endpoint.account}:
                raise ConfigurationError(
                    f"account {self.account} is asked for, the connection string is of"
                    f" {endpoint.account}"
                )
            if self.endpoint:
                endpoint = Endpoint.of_url(self.endpoint, endpoint.account)
            return endpoint, credential
        endpoint = self._endpoint()
        if self.sas_token:
            return endpoint, SasCredential(self.sas_token)
        if self.key:
            return endpoint, SharedKeyCredential(endpoint.account, self.key)
        raise MissingCredentials(
            "no credential: give an account key, a shared access signature or a connection string"
        )

    def _endpoint(self) -> Endpoint:
        if self.endpoint:
            return Endpoint.of_url(self.endpoint, self.account)
        if self.account:
            return Endpoint.of_account(self.account)
        raise MissingCredentials("no storage account is named")


def values_from_environment(environment: Mapping[str, str]) -> CredentialValues:
    """Return what the environment has under the names that the Azure CLI uses."""
    return CredentialValues(
        account=environment.get(ACCOUNT_VARIABLE) or None,
        key=_secret(environment.get(KEY_VARIABLE)),
        sas_token=_secret(environment.get(SAS_VARIABLE)),
        connection_string=_secret(environment.get(CONNECTION_STRING_VARIABLE)),
    )


def values_from_text(text: str) -> CredentialValues:
    """Read the content of a credential file, in any of the forms that this module names.

    Raises:
        ConfigurationError: it is none of them.
    """
    stripped = text.strip().removeprefix("\ufeff").strip()
    lines = [line.strip() for line in stripped.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    fields = {
        name.strip().removeprefix("export ").strip(): value.strip().strip("\"'")
        for name, equals, value in (line.partition("=") for line in lines)
        if equals
    }
    if any(name in fields for name in VARIABLES):
        return values_from_environment(fields)
    lowered = {name.lower(): value for name, value in fields.items()}
    if "password" in lowered:
        return CredentialValues(
            account=lowered.get("username") or None, key=_secret(lowered["password"])
        )
    if len(lines) != 1:
        raise ConfigurationError("the credential file has none of the known forms")
    return _values_from_line(lines[0])


def _values_from_line(line: str) -> CredentialValues:
    lowered = line.lower()
    if any(name in lowered for name in ("accountkey=", "accountname=", "sharedaccesssignature=")):
        return CredentialValues(connection_string=Secret(line))
    if "sig=" in lowered:
        return CredentialValues(sas_token=Secret(line))
    if "=" in line.rstrip("=") or ";" in line or " " in line:
        raise ConfigurationError("the credential file has none of the known forms")
    return CredentialValues(key=Secret(line))


def read_credential_file(path: Path) -> CredentialValues:
    """Read a credential file.

    Raises:
        ConfigurationError: it cannot be read, or is none of the known forms.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the credential file {path} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError:
        # Not chained: the cause quotes the content.
        raise ConfigurationError(f"the credential file {path} is not text") from None
    if len(data) > _FILE_BYTES:
        raise ConfigurationError(f"the credential file {path} is too large to be one")
    return values_from_text(text)


class FileCredentials:
    """The credential of a file, which is read again when the service refuses the present one.

    So a key is rotated by replacing the file. ``fallback`` completes what the file leaves out, such
    as the account of a bare key. The endpoint is that of the first reading: moving to another
    account needs a new client.
    """

    def __init__(self, path: Path, fallback: CredentialValues | None = None) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, or does not make a credential.
        """
        self._path = path
        self._fallback = fallback or CredentialValues()
        self.endpoint, self._credential = self._read()

    def current(self) -> Credential:
        """Return the credential as last read."""
        return self._credential

    async def refresh(self) -> bool:
        """Read the file again and say whether its credential changed.

        A file that cannot be used leaves the present credential in place, with a warning.
        """
        try:
            endpoint, credential = await trio.to_thread.run_sync(self._read)
        except AzureFilesError as error:
            logger.warning("the credential stays as it was: %s", error)
            return False
        if endpoint.account != self.endpoint.account:
            logger.warning("%s names another account now; it is not used", self._path)
            return False
        changed = credential != self._credential
        self._credential = credential
        return changed

    def _read(self) -> tuple[Endpoint, Credential]:
        return read_credential_file(self._path).over(self._fallback).resolve()

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None
