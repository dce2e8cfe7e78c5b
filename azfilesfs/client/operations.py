"""What the operations of a share have in common: share, pipeline, the building of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypedDict, TypeVar, Unpack

from azfilesfs.client.pipeline import Pipeline
from azfilesfs.client.requests import Buffer, Call, Fence, Target, check_sendable
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.model.paths import SharePath, check_share_name

T = TypeVar("T")

_RESTYPE: Final[Mapping[Target, Mapping[str, str]]] = {
    Target.SERVICE: {},
    Target.SHARE: {"restype": "share"},
    Target.DIRECTORY: {"restype": "directory"},
    Target.FILE: {},
}


class CallParts(TypedDict, total=False):
    """The parts of a call that have a default."""

    headers: Mapping[str, str]
    source: tuple[str, SharePath]
    body: Buffer
    success: frozenset[int]
    budget: Budget
    mutates: bool
    repeat: bool
    reads: int
    body_limit: int | None
    since: str


class ShareOperations:
    """Base of the operations on one share; each subclass adds one subject."""

    def __init__(self, pipeline: Pipeline, name: str, fence: Fence | None = None) -> None:
        """Address a share; ``fence`` is asked before each attempt at a change.

        Raises:
            InvalidShareName: the name is malformed.
        """
        check_share_name(name)
        self._pipeline = pipeline
        self._fence = fence
        self.name = name

    @property
    def service_version(self) -> str:
        """The service version in use: the configured one, or an older one after a refusal."""
        return self._pipeline.version

    def _call(
        self,
        name: str,
        method: str,
        target: Target,
        path: SharePath | None,
        query: Mapping[str, str | None] | None = None,
        **parts: Unpack[CallParts],
    ) -> Call:
        if path is not None:
            check_sendable(path)
        given = _RESTYPE[target]
        if query:
            named = {key: value for key, value in query.items() if value is not None}
            given = {**given, **named}
        return Call(
            name=name,
            method=method,
            target=target,
            share=self.name,
            path=path,
            query=given,
            fence=self._fence,
            **parts,
        )

    async def _send(self, call: Call) -> WireAnswer:
        """Execute a call whose answer says nothing but that it is done."""
        return await self._pipeline.execute(call, _as_it_is)

    async def _ask(self, call: Call, parse: Callable[[WireAnswer], T]) -> T:
        """Execute a call and return what its answer says; one that cannot be read is repeated."""

        async def read(answer: WireAnswer) -> T:
            return parse(answer)

        return await self._pipeline.execute(call, read)


async def _as_it_is(answer: WireAnswer) -> WireAnswer:
    return answer
