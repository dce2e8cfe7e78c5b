"""Medians, ratios and growth of what a benchmark measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.figures import RowResult, growth_exponent, median, paired_ratio, spread

POSITIVE = st.floats(min_value=1e-3, max_value=1e6)


@given(st.lists(POSITIVE, min_size=1))
def test_median_is_inside_the_spread(samples: list[float]):
    """The median lies between the smallest and the largest sample."""
    low, high = spread(samples)
    assert low <= median(samples) <= high


def test_no_samples():
    """Nothing measured has no median and no ratio."""
    with pytest.raises(ValueError, match="no samples"):
        median([])
    with pytest.raises(ValueError, match="no samples"):
        paired_ratio([1.0], [])
    with pytest.raises(ValueError, match="not positive"):
        paired_ratio([1.0], [0.0])


@given(st.lists(POSITIVE, min_size=1, max_size=9), st.floats(min_value=0.1, max_value=10))
def test_paired_ratio_finds_a_constant_factor(samples: list[float], factor: float):
    """A contender that is so much faster in every turn has that ratio, however turns vary."""
    assert paired_ratio([factor * value for value in samples], samples) == pytest.approx(factor)


def test_ratio_of_unequal_turns():
    """Where one took part less often, the medians are compared."""
    assert paired_ratio([2.0, 4.0, 6.0], [2.0]) == 2.0


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True),
    st.floats(min_value=0.2, max_value=2.5),
)
def test_growth_finds_the_power(sizes: list[int], power: float):
    """Costs that are a power of the size have that exponent."""
    points = [(float(size), 3.0 * size**power) for size in sizes]
    assert growth_exponent(points) == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(5.0, 1.0), (5.0, 2.0)], [(1, 0), (2, 1)]])
def test_growth_needs_two_sizes(points: list[tuple[float, float]]):
    """One size, or a cost of nothing, has no growth."""
    with pytest.raises(ValueError, match=r"two sizes|positive"):
        growth_exponent(points)


def test_row_result_survives_its_file():
    """A result read back is the one that was written."""
    result = RowResult()
    result.record("MB/s", "ours", 1.5)
    result.record("MB/s", "ours", 2.5)
    result.add_cpu("ours", {"daemon": 1.0, "nginx": 0.5})
    result.add_cpu("ours", {"daemon": 1.0})
    result.unavailable["rclone"] = "not installed"
    result.gate = {"emulator": [8.0, 9.0], "nginx": [10.0, 10.0]}

    again = RowResult.from_json(result.to_json())

    assert again == result
    assert again.of("MB/s", "ours") == [1.5, 2.5]
    assert again.of("MB/s", "nobody") == []
    assert again.cpu["ours"] == {"daemon": 2.0, "nginx": 0.5}
    assert again.gate_ratio() == pytest.approx(0.85)
    assert RowResult().gate_ratio() is None
