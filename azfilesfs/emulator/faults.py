"""A plan of faults: which requests go wrong, and how (docs/emulator.md describes the JSON)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from azfilesfs.emulator.answer import Answer, BodySource
from azfilesfs.emulator.request import Request

CUTS: Final = ("before", "request", "after", "body")


class PlanError(ValueError):
    """A fault plan is not as documented."""


class ConnectionCut(ConnectionResetError):
    """The connection is cut by plan. In process this is what the caller of the application gets.

    Attributes:
        in_answer: a part of the answer was sent and shall arrive before the end.
    """

    def __init__(self, message: str, *, in_answer: bool = False) -> None:
        super().__init__(message)
        self.in_answer = in_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One rule: what it matches, when it fires, what then happens.

    Attributes:
        operation: pattern of the operation's name in the REST reference (``Put*``).
        path: pattern of ``SHARE/DIR/FILE``.
        headers: patterns of request headers by lower-case name.
        nth: fires at these matches only, counted from 1; empty for every match.
        times: fires at most so often; None for no limit.
        probability: fires with it, by the plan's seed.
        status: answers with it instead, ``effect`` says whether the operation is done all the same.
        code: ``x-ms-error-code`` of that answer.
        answer_headers: set in the answer, after everything else.
        delay: seconds to wait before the request is looked at.
        cut: closes the connection ``before`` the effect, in the middle of the ``request``,
            ``after`` the effect without an answer, or in the middle of the ``body`` of the answer.
        truncate: bytes that the body of the answer loses at its end, Content-Length adapted.
        corrupt: inverts a byte in the middle of the answer's body.
        etag: ``stale`` for the ETag that the path showed before the last change, else a literal
            value.
    """

    operation: str = "*"
    path: str = "*"
    headers: Mapping[str, str] = field(default_factory=dict)
    nth: tuple[int, ...] = ()
    times: int | None = None
    probability: float = 1.0
    status: int | None = None
    code: str = "InternalError"
    effect: bool = False
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: str | None = None
    truncate: int = 0
    corrupt: bool = False
    etag: str | None = None

    @classmethod
    def from_json(cls, data: object) -> FaultRule:
        """Read one rule of a plan.

        Raises:
            PlanError: it is not as documented.
        """
        if not isinstance(data, Mapping):
            raise PlanError("a fault rule is an object")
        values: dict[str, Any] = dict(data)
        _check_kinds(values)
        nth = values.get("nth", ())
        values["nth"] = (nth,) if isinstance(nth, int) else tuple(nth)
        if not all(isinstance(number, int) and number >= 1 for number in values["nth"]):
            raise PlanError("nth is a number from 1, or a list of such")
        for name in ("headers", "answer_headers"):
            pairs = values.get(name, {})
            if not all(isinstance(value, str) for value in pairs.values()):
                raise PlanError(f"{name} maps names to texts")
            values[name] = {key.lower(): value for key, value in pairs.items()}
        length = values["answer_headers"].get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise PlanError("Content-Length is a number")
        if values.get("cut", "body") not in CUTS:
            raise PlanError(f"cut is one of {', '.join(CUTS)}")
        if values.get("delay", 0) < 0 or not 0 <= values.get("probability", 1) <= 1:
            raise PlanError("delay must not be negative, probability lies between 0 and 1")
        return cls(**values)

    def matches(self, operation: str, request: Request) -> bool:
        """Tell whether the rule is about this request."""
        return (
            fnmatchcase(operation, self.operation)
            and fnmatchcase("/".join(request.segments), self.path)
            and all(
                fnmatchcase(request.headers.get(name, ""), pattern)
                for name, pattern in self.headers.items()
            )
        )


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "operation": (str,),
    "path": (str,),
    "headers": (dict,),
    "nth": (int, list, tuple),
    "times": (int,),
    "probability": (int, float),
    "status": (int,),
    "code": (str,),
    "effect": (bool,),
    "answer_headers": (dict,),
    "delay": (int, float),
    "cut": (str,),
    "truncate": (int,),
    "corrupt": (bool,),
    "etag": (str,),
}


