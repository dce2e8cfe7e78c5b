"""Deadlines by class of operation."""

import pytest

from azfilesfs.client.timeouts import Budget, TimeoutPolicy


def test_defaults_are_those_of_the_specification():
    """30 seconds for small operations, 300 for transfers, 10 for leases."""
    policy = TimeoutPolicy()

    assert [policy.seconds(budget) for budget in Budget] == [30, 300, 10]


def test_an_attempt_leaves_room_for_another():
    """A repeatable attempt may stand still for half of the deadline, another for all."""
    policy = TimeoutPolicy()

    assert policy.idle_seconds(Budget.TRANSFER, repeatable=True) == 15
    assert policy.idle_seconds(Budget.LEASE, repeatable=True) == 5
    assert policy.idle_seconds(Budget.LEASE, repeatable=False) == 10


@pytest.mark.parametrize("name", ["small", "transfer", "lease", "connect", "idle"])
def test_timeouts_are_positive(name):
    """A timeout of zero, which nothing could meet, is refused."""
    with pytest.raises(ValueError, match="positive"):
        TimeoutPolicy(**{name: 0})
