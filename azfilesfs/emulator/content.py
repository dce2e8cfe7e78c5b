"""Contents of files: sparse, cheap to copy for snapshots; those that are kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from azfilesfs.emulator.request import Body

CHUNK_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 4 * 1024 * 1024
_ZEROS: Final = bytes(CHUNK_BYTES)


class Content(Protocol):
    """Bytes by offset; what was never written reads as zeros. The size is kept elsewhere."""

    key: str

    def write(self, start: int, data: Body) -> None:
        """Store bytes."""
        ...

    def zero(self, start: int, stop: int) -> None:
        """Make a part read as zeros, giving its space back where possible."""
        ...

    def truncate(self, size: int) -> None:
        """Forget everything from ``size`` on."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes."""
        ...

    def adopt(self, start: int, path: Path) -> None:
        """Store the bytes of a file; the content may take the file away."""
        ...

    def reach(self, size: int, start: int, stop: int) -> None:
        """Let a content's own file have a part, and be as long as the content's size says."""
        ...

    def clone(self) -> Content:
        """Return an independent copy."""
        ...

    def discard(self) -> None:
        """Give everything back; the content is not used any more."""
        ...


class ContentSlice:
    """A part of a content as the body of an answer."""

    __slots__ = ("_content", "length", "start")

    def __init__(self, content: Content, start: int, length: int) -> None:
        self._content = content
        self.start = start
        self.length = length

    @property
    def key(self) -> str:
        """The content's key, the name of its file on disk."""
        return self._content.key

    def pieces(self) -> Iterator[bytes]:
        """Yield pieces of at most 4 MiB; a write in between shows in the later ones."""
        position, stop = self.start, self.start + self.length
        while position < stop:
            until = min(stop, position + PIECE_BYTES)
            yield self._content.read(position, until)
            position = until


class MemoryContent:
    """Chunks of 256 KiB by index; a missing chunk or the missing end of one is zeros.

    Chunks are shared between clones; ``_owned`` holds the indexes that may be changed in place.
    """

    __slots__ = ("_chunks", "_owned", "key")

    def __init__(self) -> None:
        self.key = ""
        self._chunks: dict[int, bytearray] = {}
        self._owned: set[int] = set()

    def write(self, start: int, data: Body) -> None:
        """Store bytes."""
        view = memoryview(data)
        position = 0
        while position < len(view):
            index, offset = divmod(start + position, CHUNK_BYTES)
            count = min(CHUNK_BYTES - offset, len(view) - position)
            self._write_chunk(index, offset, view[position : position + count])
            position += count

    def _write_chunk(self, index: int, offset: int, part: memoryview) -> None:
        chunk = self._chunks.get(index)
        end = offset + len(part)
        if offset == 0 and (chunk is None or len(chunk) <= end):
            self._chunks[index] = bytearray(part)
            self._owned.add(index)
            return
        chunk = self._own(index)
        if len(chunk) < end:
            chunk.extend(_ZEROS[: end - len(chunk)])
        # Through a view: assigning to a slice of the bytearray itself would copy the part first.
        with memoryview(chunk) as target:
            target[offset:end] = part

    def _own(self, index: int) -> bytearray:
        chunk = self._chunks.get(index)
        if chunk is None:
            chunk = self._chunks[index] = bytearray()
        elif index not in self._owned:
            chunk = self._chunks[index] = bytearray(chunk)
        self._owned.add(index)
        return chunk

    def zero(self, start: int, stop: int) -> None:
        """Make a part read as zeros, dropping whole chunks."""
        for index in self._indexes(start, stop):
            base = index * CHUNK_BYTES
            low, high = max(start - base, 0), min(stop - base, len(self._chunks[index]))
            if low == 0 and high == len(self._chunks[index]):
                del self._chunks[index]
                self._owned.discard(index)
            elif low < high:
                self._own(index)[low:high] = _ZEROS[: high - low]

    def truncate(self, size: int) -> None:
        """Forget everything from ``size`` on."""
        last, offset = divmod(size, CHUNK_BYTES)
        for index in [
            index for index in self._chunks if index > last or index * CHUNK_BYTES >= size
        ]:
            del self._chunks[index]
            self._owned.discard(index)
        if last in self._chunks:
            del self._own(last)[offset:]

    def _indexes(self, start: int, stop: int) -> list[int]:
        first, last = start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)
        if last - first > len(self._chunks):
            return sorted(index for index in self._chunks if first <= index < last)
        return [index for index in range(first, last) if index in self._chunks]

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes."""
        parts: list[bytes | memoryview] = []
        position = start
        while position < stop:
            index, offset = divmod(position, CHUNK_BYTES)
            count = min(CHUNK_BYTES - offset, stop - position)
            chunk = self._chunks.get(index, b"")
            part = memoryview(chunk)[offset : offset + count]
            parts.append(part)
            if len(part) < count:
                parts.append(_ZEROS[: count - len(part)])
            position += count
        return b"".join(parts)

    def adopt(self, start: int, path: Path) -> None:
        """Store the bytes of a file."""
        self.write(start, path.read_bytes())

    def reach(self, size: int, start: int, stop: int) -> None:
        """Do nothing: there is no file."""

    def clone(self) -> MemoryContent:
        """Return a copy that shares the chunks until one side changes them."""
        twin = MemoryContent()
        twin._chunks = self._chunks.copy()
        self._owned.clear()
        return twin

    def discard(self) -> None:
        """Forget all chunks."""
        self._chunks.clear()
        self._owned.clear()


class MemoryContents:
    """Makes contents that live in memory."""

    def new(self) -> Content:
        """Return an empty content."""
        return MemoryContent()

    def sweep(self) -> None:
        """Do nothing: what is discarded is gone."""
