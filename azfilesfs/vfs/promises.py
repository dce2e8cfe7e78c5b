"""Sending what an earlier process had acknowledged and not sent (``--close=async``).

Only what a close was answered on; everything else waits for a person. Each file is compared first:
where another client has written it, it stays with the kept records.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import trio

from azfilesfs.client import ShareClient, Times
from azfilesfs.errors import AzureFilesError, FileAlreadyExists
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.properties import NEW_CONTENT, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import has_create_with_data
from azfilesfs.vfs import kept, recovery, resend
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.recovery import NoSuchRecord, RecordBusy
from azfilesfs.vfs.resend import BaseMoved, MergedFile
from azfilesfs.vfs.staging import StagingArea

_AT_ONCE: Final = 8
_LOG = logging.getLogger(__name__)


async def send_acknowledged(share: ShareClient, area: StagingArea, deadline: float) -> int:
    """Send the kept records that a close was answered on; return how many could not be sent.

    What is not sent within ``deadline`` seconds stays for the next mount. Failures are logged.
    """
    records = [record for record in area.kept() if record.acknowledged is not None]
    left = len(records)
    slots = trio.CapacityLimiter(_AT_ONCE)

    async def send(record: KeptRecord) -> None:
        nonlocal left
        async with slots:
            left -= await _is_sent(share, record)

    with trio.move_on_after(deadline):
        async with trio.open_nursery() as nursery:
            for record in records:
                nursery.start_soon(send, record)
    if records:
        _LOG.warning(
            "%d of %d acknowledged file(s) of an earlier process were sent",
            len(records) - left,
            len(records),
        )
    return left


async def _is_sent(share: ShareClient, record: KeptRecord) -> bool:
    try:
        with recovery.claimed(record) as current:
            if current.acknowledged is None:
                return False
            await _send(share, current)
    except (BaseMoved, FileAlreadyExists) as error:
        _LOG.error("%r is kept, another client has written it: %s", str(record.path), error)
        reason = "another client had written it before it could be sent"
        kept.rewrite(replace(record, acknowledged=None, reason=reason))
        return False
    except (AzureFilesError, OSError, RecordBusy, NoSuchRecord) as error:
        _LOG.error("%r is kept, it could not be sent: %s", str(record.path), error)
        return False
    return True


async def _send(share: ShareClient, record: KeptRecord) -> None:
    remote = await resend.look(share, record)
    # What the dead process had sent of this very file is no change of another client.
    is_ours = _is_ours(record, remote)
    if record.base is None:
        if remote is not None and not is_ours:
            raise FileAlreadyExists(f"{record.path} exists")
        await _send_new(share, record)
        kept.remove(record.directory)
        return
    await resend.send(share, record, force=is_ours)
    now = await share.get_file_properties(record.path)
    await share.set_file_properties(record.path, times=_times(record), content=now.content)


async def _send_new(share: ShareClient, record: KeptRecord) -> None:
    """Make a file that nobody has made meanwhile, in one request where it is small."""
    path, size, times = record.path, record.size, _times(record)
    merged = MergedFile(share, record, None)
    if 0 < size <= RANGE_BYTES and has_create_with_data(share.service_version):
        data = await merged.read(ByteRange(0, size))
        await share.create_file(path, size, data=data, times=times)
        return
    await share.create_file(path, size, times=times)
    windows = list(merged.windows())
    for window in windows:
        data = await merged.read(window)
        await share.put_range(path, window.start, data, preserve_last_write=True)
    if windows:
        await share.set_file_properties(path, times=times, content=NEW_CONTENT)


def _times(record: KeptRecord) -> Times:
    promise = record.acknowledged
    if promise is None:
        return Times()
    return Times(last_write_ns=promise.mtime_ns, change_ns=promise.ctime_ns)


def _is_ours(record: KeptRecord, remote: Properties | None) -> bool:
    """Tell whether what is there is the base under an upload of ours that did not come to its end.

    Our ranges leave the last-write time of the base, our other requests one of our own.
    """
    promise = record.acknowledged
    if remote is None or promise is None or remote.last_write_time_ns is None:
        return False
    if record.base is None:
        return remote.last_write_time_ns == promise.mtime_ns
    return remote.file_id == record.base.file_id and (
        remote.last_write_time_ns in {promise.mtime_ns, promise.base_write_ns}
    )
