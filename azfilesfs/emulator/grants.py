"""What a credential allows, and the check of one operation against it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from azfilesfs.emulator.errors import ServiceError


class Level(Enum):
    """On what an operation works, in the letters of an account SAS."""

    SERVICE = "s"
    SHARE = "c"
    OBJECT = "o"


@dataclass(frozen=True, slots=True)
class Need:
    """What an operation needs: one of ``permissions`` at a level.

    Attributes:
        service_sas: whether a service SAS can give it at all.
    """

    level: Level
    permissions: str
    service_sas: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a request's credential allows.

    Attributes:
        is_key: an account key, which allows everything.
        permissions: the letters of a SAS.
        resource_types: the letters of an account SAS; None for a service SAS.
        path: the file that a service SAS is limited to, folded; None for the whole share.
        overrides: response headers that a SAS prescribes.
    """

    is_key: bool = False
    permissions: str = ""
    resource_types: str | None = None
    is_file_only: bool = False
    overrides: tuple[tuple[str, str], ...] = ()

    def check(self, need: Need) -> None:
        """Refuse what the credential does not allow.

        Raises:
            ServiceError: 403 with the code for the resource type or the permission.
        """
        if self.is_key:
            return
        if self.resource_types is not None:
            if need.level.value not in self.resource_types:
                raise ServiceError("AuthorizationResourceTypeMismatch")
        elif not need.service_sas or (self.is_file_only and need.permissions == "l"):
            raise ServiceError("AuthorizationFailure")
        if not any(letter in self.permissions for letter in need.permissions):
            raise ServiceError("AuthorizationPermissionMismatch")

    def may_overwrite(self) -> bool:
        """Tell whether Create File may replace an existing file: ``c`` alone may not."""
        return self.is_key or "w" in self.permissions


KEY_GRANT: Final = Grant(is_key=True)
NO_GRANT: Final = Grant()
