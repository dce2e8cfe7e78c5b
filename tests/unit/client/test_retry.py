"""The retry policy: a table of decisions, and its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs import errors
from azfilesfs.client.retry import NO_RETRIES, RetryPolicy, RetryRule

PLAIN = RetryPolicy(jitter=0.0)


@pytest.mark.parametrize(
    ("cls", "delays"),
    [
        (errors.ServerBusy, [1, 2, 4, 8]),
        (errors.ServiceUnavailable, [2, 4]),
        (errors.InternalError, [1, 2]),
        (errors.OperationTimedOut, [1, 2]),
        (errors.Timeout, [1, 1]),
        (errors.FileLocked, [0.5, 1, 2, 4]),
        (errors.ConnectionFailed, [0.5, 1]),
        (errors.DnsResolutionFailed, [0.5, 1]),
        (errors.ProtocolError, [0.5, 1]),
        (errors.IntegrityError, [0.5, 1]),
        (errors.ShareBeingDeleted, [1, 2, 4, 8]),
        (errors.FileNotFound, []),
        (errors.FileAlreadyExists, []),
        (errors.LeaseAlreadyPresent, []),
        (errors.PermissionDenied, []),
        (errors.TlsFailed, []),
        (errors.CircuitOpen, []),
    ],
)
def test_the_table(cls, delays):
    """Each class has its number of attempts and its waits, as specification 6.1 has them."""
    error = cls("no")
    waits: list[float] = []
    while (delay := PLAIN.decide(error, len(waits) + 1, 1000.0, 0.0)) is not None:
        waits.append(delay)

    assert delays == waits


def test_every_retryable_class_has_a_rule():
    """What the taxonomy calls retryable is repeated, but for the breaker's error."""

    def leaves(cls):
        return {cls}.union(*(leaves(sub) for sub in cls.__subclasses__()))

    concrete = {cls for cls in leaves(errors.AzureFilesError) if not cls.__subclasses__()}
    retried = {cls for cls in concrete if PLAIN.rule(cls("no")) is not None}

    assert retried == {cls for cls in concrete if cls.retryable} - {errors.CircuitOpen}


def test_subclasses_share_a_rule():
    """A class without a rule of its own has that of its nearest base."""
    policy = RetryPolicy(rules={errors.NetworkError: RetryRule(2, 1.0)})

    assert policy.rule(errors.TlsFailed("no")) == RetryRule(2, 1.0)
    assert policy.rule(errors.ServerBusy("no")) is None


def test_retry_after_rules_upwards():
    """The service's wish lengthens a wait and never shortens it."""
    assert PLAIN.decide(errors.ServerBusy("no", retry_after=7), 1, 100, 0) == 7
    assert PLAIN.decide(errors.ServerBusy("no", retry_after=0), 1, 100, 0) == 1


def test_a_wait_that_does_not_fit_is_not_begun():
    """With too little time left the policy gives up at once."""
    assert PLAIN.decide(errors.ServerBusy("no"), 1, 1.0, 0) is None
    assert PLAIN.decide(errors.ServerBusy("no", retry_after=60), 1, 30, 0) is None


def test_no_retries():
    """The empty policy never repeats."""
    assert NO_RETRIES.decide(errors.ServerBusy("no"), 1, 100, 0) is None


@given(
    failures=st.integers(1, 50),
    remaining=st.floats(0, 1000),
    random=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 10),
)
def test_bounds(failures, remaining, random, base):
    """A wait is positive, within its jitter and maximum, shorter than what is left."""
    policy = RetryPolicy(rules={errors.ServerBusy: RetryRule(40, base)}, jitter=0.5, max_delay=20)

    delay = policy.decide(errors.ServerBusy("no"), failures, remaining, random)

    if delay is None:
        assert failures >= 40 or remaining <= min(base * 2.0 ** (failures - 1), 20)
    else:
        assert failures < 40
        assert 0 < delay <= 20
        assert delay < remaining
        assert delay >= min(base * 2.0 ** (failures - 1), 20) / 2
