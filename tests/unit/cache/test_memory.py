"""The memory tier."""

from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.memory import MemoryTier
from tests.unit.cache.data import version

ONE, TWO = version(1), version(2)


def test_least_recently_used_leaves_first():
    """A block that is asked for stays, one that nobody wants makes room."""
    memory = MemoryTier(3 * 1400)
    for index in range(3):
        memory.put(ONE, index, bytes(1000))
    memory.get(ONE, 0)
    memory.put(TWO, 9, bytes(1000))

    assert memory.indexes(ONE) == [0, 2]
    assert memory.indexes(TWO) == [9]


def test_looking_is_no_use():
    """Asking whether a block is there does not keep it there."""
    memory = MemoryTier(2 * 1400)
    memory.put(ONE, 0, bytes(1000))
    memory.put(ONE, 1, bytes(1000))
    assert memory.has(ONE, 0)
    memory.put(ONE, 2, bytes(1000))

    assert not memory.has(ONE, 0)


def test_giant_is_not_kept():
    """A block larger than the tier leaves the others alone."""
    memory = MemoryTier(2000)
    memory.put(ONE, 0, bytes(100))
    memory.put(ONE, 1, bytes(5000))

    assert memory.indexes(ONE) == [0]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "discard"]),
            st.sampled_from([ONE, TWO]),
            st.integers(0, 5),
            st.integers(0, 3000),
        )
    )
)
def test_accounts_are_always_right(steps):
    """Whatever happens, the limit holds, the sum is right, and a block is what was put last."""
    memory = MemoryTier(6000)
    model: dict = {}
    for action, validator, index, size in steps:
        if action == "put":
            model[validator, index] = bytes([size % 251]) * size
            memory.put(validator, index, model[validator, index])
        elif action == "get":
            assert memory.get(validator, index) in {None, model.get((validator, index))}
        else:
            memory.discard(validator, index)
            assert memory.get(validator, index) is None
        held = [(v, i) for v in (ONE, TWO) for i in memory.indexes(v)]
        assert len(memory) == len(held)
        assert memory.used == sum(len(model[key]) + 400 for key in held) <= 6000
