"""When to repeat an operation, and after how long (specification 6.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from azfilesfs import errors


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What to do after one kind of failure.

    Attributes:
        attempts: attempts in all, the first included.
        base: seconds before the second attempt.
        factor: by which each further wait grows; 1 waits the same each time.
    """

    attempts: int
    base: float
    factor: float = 2.0

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after that many failures (1 or more)."""
        return self.base * self.factor ** (failures - 1)


def default_rules() -> Mapping[type[errors.AzureFilesError], RetryRule]:
    """Return the rules of specification 6.1, and like ones for classes that it does not name."""
    return MappingProxyType(
        {
            errors.ServerBusy: RetryRule(5, 1.0),
            errors.ServiceUnavailable: RetryRule(3, 2.0),
            errors.InternalError: RetryRule(3, 1.0),
            errors.OperationTimedOut: RetryRule(3, 1.0),
            errors.Timeout: RetryRule(3, 1.0, 1.0),
            errors.FileLocked: RetryRule(5, 0.5),
            errors.ConnectionFailed: RetryRule(3, 0.5),
            errors.DnsResolutionFailed: RetryRule(3, 0.5),
            errors.ProtocolError: RetryRule(3, 0.5),
            errors.IntegrityError: RetryRule(3, 0.5),
            errors.ShareBeingDeleted: RetryRule(5, 1.0),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The rules by error class, and the spread of the waits.

    Attributes:
        rules: by class; the class of the error itself is looked up first, then its bases.
        jitter: each wait is shortened by up to this share of itself, so that clients do not return
            in step.
        max_delay: no single wait is longer, whatever the rule says; a Retry-After of the service is
            honoured beyond it.
    """

    rules: Mapping[type[errors.AzureFilesError], RetryRule] = field(default_factory=default_rules)
    jitter: float = 0.2
    max_delay: float = 30.0

    def rule(self, error: errors.AzureFilesError) -> RetryRule | None:
        """Return the rule for an error, None where it is not repeated."""
        for cls in type(error).__mro__:
            if cls in self.rules:
                return self.rules[cls]
        return None

    def decide(
        self, error: errors.AzureFilesError, failures: int, remaining: float, random: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up now.

        Args:
            error: what the last attempt met.
            failures: attempts that have failed so far, this one included.
            remaining: seconds left until the operation's deadline; a wait that does not fit is not
                begun.
            random: a number in [0, 1) that spreads the waits.
        """
        rule = self.rule(error)
        if rule is None or failures >= rule.attempts:
            return None
        delay = min(rule.delay(failures), self.max_delay) * (1 - self.jitter * random)
        if error.retry_after is not None:
            delay = max(delay, error.retry_after)
        return delay if delay < remaining else None


NO_RETRIES = RetryPolicy(rules=MappingProxyType({}))
"""For callers that repeat by themselves, and for tests."""
