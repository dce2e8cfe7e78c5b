"""What the operations of a share have in common: the share, the pipeline, and the building of calls."""

from __future__ import annotations

from typing import Any

from azfilesfs.client.pipeline import Pipeline
from azfilesfs.client.requests import Call, Target, check_sendable
from azfilesfs.client.transport import WireAnswer
from azfilesfs.model.paths import SharePath, check_share_name


class ShareOperations:
    """Base of the operations on one share; the subclasses add one subject each and share this state."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        """Address a share.

        Raises:
            InvalidShareName: the name is malformed.
        """
        check_share_name(name)
        self._pipeline = pipeline
        self.name = name

    @property
    def service_version(self) -> str:
        """The service version in use: the configured one, or an older one once the service has refused it."""
        return self._pipeline.version

    def _call(
        self, name: str, method: str, target: Target, path: SharePath | None, **more: Any
    ) -> Call:
        if path is not None:
            check_sendable(path)
        query = dict(more.pop("query", {}))
        if target is Target.SHARE:
            query = {"restype": "share", **query}
        elif target is Target.DIRECTORY:
            query = {"restype": "directory", **query}
        return Call(
            name=name,
            method=method,
            target=target,
            share=self.name,
            path=path,
            query={key: value for key, value in query.items() if value is not None},
            **more,
        )

    async def _execute(self, call: Call) -> WireAnswer:
        return await self._pipeline.execute(call)
