"""Detection of sequential reads."""

from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.readahead import AccessPattern


def feed(pattern: AccessPattern, *reads: tuple[int, int]) -> list[bool]:
    """Note reads of (offset, size) and return what each was taken for."""
    return [pattern.note(ByteRange(offset, offset + size)) for offset, size in reads]


def test_first_read_is_no_sequence():
    """One read at the start of a file, as of its header, reads nothing ahead."""
    pattern = AccessPattern(6)

    assert feed(pattern, (0, 128 * KIB)) == [False]
    assert pattern.window == 0


def test_window_grows_with_the_sequence_up_to_the_limit():
    """Each MiB read in sequence doubles the window until the limit is reached."""
    pattern = AccessPattern(6)
    windows = []
    for index in range(6):
        pattern.note(ByteRange(index * MIB, (index + 1) * MIB))
        windows.append(pattern.window)

    assert windows == [0, 2, 4, 6, 6, 6]


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