def _check_kinds(values: Mapping[str, object]) -> None:
    unknown = values.keys() - _KINDS.keys()
    if unknown:
        raise PlanError(f"a fault rule has no field {min(unknown)!r}")
    for name, value in values.items():
        is_stray_bool = isinstance(value, bool) and bool not in _KINDS[name]
        if is_stray_bool or not isinstance(value, _KINDS[name]):
            raise PlanError(f"the field {name!r} of a fault rule has the wrong type")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Rules in order of precedence, and the seed of their probabilities."""

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0

    @classmethod
    def from_json(cls, data: object) -> FaultPlan:
        """Read the body of ``PUT /_emulator/faults``.

        Raises:
            PlanError: it is not as documented.
        """
        if not isinstance(data, Mapping) or not data.keys() <= {"rules", "seed"}:
            raise PlanError("a fault plan is an object with rules and seed")
        rules, seed = data.get("rules", []), data.get("seed", 0)
        if not isinstance(rules, list | tuple) or not isinstance(seed, int):
            raise PlanError("rules is a list, seed a whole number")
        return cls(tuple(FaultRule.from_json(rule) for rule in rules), seed)


@dataclass(slots=True)
class _Progress:
    rule: FaultRule
    matched: int = 0
    fired: int = 0


class Faults:
    """The plan in force and how far it has got."""

    def __init__(self) -> None:
        self._progress: list[_Progress] = []
        self._random = random.Random(0)  # noqa: S311  # repeatable by its seed, which is the point
        self._etags: dict[str, tuple[str, str]] = {}

    def set_plan(self, plan: FaultPlan | object) -> None:
        """Replace the plan and start counting matches anew.

        Raises:
            PlanError: a plan given as JSON data is not as documented.
        """
        if not isinstance(plan, FaultPlan):
            plan = FaultPlan.from_json(plan)
        self._progress = [_Progress(rule) for rule in plan.rules]
        self._random = random.Random(plan.seed)  # noqa: S311  # the plan is to be repeatable

    def add(self, **rule: object) -> None:
        """Append one rule, its fields as in JSON.

        Raises:
            PlanError: it is not as documented.
        """
        self._progress.append(_Progress(FaultRule.from_json(rule)))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self.set_plan(FaultPlan())

    def state(self) -> dict[str, Any]:
        """Return what ``GET /_emulator/faults`` shows: how often each rule matched and fired."""
        return {
            "rules": [
                {
                    "operation": item.rule.operation,
                    "path": item.rule.path,
                    "matched": item.matched,
                    "fired": item.fired,
                }
                for item in self._progress
            ]
        }

    def choose(self, operation: str, request: Request) -> FaultRule | None:
        """Return the rule that fires for this request; every rule that matches counts it."""
        chosen: _Progress | None = None
        for item in self._progress:
            if not item.rule.matches(operation, request):
                continue
            item.matched += 1
            if chosen is None and self._fires(item):
                chosen = item
        if chosen is None:
            return None
        chosen.fired += 1
        return chosen.rule

    def _fires(self, item: _Progress) -> bool:
        rule = item.rule
        if rule.nth and item.matched not in rule.nth:
            return False
        if rule.times is not None and item.fired >= rule.times:
            return False
        # The generator is asked only where chance decides, so that other rules do not disturb it.
        return rule.probability >= 1.0 or self._random.random() < rule.probability

    def note_answer(self, path: str, answer: Answer) -> None:
        """Remember the ETag that a path shows, for ``stale``; only while there is a plan."""
        if self._progress:
            etag = dict(answer.headers).get("etag")
            if etag is not None:
                current, _ = self._etags.get(path, (etag, etag))
                if current != etag:
                    self._etags[path] = (etag, current)
                else:
                    self._etags.setdefault(path, (etag, etag))

    def spoil(self, rule: FaultRule, path: str, answer: Answer) -> int | None:
        """Change an answer as a rule wants it, and return after how many bytes of its body to cut.

        None does not cut; 0 cuts without a byte of the answer.
        """
        if rule.truncate:
            length = max(answer.body_length - rule.truncate, 0)
            answer.body = SpoiledBody(answer.body, length, None)
            if answer.content_length is not None:
                answer.content_length = length
        if rule.corrupt and answer.body_length:
            answer.body = SpoiledBody(answer.body, answer.body_length, answer.body_length // 2)
        if rule.etag is not None:
            self._set_etag(rule.etag, path, answer)
        cut_after = None
        for name, value in rule.answer_headers.items():
            if name == "content-length":
                cut_after = _lie_about_length(answer, int(value))
                continue
            answer.headers = [pair for pair in answer.headers if pair[0] != name]
            answer.headers.append((name, value))
        if rule.cut == "after":
            return 0
        return answer.body_length // 2 if rule.cut == "body" else cut_after

    def _set_etag(self, wanted: str, path: str, answer: Answer) -> None:
        for index, (name, value) in enumerate(answer.headers):
            if name == "etag":
                shown = wanted
                if wanted == "stale":
                    current, previous = self._etags.get(path, (value, value))
                    shown = previous if current == value else current
                answer.headers[index] = (name, shown)


def _lie_about_length(answer: Answer, declared: int) -> int | None:
    """Declare another length; HTTP ends at it, or the connection does where the body is shorter."""
    answer.content_length = declared
    if declared < answer.body_length:
        answer.body = SpoiledBody(answer.body, declared, None)
    return answer.body_length if answer.body_length < declared else None


class SpoiledBody:
    """A body that ends early, or has one byte inverted."""

    __slots__ = ("_body", "_flip", "length")

    def __init__(self, body: bytes | BodySource, length: int, flip: int | None) -> None:
        self._body = body
        self._flip = flip
        self.length = length

    def pieces(self) -> Iterator[bytes]:
        """Yield what is left of the body."""
        position = 0
        pieces = [self._body] if isinstance(self._body, bytes) else self._body.pieces()
        for piece in pieces:
            part = bytearray(piece[: self.length - position])
            if self._flip is not None and 0 <= self._flip - position < len(part):
                part[self._flip - position] ^= 0xFF
            position += len(part)
            yield bytes(part)
