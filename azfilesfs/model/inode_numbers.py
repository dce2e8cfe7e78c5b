"""From the service's file ids to inode numbers, and nothing else: pure.

The service counts its ids in the high bits, so those of one share end in dozens of zeros. The
kernel finds inodes by a hash that such numbers hardly spread: a directory of 100,000 of them takes
minutes to list. So each id is mixed into a number, one to one, the same on every mount.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = (1 << 64) - 1


def inode_number(file_id: int) -> int:
    """Return the inode number of a file id, both of 64 bits; different ids have different numbers.

    Two rounds of multiplying by an odd number and folding the upper bits down, each of which can be
    undone (the finalizer of SplitMix64).
    """
    mixed = ((file_id ^ file_id >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return mixed ^ mixed >> 31
