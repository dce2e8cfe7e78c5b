"""One upload pass.

Bring a dirty file's bytes, size and times to the service, and notice who was there meanwhile.

Order of requests: check the base (HEAD), size, ranges (several at once), check (HEAD, after several
ranges), times. Nothing counts as uploaded before the last
of them; a pass that fails is simply done again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import trio

from azfilesfs.client import PRESERVE, Times
from azfilesfs.errors import AzureFilesError, FileNotFound, ParentNotFound, ResourceTypeMismatch
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.properties import NEW_CONTENT, ContentHeaders, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator, has_create_with_data
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode

_MISSING = (FileNotFound, ParentNotFound, ResourceTypeMismatch)


class Conflict(Exception):
    """The remote file is not the version that the local changes stand on.

    ``remote`` is what is there, None for nothing.
    """

    def __init__(self, remote: Properties | None) -> None:
        super().__init__("the remote file changed")
        self.remote = remote


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass sends: fixed at its start, later writes wait for the next pass."""

    extents: tuple[ByteRange, ...]
    size: int
    mtime_ns: int | None
    ctime_ns: int | None

    @classmethod
    def of(cls, dirty: DirtyFile, *, only_full_ranges: bool) -> Plan:
        """Plan everything that is dirty, or only the 4 MiB units that are dirty from end to end."""
        extents = tuple(dirty.staged.dirty)
        if only_full_ranges:
            pieces = (piece for extent in extents for piece in extent.split(RANGE_BYTES))
            extents = tuple(piece for piece in pieces if piece.length == RANGE_BYTES)
        return cls(extents, dirty.size, dirty.mtime_ns, dirty.ctime_ns)

    def pieces(self) -> list[ByteRange]:
        """Return the bodies of the Put Range requests."""
        return [piece for extent in self.extents for piece in extent.split(RANGE_BYTES)]

    def times(self) -> Times:
        """Return the times that the closing request sets."""
        return Times(last_write_ns=self.mtime_ns, change_ns=self.ctime_ns)


