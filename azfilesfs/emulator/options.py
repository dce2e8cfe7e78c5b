"""What an emulator is made of: accounts, shares, where data lives, and how strict it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from azfilesfs.model.versions import NEWEST

DEFAULT_ACCOUNT: Final = "devstoreaccount1"
"""The account name that storage emulators have in common."""

# Public knowledge, printed in the documentation of every storage emulator; it protects nothing.
DEFAULT_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def _default_accounts() -> Mapping[str, str]:
    return {DEFAULT_ACCOUNT: DEFAULT_KEY}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """Settings of one emulator.

    Attributes:
        accounts: base64 account keys by account name.
        shares: shares to create in every account where they do not exist yet.
        data: directory that keeps everything over a restart; None keeps it in memory.
        clock: returns Unix nanoseconds.
        equal_ticks: lets two changes within one clock reading get the same time, and so the same
            ETag;
            otherwise every change gets a later tick than the one before.
        newest_version: newest ``x-ms-version`` that is accepted; an older one simulates an older
            service.
        check_date: refuses SharedKey requests whose date is more than 15 minutes off.
        strict_conditions: refuses ``If-*`` headers instead of ignoring them.
        deletion_seconds: how long the name of a deleted share stays taken (ShareBeingDeleted).
        soft_delete: keeps deleted shares for Restore Share.
        copy_seconds: how long a Copy File stays pending.
        delegation_key: base64 key that signs user delegation SAS; None refuses all of them, since
            there is no tenant to ask for one.
    """

    accounts: Mapping[str, str] = field(default_factory=_default_accounts, repr=False)
    shares: tuple[str, ...] = ()
    data: Path | None = None
    clock: Callable[[], int] = time.time_ns
    equal_ticks: bool = False
    newest_version: str = NEWEST
    check_date: bool = True
    strict_conditions: bool = False
    deletion_seconds: float = 0.0
    soft_delete: bool = True
    copy_seconds: float = 0.0
    delegation_key: str | None = field(default=None, repr=False)
