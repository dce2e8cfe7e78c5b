"""The lock protocol's own code under an adversarial scheduler: no order of faults hurts it.

Searched to the last state where the budget allows it; the long forms are under ``soak``.
"""

import pytest

from tests.unit.locks.flaws import FLAWS, Flaw
from tests.unit.locks.judge import Budget, Scenario
from tests.unit.locks.mounts import Rules
from tests.unit.locks.search import Search

EX, SH, UP, DN = ("EX",), ("SH",), ("UP",), ("DN",)
BREAKING = Rules(break_foreign=True)
UNKNOWN = Rules(knows_etag=False)

SEARCHED = {
    "two writers, crash": Scenario((EX, EX), Budget(crash=1)),
    "two writers, pause": Scenario((EX, EX), Budget(pause=1)),
    "two writers, crash and pause": Scenario((EX, EX), Budget(crash=1, pause=1)),
    "two writers, lost and delayed": Scenario((EX, EX), Budget(lost=1, delayed=1)),
    "two writers, delayed and pause": Scenario((EX, EX), Budget(delayed=1, pause=1)),
    "two writers, version unknown": Scenario((EX, EX), Budget(crash=1, lost=1), UNKNOWN),
    "reader and writer, crash and pause": Scenario((SH, EX), Budget(crash=1, pause=1)),
    "reader and writer, lost and delayed": Scenario((SH, EX), Budget(lost=1, delayed=1)),
    "reader and writer, delayed and pause": Scenario((SH, EX), Budget(delayed=1, pause=1)),
    "reader twice and writer, delayed": Scenario((SH + SH, EX), Budget(delayed=1)),
    "writer twice, delayed": Scenario((EX + EX, EX), Budget(delayed=1)),
    "upgrades in place": Scenario((SH + UP, SH + UP), Budget(crash=1, lost=1)),
    "upgrade in place, pause": Scenario((SH + UP, EX), Budget(pause=1, lost=1)),
    "downgrade and writer": Scenario((EX + DN, EX), Budget(lost=1, pause=1)),
    "downgrade and reader": Scenario((EX + DN, SH), Budget(crash=1, delayed=1)),
    "another file takes the name": Scenario((SH, EX), Budget(lost=1, pause=1, replace=1)),
    "foreign lease, waited for": Scenario((EX, SH), Budget(crash=1, foreign=1)),
    "foreign lease, broken": Scenario((EX,), Budget(foreign=1, lost=1), BREAKING),
    "foreign lease, broken, two writers": Scenario((EX, EX), Budget(foreign=1), BREAKING),
    "three writers, crash": Scenario((EX, EX, EX), Budget(crash=1)),
    "two readers and a writer, delayed": Scenario((SH, SH, EX), Budget(delayed=1)),
    "heartbeats lost and delayed": Scenario(
        (EX, EX), Budget(lost=1, pause=1), beat_faults=True
    ),
}  # fmt: skip
LONG = {
    "two writers, all faults": Scenario((EX, EX), Budget(1, 1, 1, 2)),
    "reader and writer, all faults": Scenario((SH, EX), Budget(1, 1, 1, 2)),
    "two writers twice": Scenario((EX + EX, EX + EX), Budget(crash=1, delayed=1, pause=1)),
    "upgrades in place, all faults": Scenario((SH + UP, SH + UP), Budget(1, 1, 1, 1)),
    "upgrade in place and writer": Scenario((SH + UP, EX), Budget(1, 1, 1, 1)),
    "downgrade and reader, all faults": Scenario((EX + DN, SH), Budget(1, 1, 1, 1)),
    "downgrade and writer, all faults": Scenario((EX + DN, EX), Budget(1, 1, 1, 1)),
    "reader and writer, two delayed": Scenario((SH, EX), Budget(delayed=2, pause=1)),
    "two writers, two delayed": Scenario((EX, EX), Budget(delayed=2, pause=1)),
    "another file takes the name": Scenario((EX, EX), Budget(1, 1, 0, 1, 1)),
    "foreign lease, waited for": Scenario((EX, SH), Budget(1, 1, 0, 1, 0, 1)),
    "foreign lease, broken": Scenario((EX, EX), Budget(crash=1, foreign=1), BREAKING),
    "three writers, crash and pause": Scenario((EX, EX, EX), Budget(crash=1, pause=1)),
    "reader and two writers": Scenario((SH, EX, EX), Budget(crash=1, pause=1)),
    "two readers and a writer": Scenario((SH, SH, EX), Budget(crash=1, pause=1)),
    "three writers, delayed": Scenario((EX, EX, EX), Budget(delayed=1)),
    "heartbeats, all faults": Scenario((EX, SH), Budget(1, 1, 1, 1), beat_faults=True),
}


def names(table: dict[str, Scenario]) -> list:
    """Return parameters with their names."""
    return [pytest.param(one, id=name) for name, one in table.items()]


def explain(outcome) -> str:
    """Return a violation with the way to it."""
    return "\n".join([outcome.violation, *outcome.trace])


@pytest.mark.parametrize("scenario", names(SEARCHED))
def test_protocol_holds(scenario: Scenario):
    """Within the budget no state breaks a guarantee, each can come to its end, nothing leaks."""
    outcome = Search(scenario).run()

    assert not outcome.violation, explain(outcome)
    assert outcome.complete


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", names(LONG))
def test_protocol_holds_long(scenario: Scenario):
    """The same with more faults at once; states past the limit are not searched."""
    outcome = Search(scenario).run()

    assert not outcome.violation, explain(outcome)


@pytest.mark.parametrize("flaw", [pytest.param(one, id=name) for name, one in FLAWS.items()])
def test_flaw_is_found(flaw: Flaw):
    """A simpler way, put into the same code, is caught, in the guarantee that it breaks."""
    outcome = Search(flaw.scenario).run()

    assert outcome.violation.startswith(flaw.expected), explain(outcome)


def test_the_known_limit_of_breaking():
    """A breaker that is paused between its check and its break can hit a live holder, no other way.

    The holder finds out with its next request, which carries the id: it is not lost in silence.
    """
    outcome = Search(Scenario((EX, EX), Budget(foreign=1, pause=1), BREAKING)).run()

    assert outcome.violation.startswith("TAKE-LIVE: the lease of a live holder was broken")
    assert any("PAUSED" in step for step in outcome.trace)
