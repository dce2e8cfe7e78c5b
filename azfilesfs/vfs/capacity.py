"""statfs: the share's quota and usage, asked for rarely."""

from __future__ import annotations

import logging

import trio

from azfilesfs.errors import AuthenticationError, AzureFilesError
from azfilesfs.model.limits import COMPONENT_UNITS, GIB, TIB
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.types import StatFs

_BLOCK_BYTES = 4096
_UNKNOWN_BYTES = 100 * TIB
_FRESH_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class Capacity:
    """Quota and usage as df shows them; where the credential may not ask, 100 TiB are free."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asking = trio.Lock()
        self._quota = _UNKNOWN_BYTES
        self._used = 0
        self._asked_at = float("-inf")
        self._refused = False

    async def statfs(self) -> StatFs:
        """Return the share's size and free space; a failure answers with the last known figures."""
        async with self._asking:
            if not self._refused and self._context.now() - self._asked_at > _FRESH_SECONDS:
                await self._ask()
        blocks = self._quota // _BLOCK_BYTES
        free = max(0, self._quota - self._used) // _BLOCK_BYTES
        # The service has no notion of inodes; 0 would make df -i and some installers complain.
        return StatFs(_BLOCK_BYTES, blocks, free, blocks, free, COMPONENT_UNITS)

    async def _ask(self) -> None:
        share = self._context.share
        try:
            self._quota = (await share.get_share_properties()).quota_gib * GIB
            self._used = await share.get_share_statistics()
        except AuthenticationError as error:
            self._refused = True
            _LOG.info("the credential may not ask for quota and usage, df shows 100 TiB: %s", error)
        except AzureFilesError as error:
            _LOG.debug("quota and usage could not be asked: %s", error)
        self._asked_at = self._context.now()
