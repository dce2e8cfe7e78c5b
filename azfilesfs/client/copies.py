"""Server-side copies inside one share (Copy File)."""

from __future__ import annotations

from typing import Final

import trio

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import (
    Target,
    TimeMark,
    Times,
    check_sendable,
    lease_headers,
)
from azfilesfs.client.responses import copy_of, shown_file
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import CopyFailed, ProtocolError
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import CopyState, Properties

_FIRST_POLL_SECONDS: Final = 0.1
_LAST_POLL_SECONDS: Final = 5.0


class CopyOperations(ShareOperations):
    """Copies between files of one share."""

    async def copy_file(
        self,
        source: SharePath,
        destination: SharePath,
        *,
        keep_times: bool = True,
        lease_id: str | None = None,
    ) -> CopyState:
        """Start a copy of a file onto another, which is created or overwritten (Copy File).

        Args:
            source: what to copy; metadata and HTTP properties go with it.
            destination: where to.
            keep_times: give the copy the source's attributes, creation and last-write time instead
                of now.
            lease_id: needed where the destination is leased.

        Returns:
            The state: ``success`` where the service was done at once, else ``pending``; see
                ``wait_for_copy``.

        Raises:
            FileNotFound, CopyFailed: the source cannot be read.
            LeaseIdMissing: the destination is leased.
        """
        destination.check()
        check_sendable(source)
        kept = Times(creation_ns=TimeMark.SOURCE, last_write_ns=TimeMark.SOURCE)
        headers = {**kept.headers(), "x-ms-file-attributes": "source"} if keep_times else {}
        call = self._call(
            "CopyFile",
            "PUT",
            Target.FILE,
            destination,
            headers={**headers, **lease_headers(lease_id)},
            source=("x-ms-copy-source", source),
            success=frozenset({202}),
            mutates=True,
        )
        return await self._ask(call, _started_copy)

    async def wait_for_copy(self, path: SharePath, copy_id: str) -> Properties:
        """Wait until a copy onto a file is done and return the file's properties.

        It waits as long as the copy is pending; give it a cancel scope. A cancellation leaves the
        copy running.

        Raises:
            CopyFailed: the copy failed, was aborted, or another has taken its place.
        """
        delay = _FIRST_POLL_SECONDS
        while True:
            properties = await self._copy_properties(path)
            state = properties.copy
            if state is None or state.copy_id != copy_id:
                raise CopyFailed("the file is no longer the target of this copy", path=str(path))
            if state.status == "success":
                return properties
            if state.status != "pending":
                raise CopyFailed(f"the copy ended as {state.status}", path=str(path))
            await trio.sleep(delay)
            delay = min(delay * 2, _LAST_POLL_SECONDS)

    async def _copy_properties(self, path: SharePath) -> Properties:
        call = self._call("GetFileProperties", "HEAD", Target.FILE, path)
        return await self._ask(call, shown_file)

    async def abort_copy(
        self, path: SharePath, copy_id: str, *, lease_id: str | None = None
    ) -> None:
        """Stop a pending copy, leaving an empty file (Abort Copy File).

        Raises:
            CopyFailed: no such copy is pending.
        """
        call = self._call(
            "AbortCopyFile",
            "PUT",
            Target.FILE,
            path,
            query={"comp": "copy", "copyid": copy_id},
            headers={"x-ms-copy-action": "abort", **lease_headers(lease_id)},
            success=frozenset({204}),
            mutates=True,
        )
        try:
            await self._send(call)
        except CopyFailed as error:
            if not error.may_have_been_applied:
                raise


def _started_copy(answer: WireAnswer) -> CopyState:
    state = copy_of(answer.headers)
    if state is None:
        raise ProtocolError("the answer does not name the copy")
    return state
