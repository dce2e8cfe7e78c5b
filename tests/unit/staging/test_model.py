"""A staged file against plain bytes, with crashes at any byte of the journal."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import journal_file as journal_module
from azfilesfs.vfs import staging_directory
from azfilesfs.vfs.journal import Acknowledgement
from azfilesfs.vfs.kept import Layout, adopt_leftovers
from azfilesfs.vfs.staging import StagingArea

ROOM = 30_000
BASE = Validator(5, '"0x1"', 6000, 1)
OFFSETS = st.integers(0, 12_000)
LENGTHS = st.integers(0, 6_000)


class Model(NamedTuple):
    """What a staged file should be: a flag for each byte beside its content."""

    content: bytes
    dirty: bytes
    present: bytes
    path: SharePath
    base: Validator | None
    base_limit: int
    promised: Acknowledgement | None = None

    def resized(self, size: int) -> "Model":
        """Return it with the other size; growth is zeros."""
        return self._replace(
            **{
                name: getattr(self, name)[:size].ljust(size, b"\0")
                for name in ("content", "dirty", "present")
            }
        )

    def marked(self, name: str, start: int, stop: int, data: bytes) -> "Model":
        """Return it with the bytes of one of its fields changed."""
        old = getattr(self, name)
        return self._replace(**{name: old[:start] + data + old[stop:]})


def extents(flags: bytes) -> list[ByteRange]:
    """Return where flags are set."""
    found, start = [], -1
    for index, flag in enumerate(flags + b"\0"):
        if flag and start < 0:
            start = index
        elif not flag and start >= 0:
            found.append(ByteRange(start, index))
            start = -1
    return found


class StagedFileMachine(RuleBasedStateMachine):
    """Drives one staged file and its model; ``before`` is what was before the last step."""

    def __init__(self) -> None:
        """Stage a file of 6,000 remote bytes."""
        super().__init__()
        self.often = mock.patch.object(journal_module, "_COMPACT_BYTES", 600)
        self.often.start()
        self.seldom = mock.patch.object(staging_directory, "_JOURNAL_BYTES", 900)
        self.seldom.start()
        self.state = Path(tempfile.mkdtemp())
        self.area_context = StagingArea.open(self.state, ROOM, share="a/s")
        self.area = self.area_context.__enter__()
        self.file = self.area.create(SharePath(("f",)), BASE, BASE.size)
        self.directory = self.state / "staging" / "live" / self.file.id
        nothing = bytes(BASE.size)
        self.model = Model(nothing, nothing, nothing, SharePath(("f",)), BASE, BASE.size)
        self.note()
        self.note()

    def note(self) -> None:
        """Remember what the disk held, and how the model was, before the step that follows."""
        data = self.directory / "data"
        self.before = (
            self.model,
            data.read_bytes() if data.exists() else b"",
            (self.directory / "journal").read_bytes(),
        )

    @rule(offset=OFFSETS, length=LENGTHS, fill=st.integers(1, 255))
    def write(self, offset, length, fill):
        """Write bytes; over the limit nothing happens."""
        self.note()
        data = bytes([fill]) * length
        model = self.model.resized(max(len(self.model.content), offset + length if length else 0))
        model = model.marked("content", offset, offset + length, data)
        model = model.marked("dirty", offset, offset + length, b"\1" * length)
        model = model.marked("present", offset, offset + length, b"\1" * length)
        try:
            self.file.write(offset, data)
        except OSError:
            assert model.dirty.count(1) > ROOM
        else:
            self.model = model._replace(promised=None) if length else model

    @rule(moment=st.integers(0, 9))
    def acknowledge(self, moment):
        """Answer a close on what is dirty."""
        self.note()
        promise = Acknowledgement(moment, None, 7)
        self.file.acknowledge(promise)
        self.model = self.model._replace(promised=promise)

    @rule(size=OFFSETS)
    def truncate(self, size):
        """Change the size."""
        self.note()
        self.file.truncate(size)
        limit = min(self.model.base_limit, size)
        self.model = self.model.resized(size)._replace(base_limit=limit, promised=None)

    @rule(start=OFFSETS, length=LENGTHS)
    def upload(self, start, length):
        """Send bytes."""
        self.note()
        self.file.mark_uploaded(ByteRange(start, start + length))
        clean = bytes(len(self.model.dirty[start : start + length]))
        self.model = self.model.marked("dirty", start, start + length, clean)

    @rule()
    def drop(self):
        """Give the space of clean bytes back."""
        self.note()
        self.file.drop_clean()
        self.model = self.model._replace(present=self.model.dirty)

    @rule(name=st.text(min_size=1, max_size=3))
    def relocate(self, name):
        """Rename the file."""
        self.note()
        self.file.relocate(SharePath((name,)))
        self.model = self.model._replace(path=SharePath((name,)))

    @rule(etag=st.integers(0, 9), size=OFFSETS)
    def rebase(self, etag, size):
        """Stand on another version."""
        self.note()
        base = BASE._replace(etag=str(etag), size=size)
        self.file.rebase(base)
        limit = min(size, len(self.model.content))
        self.model = self.model._replace(base=base, base_limit=limit)

    @precondition(lambda self: not self.file.is_unsent)
    @rule(data=st.data())
    def begin_another(self, data):
        """End a file that the service has, and stage another; dying in between leaves nothing."""
        self.note()
        _, old_data, old_journal = self.before
        self.file.discard()
        self.file = self.area.create(SharePath(("f",)), BASE, BASE.size)
        directory = self.state / "staging" / "live" / self.file.id
        nothing = bytes(BASE.size)
        self.model = Model(nothing, nothing, nothing, SharePath(("f",)), BASE, BASE.size)
        if directory == self.directory:
            journal = (directory / "journal").read_bytes()
            least = len(old_journal) if journal.startswith(old_journal) else 0
            journal = journal[: data.draw(st.integers(least, len(journal)))]
            found = data.draw(st.sampled_from((old_data, b""))) if least else b""
            assert self.recovered(journal, found) is None
        self.directory = directory
        self.note()

    @precondition(lambda self: self.model.dirty.count(1))
    @rule(data=st.data())
    def crash(self, data):
        """Die somewhere in the last step: the next owner finds the state before or after it."""
        before, old_data, old_journal = self.before
        journal = (self.directory / "journal").read_bytes()
        now = (self.directory / "data").read_bytes()
        done = data.draw(st.booleans())
        if not done and journal.startswith(old_journal):
            journal = journal[: data.draw(st.integers(len(old_journal), len(journal)))]
        done = done or journal == (self.directory / "journal").read_bytes()
        # Only a write touches the data before its record is whole.
        wrote = self.model.dirty.count(1) and len(self.model.content) >= len(before.content)
        found_data = now if done or wrote else old_data
        record = self.recovered(journal, found_data)
        expected = self.model if done else before
        if not expected.dirty.count(1):
            return
        assert list(record.dirty) == extents(expected.dirty)
        assert (record.size, record.path) == (len(expected.content), expected.path)
        assert (record.base, record.base_limit) == (expected.base, expected.base_limit)
        assert record.acknowledged == expected.promised
        for extent in record.dirty:
            found = record.data.read_bytes()[extent.start : extent.stop]
            allowed = (self.model.content, before.content)
            for index, byte in enumerate(found, extent.start):
                assert byte in {text[index] for text in allowed if index < len(text)}

    def recovered(self, journal: bytes, data: bytes):
        """Lay these files before a new owner and return the record that it makes of them."""
        copy = Path(tempfile.mkdtemp())
        self.copies = [*getattr(self, "copies", []), copy]
        layout = Layout(copy)
        layout.prepare()
        directory = layout.new_directory()
        (directory / "journal").write_bytes(journal)
        (directory / "data").write_bytes(data)
        return next(iter(adopt_leftovers(layout)), None)

    @invariant()
    def agrees(self):
        """Extents, sizes, bytes and the room taken are those of the model."""
        assert list(self.file.dirty) == extents(self.model.dirty)
        assert list(self.file.present) == extents(self.model.present)
        assert self.file.size == len(self.model.content)
        assert self.file.is_acknowledged is (self.model.promised is not None)
        assert list(self.area.acknowledged) == [self.file] * self.file.is_acknowledged
        assert self.area.used_bytes == self.model.dirty.count(1)
        assert (self.file.base_limit, self.file.path) == (self.model.base_limit, self.model.path)
        for extent in self.file.present:
            assert self.file.read(extent) == self.model.content[extent.start : extent.stop]

    def teardown(self):
        """End the area; unsent bytes become a record that says what the model says."""
        unsent, dirty = self.file.is_unsent, extents(self.model.dirty)
        self.area_context.__exit__(None, None, None)
        with StagingArea.open(self.state, ROOM, share="a/s") as area:
            assert [list(record.dirty) for record in area.kept()] == [dirty] * unsent
            promises = [record.acknowledged for record in area.kept()]
            assert promises == [self.model.promised] * unsent
        for directory in (self.state, *getattr(self, "copies", [])):
            shutil.rmtree(directory)
        self.often.stop()
        self.seldom.stop()


TestStagedFile = StagedFileMachine.TestCase
TestStagedFile.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
