"""The memory tier."""

from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.blocks import BLOCK_BYTES
from azfilesfs.cache.memory import MemoryTier
from tests.unit.cache.data import version

ONE, TWO = version(1), version(2)
COST = BLOCK_BYTES + 800


def mark(number: int, count: int = 1) -> bytes:
    """Return blocks that are told by their bytes."""
    return b"".join(bytes([number + index]) * BLOCK_BYTES for index in range(count))


def found(memory: MemoryTier, validator, index: int) -> int | None:
    """Return which block the tier has at an index."""
    chunk = memory.find(validator, index)
    if chunk is None:
        return None
    position = (index - chunk.first) * BLOCK_BYTES
    data = bytes(chunk.data[position : position + BLOCK_BYTES])
    assert data == bytes([data[0]]) * BLOCK_BYTES
    return data[0]


def test_least_recently_used_leaves_first():
    """A chunk that is asked for stays, one that nobody wants makes room."""
    memory = MemoryTier(3 * COST)
    for index in range(3):
        memory.put(ONE, index, mark(index))
    memory.find(ONE, 0)
    memory.put(TWO, 9, mark(9))

    assert memory.indexes(ONE) == [0, 2]
    assert memory.indexes(TWO) == [9]


def test_looking_is_no_use():
    """Asking whether a block is there does not keep it there."""
    memory = MemoryTier(2 * COST)
    memory.put(ONE, 0, mark(0))
    memory.put(ONE, 1, mark(1))
    assert memory.has(ONE, 0)
    memory.put(ONE, 2, mark(2))

    assert not memory.has(ONE, 0)


def test_giant_is_not_kept():
    """A chunk larger than the tier leaves the others alone."""
    memory = MemoryTier(2 * COST)
    memory.put(ONE, 0, mark(0))
    memory.put(ONE, 1, mark(1, 3))

    assert memory.indexes(ONE) == [0]


def test_what_came_together_leaves_together():
    """A chunk holds one buffer, which is free only when all of it has left."""
    memory = MemoryTier(5 * COST)
    memory.put(ONE, 0, mark(0, 4))
    memory.find(ONE, 2)
    memory.put(TWO, 0, mark(0, 3))

    assert memory.indexes(ONE) == []
    assert len(memory) == 1


def test_a_lower_limit_pushes_out_at_once():
    """When the limit sinks, what does not fit leaves; when it rises, nothing comes back."""
    memory = MemoryTier(10 * COST)
    for index in range(6):
        memory.put(ONE, index, mark(index))
    memory.resize(2 * COST)
    assert memory.indexes(ONE) == [4, 5]
    memory.resize(10 * COST)

    assert memory.indexes(ONE) == [4, 5]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "rename", "resize"]),
            st.sampled_from([ONE, TWO]),
            st.integers(0, 5),
            st.integers(1, 4),
        )
    )
)
def test_accounts_are_always_right(steps):
    """Whatever happens, the limit holds, the sum is right, and a block is what was put last."""
    memory = MemoryTier(6 * COST)
    model: dict = {}
    number = 0
    for action, validator, index, count in steps:
        other = TWO if validator == ONE else ONE
        if action == "put":
            number = (number + 7) % 240
            memory.put(validator, index, mark(number, count))
            model |= {(validator, index + i): number + i for i in range(count)}
        elif action == "get":
            assert found(memory, validator, index) in {None, model.get((validator, index))}
        elif action == "rename":
            kept = {i for i in memory.indexes(validator) if i % 3 != count % 3}
            memory.rename(validator, other, kept.__contains__)
            assert memory.indexes(validator) == []
            model |= {(other, i): model[validator, i] for i in kept}
        else:
            memory.resize(index * COST)
        held = [(v, i) for v in (ONE, TWO) for i in memory.indexes(v)]
        assert all(found(memory, *key) == model[key] for key in held)
        assert memory.used <= memory.limit
        assert memory.used >= len(held) * BLOCK_BYTES
        assert bool(memory.used) == bool(held) == bool(len(memory))
