"""Setting the times of a symbolic link."""

import stat

from azfilesfs.vfs.types import SetAttr


async def test_a_link_stays_a_link_when_its_times_are_set(program, app):
    """The answer to utimensat shows the link, which is not read again for that."""
    ino = await program.symlink(b"target", "link")
    app.requests.reset()

    entry = await program.fs.setattr(ino, SetAttr(mtime_ns=1_577_836_800_000_000_000), None)

    assert stat.S_ISLNK(entry.attrs.mode)
    assert entry.attrs.size == len(b"target")
    assert entry.attrs.mtime_ns == 1_577_836_800_000_000_000
    assert await program.fs.readlink(ino) == b"target"
    assert "GetFile" not in app.requests.counts()["operations"]
