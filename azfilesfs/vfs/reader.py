"""Reads the clean bytes of files through the block cache.

A block of a version is loaded once, however many reads want it: the load runs in a task of the
reader's nursery, and the reads wait for it. Sequential reads load ranges of up to 4 MiB and some
more ahead; other reads load only the blocks that they touch. Every answer is compared with the
version that was asked for, so one read never mixes two.

State changes in synchronous steps: ``_loads`` names exactly the loads that have not finished. Each
request holds the path of its file still (see ``Readable.held``).
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

import trio

from azfilesfs import errors
from azfilesfs.cache import (
    BLOCK_BYTES,
    SLAB_BLOCKS,
    SLAB_BYTES,
    BlockCache,
    block_count,
    block_range,
    block_runs,
)
from azfilesfs.client import prioritised
from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.loads import ByteBudget, Load, Outdated, Piece, VersionMoved, assemble
from azfilesfs.vfs.readable import Content, FileSource, Readable
from azfilesfs.vfs.readahead import AccessPattern, Streams

__all__ = ["AccessPattern", "BlockReader", "Readable", "ReaderStatistics"]

_log = logging.getLogger("azfilesfs.vfs.reader")
_TRIES: Final = 5
_BUDGET_BYTES: Final = 64 * MIB
"""Bytes that may be in flight; at most half of it for reading ahead."""

_OPEN_BYTES: Final = 256 * KIB
"""What an open asks for: a small file whole, or as much as the kernel reads first."""

_DEMAND_BYTES: Final = MIB + BLOCK_BYTES
"""The most that one request of the kernel needs; more is asked for by reading ahead only."""


class ReaderStatistics(NamedTuple):
    """What is in flight now."""

    loads: int
    bytes_in_flight: int


class BlockReader:
    """Reads of all files of one mount."""

    def __init__(
        self,
        share: FileSource,
        cache: BlockCache,
        *,
        readahead_blocks: int,
        nursery: trio.Nursery,
        budget_bytes: int = _BUDGET_BYTES,
    ) -> None:
        """Start without loads.

        Args:
            share: where the bytes come from.
            cache: where they are kept.
            readahead_blocks: how many ranges of 4 MiB one handle may be read ahead; 0 for none.
            nursery: runs the loads; when it is cancelled they fail and so do their waiters.
            budget_bytes: how many bytes may be in flight at once; with a small memory tier half of
                that, since what is on its way takes its room.
        """
        self._share = share
        self._cache = cache
        self._nursery = nursery
        self._budget = ByteBudget(min(budget_bytes, max(SLAB_BYTES, cache.memory_bytes // 2)))
        # What is read ahead waits in the memory tier, where all handles must find room, and
        # something is left for other reads.
        self._streams = Streams(cache.memory_bytes // 4 * 3)
        self._window = min(readahead_blocks, cache.memory_bytes // (4 * SLAB_BYTES))
        self._loads: dict[Validator, dict[int, Load]] = {}
        self._serial = 0

    def new_pattern(self) -> AccessPattern:
        """Return the state that one handle passes to each of its reads."""
        return AccessPattern(self._window)

    def statistics(self) -> ReaderStatistics:
        """Return what is in flight."""
        loads = {load for each in self._loads.values() for load in each.values()}
        return ReaderStatistics(len(loads), self._budget.used)

    async def read(
        self, source: Readable, offset: int, size: int, pattern: AccessPattern | None
    ) -> bytes | memoryview:
        """Return the bytes of one version, fewer than ``size`` only at its end.

        Without a pattern the read counts as one at random. A cancellation leaves loads running
        that other reads, or the cache, profit from.

        Raises:
            ChangedDuringRead: the file had another version at each of several attempts.
            AzureFilesError: the service or the network failed.
            VfsError: ESTALE, the path belongs to another file now.
        """
        began = self._next_serial()
        validator = source.validator
        window = _clamped(offset, size, validator)
        in_sequence = pattern.note(window) if pattern is not None and window.length else False
        for _ in range(_TRIES):
            window = _clamped(offset, size, validator)
            if not window.length:
                return b""
            stream = pattern if in_sequence else None
            loads, pieces = self._want(source, validator, window, stream)
            if stream is not None:
                self._read_ahead(source, validator, window, stream)
            try:
                for load in loads:
                    pieces += await load.wait(began)
                return assemble(pieces, window)
            except VersionMoved as moved:
                validator = _take_version(source, validator, moved.properties)
            except Outdated:
                _log.debug("a load that began before the read is repeated")
        async with source.held() as path:
            raise errors.ChangedDuringRead(
                f"the file changed {_TRIES} times while it was read", path=str(path)
            )

    async def open_first_block(self, source: Readable) -> Properties | None:
        """Ask the service for the first block, so that its headers revalidate the file at open.

        Returns:
            what the service says of the file now; None where the block is cached or the file is
            empty, and the caller has to ask without data.

        Raises:
            AzureFilesError: the service or the network failed.
        """
        validator = source.validator
        if validator.size == 0 or await self._cache.load(validator, range(1)):
            return None
        window = ByteRange(0, _OPEN_BYTES)
        async with source.held() as path:
            try:
                content = await self._share.get_file(path, window, lease_id=source.lease_id)
            except errors.InvalidRange:
                return await self._share.get_file_properties(path, lease_id=source.lease_id)
        self._keep(content)
        return content.properties

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _want(
        self,
        source: Readable,
        validator: Validator,
        window: ByteRange,
        stream: AccessPattern | None,
    ) -> tuple[list[Load], list[Piece]]:
        """Collect what can be had at once, and join or start loads for the rest."""
        pieces: list[Piece] = []
        loads: dict[Load, None] = {}
        missing: list[int] = []
        under_way = self._loads.get(validator, {})
        position = window.start
        while position < window.stop:
            data = self._cache.get_nowait(validator, position, window.stop)
            load = under_way.get(position // BLOCK_BYTES) if data is None else None
            if data is None and load is None:
                data = self._cache.read_nowait(validator, position, window.stop)
            if data is not None:
                pieces.append(Piece(position, data))
                position += len(data)
                continue
            index = position // BLOCK_BYTES
            if load is not None:
                loads[load] = None
                position = load.indexes.stop * BLOCK_BYTES
            else:
                missing.append(index)
                position = (index + 1) * BLOCK_BYTES
        runs = list(block_runs(missing))
        if runs and stream is not None:
            stream.missed(runs[0].start // SLAB_BLOCKS)
            runs[-1] = self._extended(validator, runs[-1], stream)
        for run in runs:
            loads[self._start(source, validator, run)] = None
        return list(loads), pieces

    def _extended(self, validator: Validator, run: range, stream: AccessPattern) -> range:
        """Lengthen a run by what a read in sequence will want next, up to the end of its slab."""
        if self._budget.is_crowded:
            return run
        share = self._streams.share(stream, trio.current_time())
        extension = min(stream.extension, share) // BLOCK_BYTES
        slab_end = -(-run.stop // SLAB_BLOCKS) * SLAB_BLOCKS
        last = min(slab_end, block_count(validator.size), run.stop + extension)
        stop = run.stop
        while stop < last and self._is_new(validator, stop):
            stop += 1
        return range(run.start, stop)

    def _is_new(self, validator: Validator, index: int) -> bool:
        return index not in self._loads.get(validator, ()) and not self._cache.has(validator, index)

    def _read_ahead(
        self, source: Readable, validator: Validator, window: ByteRange, pattern: AccessPattern
    ) -> None:
        """Start loads for the next ranges, as far as pattern, share and budget allow."""
        pattern.turn_to(validator)
        # One range of the share is the one that is being read.
        share = self._streams.share(pattern, trio.current_time()) // SLAB_BYTES - 1
        here = (window.stop - 1) // SLAB_BYTES
        last = min(here + min(pattern.window, share), (validator.size - 1) // SLAB_BYTES)
        for slab in range(max(here, pattern.asked) + 1, last + 1):
            stop = min((slab + 1) * SLAB_BLOCKS, block_count(validator.size))
            wanted = (i for i in range(slab * SLAB_BLOCKS, stop) if self._is_new(validator, i))
            for run in block_runs(wanted):
                amount = len(run) * BLOCK_BYTES
                is_crowded = self._budget.used + amount > self._budget.limit // 2
                if is_crowded or not self._budget.acquire_nowait(amount):
                    return
                self._start(source, validator, run, is_reserved=True)
            pattern.ask(slab)

    def _start(
        self, source: Readable, validator: Validator, run: range, *, is_reserved: bool = False
    ) -> Load:
        load = Load(validator, run, self._next_serial())
        if is_reserved:
            self._reserved(load)
        self._nursery.start_soon(self._run, source, load)
        self._loads.setdefault(validator, {}).update(dict.fromkeys(run, load))
        return load

    async def _run(self, source: Readable, load: Load) -> None:
        """Carry a load out; all that happens becomes its outcome, only a cancellation leaves."""
        try:
            if not load.is_reserved:
                await self._acquire(load.bytes_reserved)
                self._reserved(load)
            with prioritised(load.urgency):
                load.pieces = await self._fetch(source, load)
        except VersionMoved as moved:
            load.moved = moved.properties
        except Exception as error:  # noqa: BLE001 - the waiters raise it; here it would end the mount
            load.error = error
            if not load.waiters:
                _log.debug("a load that nobody waits for failed: %s", error)
        finally:
            if load.pieces is None and load.moved is None and load.error is None:
                load.error = errors.ConnectionFailed("reading was given up at the end of the mount")
            if load.is_reserved:
                self._cache.take_back(load.lent)
                self._budget.release(load.bytes_reserved)
            under_way = self._loads[load.validator]
            for index in load.indexes:
                del under_way[index]
            if not under_way:
                del self._loads[load.validator]
            load.finished.set()

    async def _acquire(self, amount: int) -> None:
        if amount <= _DEMAND_BYTES:
            self._budget.take(amount)
        else:
            await self._budget.acquire(amount)

    def _reserved(self, load: Load) -> None:
        """Take note that the budget has granted a load its bytes."""
        load.is_reserved = True
        load.lent = load.bytes_reserved
        self._cache.lend(load.lent)

    async def _fetch(self, source: Readable, load: Load) -> list[Piece]:
        """Take the blocks from the disk, and those that it does not have from the service."""
        validator = load.validator
        pieces: list[Piece] = []
        gaps = set(load.indexes)
        for first, data in await self._cache.load(validator, load.indexes, is_lent=True):
            load.lent -= len(data)
            pieces.append(Piece(first * BLOCK_BYTES, data))
            gaps.difference_update(range(first, first + block_count(len(data))))
        for run in block_runs(index for index in load.indexes if index in gaps):
            window = ByteRange(run.start * BLOCK_BYTES, block_range(run[-1], validator.size).stop)
            fetched = await self._get(source, validator, window)
            self._cache.put(validator, run.start, fetched, is_lent=True)
            load.lent -= len(fetched)
            pieces.append(Piece(window.start, fetched))
        return pieces

    async def _get(
        self, source: Readable, validator: Validator, window: ByteRange
    ) -> bytes | memoryview:
        lease_id = source.lease_id
        async with source.held() as path:
            try:
                content = await self._share.get_file(path, window, lease_id=lease_id)
            except errors.InvalidRange:
                # Inside the size that we believe in: the file was cut, and the answer does not
                # name the version.
                properties = await self._share.get_file_properties(path, lease_id=lease_id)
                if _is_version(properties, validator):
                    raise
                raise VersionMoved(properties) from None
        if not _is_version(content.properties, validator):
            self._keep(content)
            raise VersionMoved(content.properties)
        if content.byte_range != window or len(content.data) != window.length:
            raise errors.IntegrityError(
                f"asked for {window.format()}, got {content.byte_range.format()}"
                f" with {len(content.data)} bytes",
                operation="GetFile",
                path=str(path),
            )
        return content.data

    def _keep(self, content: Content) -> None:
        """Cache the whole blocks of an answer under the version that it has itself."""
        validator = content.properties.validator()
        start, stop = content.byte_range
        if validator is None or start % BLOCK_BYTES or len(content.data) != stop - start:
            return
        if stop != validator.size:
            stop -= stop % BLOCK_BYTES
        if start < stop <= validator.size:
            self._cache.put(validator, start // BLOCK_BYTES, content.data[: stop - start])


def _clamped(offset: int, size: int, validator: Validator) -> ByteRange:
    return ByteRange(offset, max(offset, min(offset + size, validator.size)))


def _is_version(properties: Properties, validator: Validator) -> bool:
    """Tell whether an answer is about this version.

    Raises:
        ProtocolError: the answer has no ETag, so nobody can tell.
    """
    if properties.etag is None:
        raise errors.ProtocolError("the answer has no ETag")
    return not properties.partial_validator().contradicts(validator)


def _take_version(source: Readable, asked: Validator, properties: Properties) -> Validator:
    """Tell the file about another version, and return the one to read now.

    An answer about a version that the file itself has left meanwhile is old news and not told.
    """
    if source.validator == asked:
        source.observed(properties)
    if source.validator != asked:
        return source.validator
    return properties.validator() or asked
