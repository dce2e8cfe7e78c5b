"""One upload pass.

Bring a dirty file's bytes, size and times to the service, and notice who was there meanwhile.

Order of requests: check the base (HEAD), size, ranges (several at once), check (HEAD, after several
ranges), times together with a last size. Nothing counts as uploaded before the last
of them; a pass that fails is simply done again. A background pass, of a file that is still being
written, grows the file ahead of what is written, takes on what is written meanwhile, and ends with
the check. The pass that a program waits for often begins where a background pass has just ended:
then that one's check is its own first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from azfilesfs.client import PRESERVE, Times
from azfilesfs.errors import FileNotFound, ParentNotFound, ResourceTypeMismatch
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.properties import NEW_CONTENT, ContentHeaders, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator, has_create_with_data
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.plan import Plan, grown_size
from azfilesfs.vfs.sending import Foreign, RangeSender

_MISSING = (FileNotFound, ParentNotFound, ResourceTypeMismatch)


class Conflict(Exception):
    """The remote file is not the version that the local changes stand on.

    ``remote`` is what is there, None for nothing.
    """

    def __init__(self, remote: Properties | None) -> None:
        super().__init__("the remote file changed")
        self.remote = remote


class Uploader:
    """Runs upload passes.

    The caller holds ``inode.lock`` and runs in a worker task, never in a FUSE request.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sender = RangeSender(context)

    @property
    def is_busy(self) -> bool:
        """Whether as many ranges are under way as one file may have."""
        return self._sender.is_busy

    def trim(self) -> None:
        """Free memory that only uploads need, where there is none."""
        self._sender.trim()

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
        remote = await self._check_base(inode, dirty, plan)
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
        size = plan.remote_size()
        async with self._context.gate.path(inode) as path:
            created = await self._context.share.create_file(path, size, times=plan.times())
        dirty.blank.clear()
        dirty.blank.add(ByteRange(0, size))
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
        async with self._sender.slot(plan.size):
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

    async def _check_base(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> Properties:
        known = inode.properties
        if known is not None and not dirty.started and self._need_not_ask(inode, dirty, plan):
            return known
        remote = await self._head(inode)
        if remote is None or not dirty.is_ours(remote):
            raise Conflict(remote)
        return remote

    def _need_not_ask(self, inode: Inode, dirty: DirtyFile, plan: Plan) -> bool:
        """Tell whether the file was compared so lately that asking again would not tell more.

        What lies between a comparison and a write is not seen in any case; and the answer to a
        range shows whether somebody wrote. So nothing but ranges may go out unasked, and the file
        that we created and that is still empty; and whatever follows the comparison of a background
        pass at once.
        """
        options, now = self._context.options, self._context.now()
        if inode.created_here:
            return now - inode.checked_at < options.attr_ttl
        known = inode.properties
        if known is None or known.content.content_md5 is not None:
            return False
        if known.validator() == dirty.base and now - dirty.confirmed_at < options.comparison_window:
            return True
        is_in_place = plan.is_partial or (len(plan.pieces()) == 1 and plan.size == known.size)
        is_lately = now - inode.compared_at < options.comparison_window
        return is_in_place and is_lately and known.validator() == dirty.base

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
        remote = await self._make_room(inode, dirty, plan, remote)
        return await self._send_ranges(inode, dirty, plan, remote)

    async def _make_room(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        """Cut and grow the remote file, as far as the closing request cannot.

        The stored MD5 goes with the first change, the other headers stay.
        """
        content = remote.content.after_change() if plan.extents else None
        sizes = []
        cut = dirty.staged.base_limit
        old = ByteRange(cut, min(remote.size, plan.size))
        # What the program cut off must not come back under a growth; bytes that we send replace it.
        if old.length > 0 and not ExtentMap((*plan.extents, *dirty.blank)).covers(old):
            sizes.append(cut)
        size = sizes[-1] if sizes else remote.size
        if plan.extents and plan.least_size() > size:
            sizes.append(plan.remote_size())
        for size in sizes or ([remote.size] if content is not None else []):
            remote = await self._resize(inode, dirty, remote, size, content)
            content = None
        return remote

    async def _resize(
        self,
        inode: Inode,
        dirty: DirtyFile,
        remote: Properties,
        size: int,
        content: ContentHeaders | None,
    ) -> Properties:
        async with self._context.gate.path(inode) as path:
            answer = await self._context.share.set_file_properties(
                path,
                size=size,
                content=content,
                times=Times(last_write_ns=PRESERVE),
                lease_id=inode.lease_id,
            )
        dirty.blank.truncate(size)
        dirty.blank.add(ByteRange(remote.size, size))
        return merged(remote, answer, size, content)

    async def _send_ranges(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        pieces, is_growing = plan.pieces(), False
        grown: set[str | None] = set()

        async def answered(piece: ByteRange, is_sent: bool) -> AsyncIterator[ByteRange]:
            nonlocal remote, is_growing
            plan.on_answer(piece.length)
            for unit in plan.take_on(dirty, remote.size):
                yield unit
            # The answer to a range has shown that nobody else wrote: a comparison before growing.
            if is_growing or not is_sent or not plan.is_outgrown(dirty, remote.size):
                return
            is_growing = True
            remote = await self._resize(inode, dirty, remote, grown_size(dirty.size), None)
            is_growing = False
            grown.add(remote.etag)
            for unit in plan.take_on(dirty, remote.size):
                yield unit

        try:
            etags = await self._sender.send(inode, dirty, pieces, answered) | grown
        except Foreign:
            raise Conflict(await self._head(inode)) from None
        if len(pieces) > 1 or plan.is_partial:
            now = await self._head(inode)
            is_ours = now is not None and (
                (now.etag in etags if etags else now.etag == remote.etag)
                and now.size == remote.size
                and dirty.is_our_time(now.last_write_time_ns)
            )
            if now is None or not is_ours:
                raise Conflict(now)
            inode.compared_at = self._context.now()
            remote = now
        if plan.is_partial:
            return remote
        return await self._close(inode, dirty, plan, remote)

    async def _close(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties
    ) -> Properties:
        """Set the times, and the size where no range had to wait for it."""
        is_resized = plan.size != remote.size
        # The service clears the HTTP headers where they are not sent again.
        content = (remote.content.after_change() if is_resized else None) or remote.content
        async with self._context.gate.path(inode) as path:
            answer = await self._context.share.set_file_properties(
                path,
                size=plan.size if is_resized else None,
                times=plan.times(),
                content=content,
                lease_id=inode.lease_id,
            )
        dirty.blank.truncate(plan.size)
        dirty.blank.add(ByteRange(remote.size, plan.size))
        return await self._complete(inode, merged(remote, answer, plan.size, content))


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


def carried(old: Validator | None, plan: Plan, new_size: int, base_limit: int) -> list[ByteRange]:
    """Return the ranges of the old version that are not good any more under the new one.

    What lay from ``base_limit`` on was cut off, even where the file has the same size again.
    """
    if old is None:
        return []
    changed = list(plan.extents)
    if base_limit < old.size:
        changed.append(ByteRange(base_limit, old.size))
    if new_size != old.size:
        changed.append(ByteRange(min(new_size, old.size), max(new_size, old.size)))
    return changed
