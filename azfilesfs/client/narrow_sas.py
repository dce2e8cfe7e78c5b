"""Signatures for common needs, each granting just what its name says."""

from __future__ import annotations

from azfilesfs.client.credentials import SasCredential, SharedKeyCredential
from azfilesfs.client.sas import (
    SHARE_PERMISSIONS,
    SasLimits,
    SasScope,
    account_sas,
    service_sas,
)
from azfilesfs.model.paths import SharePath


def read_only_share_sas(
    credential: SharedKeyCredential, share: str, limits: SasLimits
) -> SasCredential:
    """Make a signature that reads and lists a share: enough for a read-only mount."""
    return service_sas(credential, SasScope(share), "rl", limits)


def read_write_share_sas(
    credential: SharedKeyCredential, share: str, limits: SasLimits
) -> SasCredential:
    """Make a signature that does everything below a share, as a mount needs."""
    return service_sas(credential, SasScope(share), SHARE_PERMISSIONS, limits)


def drop_box_share_sas(
    credential: SharedKeyCredential, share: str, limits: SasLimits
) -> SasCredential:
    """Make a signature that creates files in a share; it neither overwrites nor reads nor lists."""
    return service_sas(credential, SasScope(share), "c", limits)


def read_only_file_sas(
    credential: SharedKeyCredential, share: str, file: SharePath, limits: SasLimits
) -> SasCredential:
    """Make a signature that reads one file."""
    return service_sas(credential, SasScope(share, file), "r", limits)


def write_file_sas(
    credential: SharedKeyCredential, share: str, file: SharePath, limits: SasLimits
) -> SasCredential:
    """Make a signature that creates, overwrites and writes one file, and does no more."""
    return service_sas(credential, SasScope(share, file), "cw", limits)


def list_shares_sas(credential: SharedKeyCredential, limits: SasLimits) -> SasCredential:
    """Make a signature that lists the shares of the account and nothing else."""
    return account_sas(credential, "l", "s", limits)
