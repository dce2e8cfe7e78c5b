"""The CRC64 of the storage service (polynomial 0x9A6C9329AC4BC9B5, reflected)."""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x9A6C9329AC4BC9B5
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


def _make_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _make_table()


def crc64(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """Return the checksum of data, continuing from that of what came before."""
    table = _TABLE
    state = value ^ _MASK
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ _MASK