class Uploader:
    """Runs upload passes.

    The caller holds ``inode.lock`` and runs in a worker task, never in a FUSE request.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = trio.CapacityLimiter(context.options.upload_parallelism)

    async def run(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        """Bring the plan to the service and return the version that it became.

        Raises:
            Conflict: somebody else changed, replaced or removed the file.
            AzureFilesError: a request failed; everything is still dirty.
        """
        try:
            return await self._run(inode, dirty, plan)
        except _MISSING:
            # The file, or a directory above it, went away between two of our requests.
            raise Conflict(None) from None

    async def _run(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        if dirty.base is None:
            return await self._complete(inode, await self._create(inode, dirty, plan))
        remote = await self._check_base(inode, dirty)
        if self._may_create_again(inode, dirty, plan):
            return await self._complete(inode, await self._create_with_data(inode, dirty, plan))
        return await self.update(inode, dirty, plan, remote)

    async def _complete(self, inode: Inode, answer: Properties) -> Properties:
        """Return the answer, or a HEAD's where the answer does not tell the whole validator."""
        if answer.validator() is not None:
            return answer
        checked = await self._head(inode)
        if checked is None:
            raise Conflict(None)
        return checked

    # -- new files -------------------------------------------------------------------------------

    async def _create(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        age = self._context.now() - dirty.absent_since
        if age >= self._context.options.attr_ttl or dirty.started:
            remote = await self._head(inode)
            if remote is not None and not dirty.is_ours(remote):
                raise Conflict(remote)
        if self._fits_one_request(plan):
            return await self._create_with_data(inode, dirty, plan)
        dirty.begin_sending(plan.mtime_ns)
        async with self._context.gate.path(inode) as path:
            created = await self._context.share.create_file(path, plan.size, times=plan.times())
        created = replace(created, content=NEW_CONTENT)
        if not plan.extents:
            return created
        return await self._send_ranges(inode, dirty, plan, created)

    def _fits_one_request(self, plan: Plan) -> bool:
        version = self._context.share.service_version
        return 0 < plan.size <= RANGE_BYTES and has_create_with_data(version)

    def _may_create_again(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> bool:
        """Our own file that is still empty there may get its first content by one Create File."""
        return inode.created_here and dirty.remote_size == 0 and self._fits_one_request(plan)

    async def _create_with_data(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        data = self.content(dirty, plan.size)
        dirty.begin_sending(plan.mtime_ns)
        async with self._context.gate.path(inode) as path:
            created = await self._context.share.create_file(
                path, plan.size, data=data, times=plan.times(), lease_id=inode.lease_id
            )
        return replace(created, content=NEW_CONTENT)

    def content(self, dirty: DirtyFile, size: int) -> bytearray:
        """Return the first ``size`` bytes of a file of which nothing shows through from the
        service.
        """
        content = bytearray(size)
        for extent in dirty.staged.present.within(ByteRange(0, size)):
            content[extent.start : extent.stop] = dirty.staged.read(extent)
        return content

    # -- existing files --------------------------------------------------------------------------

    async def _check_base(self, inode: Inode, dirty: DirtyFile) -> Properties:
        now = self._context.now()
        fresh = now - inode.checked_at < self._context.options.attr_ttl
        if inode.created_here and fresh and inode.properties is not None and not dirty.started:
            return inode.properties
        remote = await self._head(inode)
        if remote is None or not dirty.is_ours(remote):
            raise Conflict(remote)
        return remote

    async def _head(self, inode: Inode) -> Properties | None:
        async with self._context.gate.path(inode) as path:
            try:
                return await self._context.share.get_file_properties(path, lease_id=inode.lease_id)
            except _MISSING:
                return None

    async def update(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        """Bring the plan to a remote file that may be changed."""
        dirty.begin_sending(plan.mtime_ns)
        remote = await self._resize(inode, dirty, plan, remote)
        return await self._send_ranges(inode, dirty, plan, remote)

    async def _resize(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        """Cut and grow the remote file.

        The stored MD5 goes with the first change, the other headers stay.
        """
        is_changed = bool(plan.extents) or plan.size != remote.size
        content = remote.content.after_change() if is_changed else None
        sizes = []
        cut = dirty.staged.base_limit
        old = ByteRange(cut, min(remote.size, plan.size))
        # What the program cut off must not come back under a growth; bytes that we send replace it.
        if old.length > 0 and not ExtentMap(plan.extents).covers(old):
            sizes.append(cut)
        if plan.size != (sizes[-1] if sizes else remote.size):
            sizes.append(plan.size)
        for size in sizes or ([remote.size] if content is not None else []):
            async with self._context.gate.path(inode) as path:
                answer = await self._context.share.set_file_properties(
                    path,
                    size=size,
                    content=content,
                    times=Times(last_write_ns=PRESERVE),
                    lease_id=inode.lease_id,
                )
            remote = merged(remote, answer, size, content)
            content = None
        return remote

    async def _send_ranges(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        pieces = plan.pieces()
        etags = await self._put(inode, dirty, pieces)
        if len(pieces) > 1:
            now = await self._head(inode)
            if now is None or now.etag not in etags or now.size != plan.size:
                raise Conflict(now)
            remote = now
        async with self._context.gate.path(inode) as path:
            # The service clears the HTTP headers where they are not sent again.
            answer = await self._context.share.set_file_properties(
                path, times=plan.times(), content=remote.content, lease_id=inode.lease_id
            )
        return await self._complete(inode, merged(remote, answer, plan.size, None))

    async def _put(self, inode: Inode, dirty: DirtyFile, pieces: list[ByteRange]) -> set[str]:
        """Send ranges, several at once.

        After a failure no further one starts; those under way come to their end.
        """
        etags: set[str] = set()
        failures: list[Exception] = []

        async def put(piece: ByteRange) -> None:
            async with self._slots:
                if failures:
                    return
                try:
                    async with self._context.gate.path(inode) as path:
                        written = await self._context.share.put_range(
                            path,
                            piece.start,
                            dirty.staged.read(piece),
                            preserve_last_write=True,
                            lease_id=inode.lease_id,
                        )
                except (AzureFilesError, VfsError, OSError) as error:
                    failures.append(error)
                else:
                    etags.add(written.etag)

        async with trio.open_nursery() as nursery:
            for piece in pieces:
                nursery.start_soon(put, piece)
        if failures:
            raise failures[0]
        return etags


def merged(
    old: Properties, answer: Properties, size: int, content: ContentHeaders | None
) -> Properties:
    """Complete the answer of Set File Properties, which has neither size nor headers, from what was
    known.
    """
    return replace(
        old,
        size=size,
        etag=answer.etag,
        last_modified_ns=answer.last_modified_ns,
        last_write_time_ns=answer.last_write_time_ns,
        change_time_ns=answer.change_time_ns,
        attributes=answer.attributes if answer.attributes is not None else old.attributes,
        content=content if content is not None else old.content,
    )


def carried(old: Validator | None, plan: Plan, base_limit: int) -> list[ByteRange]:
    """Return the ranges of the old version that are not good any more under the new one.

    What lay from ``base_limit`` on was cut off, even where the file has the same size again.
    """
    if old is None:
        return []
    changed = list(plan.extents)
    if base_limit < old.size:
        changed.append(ByteRange(base_limit, old.size))
    if plan.size != old.size:
        changed.append(ByteRange(min(plan.size, old.size), max(plan.size, old.size)))
    return changed
