"""Detection of sequential reads."""

import pytest

from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.readahead import AccessPattern, Streams
from tests.unit.cache.data import version


def feed(pattern: AccessPattern, *reads: tuple[int, int]) -> list[bool]:
    """Note reads of (offset, size) and return what each was taken for."""
    return [pattern.note(ByteRange(offset, offset + size)) for offset, size in reads]


def test_first_read_is_no_sequence():
    """One read at the start of a file, as of its header, reads nothing ahead."""
    pattern = AccessPattern(6)

    assert feed(pattern, (0, 128 * KIB)) == [False]
    assert pattern.window == 0


def test_window_grows_with_the_sequence_up_to_the_limit():
    """The window opens with the second MiB; whoever goes on to the third gets all of it."""
    pattern = AccessPattern(6)
    windows = []
    for index in range(6):
        pattern.note(ByteRange(index * MIB, (index + 1) * MIB))
        windows.append(pattern.window)

    assert windows == [0, 2, 6, 6, 6, 6]


def test_head_of_a_file_opens_a_small_window():
    """Small reads: nothing ahead for half a MiB, one range up to a MiB, two up to two MiB."""
    pattern = AccessPattern(6)
    opened: dict[int, int] = {}
    for index in range(32):
        pattern.note(ByteRange(index * 128 * KIB, (index + 1) * 128 * KIB))
        opened.setdefault(pattern.window, index * 128)

    assert opened == {0: 0, 1: 512, 2: 1024, 6: 2048}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_small_limit_is_kept(limit):
    """No step goes beyond the limit."""
    pattern = AccessPattern(limit)
    for index in range(4):
        pattern.note(ByteRange(index * MIB, (index + 1) * MIB))
        assert pattern.window <= limit


def test_jumps_halve_the_window():
    """A program that turns to random reads soon gets nothing read ahead."""
    pattern = AccessPattern(8)
    feed(pattern, *((index * MIB, MIB) for index in range(6)))
    assert pattern.window == 8

    windows = []
    for offset in (900 * MIB, 300 * MIB, 700 * MIB, 100 * MIB):
        assert feed(pattern, (offset, 4096)) == [False]
        windows.append(pattern.window)

    assert windows == [4, 2, 1, 0]


def test_swapped_neighbours_are_in_sequence():
    """Requests that the kernel sends at the same time may arrive in another order."""
    pattern = AccessPattern(6)

    taken = feed(
        pattern, (0, 128 * KIB), (256 * KIB, 128 * KIB), (128 * KIB, 128 * KIB), (384 * KIB, 4096)
    )

    assert taken == [False, True, True, True]


def test_limit_zero_never_reads_ahead():
    """With reading ahead switched off nothing counts as a sequence."""
    pattern = AccessPattern(0)

    assert feed(pattern, *((index * MIB, MIB) for index in range(4))) == [False] * 4
    assert pattern.window == 0


def test_extension_follows_what_was_read():
    """A read in sequence brings as much more as was read so far; with a window a whole range."""
    pattern = AccessPattern(6)
    extensions = []
    for index in range(8):
        pattern.note(ByteRange(index * 128 * KIB, (index + 1) * 128 * KIB))
        extensions.append(pattern.extension // KIB)

    assert extensions == [256, 256, 256, 384, 4096, 4096, 4096, 4096]


def test_window_shrinks_where_readahead_was_lost():
    """A miss of what was read ahead halves the window; it grows again with what is read."""
    pattern = AccessPattern(8)
    feed(pattern, *((index * MIB, MIB) for index in range(6)))
    for slab in (2, 3, 4):
        pattern.ask(slab)
    pattern.missed(1)
    assert (pattern.window, pattern.asked) == (8, 4)
    pattern.missed(3)
    assert (pattern.window, pattern.asked) == (4, -1)
    feed(pattern, *((index * MIB, MIB) for index in range(6, 9)))

    assert pattern.window == 8


def test_another_version_is_read_ahead_anew():
    """What was read ahead of an older version does not count."""
    pattern = AccessPattern(8)
    pattern.turn_to(version(1))
    pattern.ask(5)
    pattern.turn_to(version(1))
    assert pattern.asked == 5
    pattern.turn_to(version(2))

    assert pattern.asked == -1


def test_streams_share_fairly():
    """Each handle that reads on gets the same part; one that stops gives its part back."""
    streams, one, other = Streams(64 * MIB), AccessPattern(8), AccessPattern(8)

    assert streams.share(one, 0.0) == 64 * MIB
    assert streams.share(other, 1.0) == 32 * MIB
    assert streams.share(one, 2.0) == 32 * MIB
    assert len(streams) == 2
    assert streams.share(one, 5.0) == 64 * MIB
    assert len(streams) == 1
