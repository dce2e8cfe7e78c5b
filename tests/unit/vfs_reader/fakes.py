"""A file on a share, and an inode that knows it, both small enough to be scripted by a test."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from azfilesfs import errors
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

PATH = SharePath.parse("folder/file")
# A prime, so that no two blocks are equal.
_TILE_BYTES = 1_000_003


@dataclass(frozen=True)
class Answer:
    """What a Get File brings."""

    data: bytes
    properties: Properties
    byte_range: ByteRange


@dataclass(frozen=True)
class Request:
    """A Get File as it arrived."""

    path: SharePath
    byte_range: ByteRange
    lease_id: str | None


class FakeShare:
    """One file with versions; answers after ``latency`` seconds with what is true at that moment.

    ``unsure_of_time`` leaves the change time out of the answers. ``before_answer`` is called for
    each Get File, may change the file and may raise; ``shape`` may
    bend the answer.
    """

    def __init__(self, size: int) -> None:
        self.latency = 0.01
        self.generation = 0
        self.file_id = 77
        self.content = b""
        self.requests: list[Request] = []
        self.heads = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.most_bytes_in_flight = 0
        self.bytes_in_flight = 0
        self.bytes_sent = 0
        self.bodies: list[bytes] = []
        self.unsure_of_time = False
        self.before_answer: Callable[[Request], None] = lambda _: None
        self.shape: Callable[[Answer], Answer] = lambda answer: answer
        self.write(size)

    def write(self, size: int) -> None:
        """Replace the content by other bytes: another version."""
        self.generation += 1
        tile = random.Random(self.generation).randbytes(min(size, _TILE_BYTES))
        self.content = (tile * (size // _TILE_BYTES + 1))[:size]

    @property
    def properties(self) -> Properties:
        """What the service says of the file now."""
        return Properties(
            kind=EntryKind.FILE,
            size=len(self.content),
            etag=f'"0x{self.generation:X}"',
            file_id=self.file_id,
            change_time_ns=None if self.unsure_of_time else self.generation * 100,
        )

    @property
    def validator(self) -> Validator:
        """The version that the file has now."""
        validator = self.properties.validator()
        assert validator is not None
        return validator

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges asked for, in order."""
        return [(each.byte_range.start, each.byte_range.stop) for each in self.requests]

    async def get_file(
        self, path: SharePath, byte_range: ByteRange | None = None, *, lease_id: str | None = None
    ) -> Answer:
        assert byte_range is not None
        request = Request(path, byte_range, lease_id)
        self.requests.append(request)
        self.in_flight += 1
        self.bytes_in_flight += byte_range.length
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.most_bytes_in_flight = max(self.most_bytes_in_flight, self.bytes_in_flight)
        try:
            await trio.sleep(self.latency)
        finally:
            self.in_flight -= 1
            self.bytes_in_flight -= byte_range.length
        self.before_answer(request)
        size = len(self.content)
        if byte_range.start >= size:
            raise errors.InvalidRange("past the end", status=416)
        cut = ByteRange(byte_range.start, min(byte_range.stop, size))
        self.bodies.append(self.content[cut.start : cut.stop])
        self.bytes_sent += cut.length
        return self.shape(Answer(self.bodies[-1], self.properties, cut))

    async def get_file_properties(
        self, path: SharePath, *, lease_id: str | None = None
    ) -> Properties:
        self.heads += 1
        await trio.sleep(self.latency)
        return self.properties


class FakeInode:
    """Believes in one version until an answer teaches it another."""

    def __init__(self, share: FakeShare) -> None:
        self.share_path = PATH
        self.validator = share.validator
        self.lease_id: str | None = None
        self.answers: list[Properties] = []
        self.refuse: Exception | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[SharePath]:
        yield self.share_path

    def observed(self, properties: Properties) -> None:
        self.answers.append(properties)
        if self.refuse is not None:
            raise self.refuse
        validator = properties.validator()
        if validator is not None:
            self.validator = validator
