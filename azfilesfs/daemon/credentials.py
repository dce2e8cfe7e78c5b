"""Credentials out of the places that the configuration names, read anew when asked."""

from __future__ import annotations

import logging

import trio

from azfilesfs.client import (
    Credential,
    Endpoint,
    SasCredential,
    Secret,
    SharedKeyCredential,
    parse_connection_string,
)
from azfilesfs.config.credentials import CredentialSources, CredentialTexts
from azfilesfs.errors import AzureFilesError, ConfigurationError, MissingCredentials

_log = logging.getLogger(__name__)


def resolve(texts: CredentialTexts) -> tuple[Endpoint, Credential]:
    """Make an endpoint and a credential of what was found.

    Raises:
        ConfigurationError: it is malformed, incomplete or contradictory.
    """
    if texts.connection_string is not None:
        endpoint, credential = parse_connection_string(texts.connection_string)
        if texts.account is not None and texts.account != endpoint.account:
            raise ConfigurationError(
                f"the connection string is for the account {endpoint.account}, not {texts.account}"
            )
        if texts.endpoint is not None:
            endpoint = Endpoint.of_url(texts.endpoint, endpoint.account)
        return endpoint, credential
    endpoint = _endpoint(texts)
    if texts.sas is not None:
        return endpoint, SasCredential(Secret(texts.sas))
    if texts.key is not None:
        return endpoint, SharedKeyCredential(endpoint.account, Secret(texts.key))
    raise MissingCredentials("no credentials: there is neither a key nor a signature")


def _endpoint(texts: CredentialTexts) -> Endpoint:
    if texts.endpoint is not None:
        return Endpoint.of_url(texts.endpoint, texts.account)
    if texts.account is None:
        raise MissingCredentials(
            "which storage account? give --account or set AZURE_STORAGE_ACCOUNT"
        )
    return Endpoint.of_account(texts.account)


class ReloadingCredentials:
    """The credential of a mount; ``refresh`` reads the files again, after a refusal or SIGHUP."""

    def __init__(self, sources: CredentialSources) -> None:
        """Read the credential for the first time.

        Raises:
            ConfigurationError: there is none, or it is malformed.
        """
        self._sources = sources
        self._reading = trio.Lock()
        texts = sources.load()
        self.ca_file = texts.ca_file
        self.endpoint, self._credential = resolve(texts)

    def current(self) -> Credential:
        """Return the credential to use now."""
        return self._credential

    async def refresh(self) -> bool:
        """Read the places again; say whether the credential is another now.

        One that cannot be read, or that is for another account, leaves the old one in use.
        """
        before = self._credential
        async with self._reading:
            if self._credential != before:
                return True  # somebody else has just read it
            try:
                texts = await trio.to_thread.run_sync(self._sources.load)
                endpoint, credential = resolve(texts)
            except AzureFilesError as error:
                _log.warning("the credential is kept, a newer one cannot be had: %s", error.message)
                return False
            if endpoint != self.endpoint:
                _log.warning("the credential is kept: the new one is for %s", endpoint.url)
                return False
            changed = credential != before
            self._credential = credential
        if changed:
            _log.info("a new credential is in use")
        return changed
