"""An adversarial scheduler over the machines: every order of steps and faults, within a budget.

Each request is one atomic step at the service. Faults: a crash at any step, an answer that is lost,
a request that times out and arrives at any later time, a pause longer than the time to live, a
lease of another program, another file renamed over the path. Time stands still; what is old is
marked so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import SESSIONS
from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Break,
    Change,
    Create,
    Delete,
    Move,
    NeedBeat,
    Quarantine,
    Refused,
    Release,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import Life
from tests.unit.locks.judge import Judge, Scenario, State
from tests.unit.locks.mounts import FILE_ID, NOW, OLD, OWNERS, PATH, View
from tests.unit.locks.service import File, Service, Write, apply

FOREIGN = "a lease of another program"
DELAYED = (Acquire, Change, Release, Break, Create, Delete, Write)


class Label(NamedTuple):
    """What a step is; put into words only for a trace."""

    mount: int
    what: str
    request: Request | Write | None = None
    answer: Answer | None = None

    def __str__(self) -> str:
        who = f"m{self.mount} " if self.mount >= 0 else ""
        request = f" {show(self.request)}" if self.request else ""
        answer = f" -> {show_answer(self.answer)}" if self.answer else ""
        return f"{who}{self.what}{request}{answer}"


Step = tuple[Label, State, bool]


@dataclass
class Outcome:
    """What a search found."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()
    complete: bool = True


class Search(Judge):
    """A breadth-first search, so that a trace is as short as can be."""

    def __init__(self, scenario: Scenario) -> None:
        """Prepare the first state."""
        super().__init__(scenario)
        self._numbers: dict[Service, int] = {}
        self._applied: dict[tuple[int, Request | Write], tuple[int, Answer]] = {}

    # States of the service

    def _number(self, service: Service) -> int:
        number = self._numbers.setdefault(service, len(self._services))
        if number == len(self._services):
            self._services.append(service)
        return number

    def apply(self, service: int, request: Request | Write) -> tuple[int, Answer]:
        """Apply a request to a state of the service."""
        key = service, request
        if key not in self._applied:
            after, answer = apply(self._services[service], request, NOW)
            self._applied[key] = self._number(after), answer
        return self._applied[key]

    def first(self) -> State:
        """Return the first state: every session alive, nothing locked."""
        mounts = tuple(self.mounts.first(index) for index in range(self.count))
        self._identity = [self.mounts.view(number).identity for number in mounts]
        names = frozenset((SESSIONS, self.mounts.view(number).file, NOW) for number in mounts)
        service = self._number(Service((File(PATH, FILE_ID),), names))
        foreign = "may come" if self.scenario.budget.foreign else "over"
        return State(service, mounts, (), self.scenario.budget, foreign)

    # Steps

    def steps(self, state: State) -> Iterator[Step]:
        """Yield each step that can come next: what it is, where it leads, whether it is a fault."""
        for index in range(self.count):
            view = self.mounts.view(state.mounts[index])
            if view.app not in ("crash", "done"):
                yield from self._mount_steps(state, index, view)
        yield from self._environment(state)

    def _with(self, state: State, index: int, mount: int, **changed: Any) -> State:
        mounts = (*state.mounts[:index], mount, *state.mounts[index + 1 :])
        return state._replace(mounts=mounts, **changed)

    def _event(self, state: State, index: int, *event: Any, **changed: Any) -> State:
        mount = self.mounts.advance(state.mounts[index], *event)
        return self._with(state, index, mount, **changed)

    def _mount_steps(self, state: State, index: int, view: View) -> Iterator[Step]:
        if state.budget.crash:
            spent = state.budget._replace(crash=state.budget.crash - 1)
            yield Label(index, "CRASH"), self._event(state, index, "crash", budget=spent), True
        yield from self._beat_steps(state, index, view)
        for request in view.sweep:
            service, _ = self.apply(state.service, request)
            if service != state.service and view.life is Life.ALIVE:
                yield Label(index, "sweeps", request), state._replace(service=service), False
        yield from self._program_steps(state, index, view)

    def _beat_steps(self, state: State, index: int, view: View) -> Iterator[Step]:
        wanted = view.stale or view.beating or isinstance(view.action, NeedBeat)
        if not wanted or view.life not in (Life.UNBORN, Life.STARTING, Life.ALIVE):
            return
        mount, request = self.mounts.beat(state.mounts[index])
        sent = self._with(state, index, mount)
        yield from self._send(sent, index, request, "beaten", self.scenario.beat_faults)

    def _program_steps(self, state: State, index: int, view: View) -> Iterator[Step]:
        if view.app == "idle" and not view.script_over:
            yield Label(index, "begins"), self._event(state, index, "begin"), False
        elif view.app == "idle":
            yield from self._close(state, index, view)
        elif view.app == "hold":
            if view.held is Mode.EXCLUSIVE and view.next_op == "":
                yield Label(index, "writes"), self._event(state, index, "start_write"), False
            yield Label(index, "goes on"), self._event(state, index, "go_on"), False
        elif view.app == "write":
            yield from self._send(state, index, self.mounts.write(state.mounts[index]), "written")
        elif view.app == "late":
            request = Write(PATH, FOREIGN, index, view.epoch)
            yield from self._send(state, index, request, "flushed_late")
        elif isinstance(view.action, Quarantine):
            yield Label(index, "quarantine over"), self._quarantine_over(state, index), False
        elif not isinstance(view.action, NeedBeat | Rest):
            assert isinstance(view.action, Request)
            yield from self._send(state, index, view.action, "answer")

    def _quarantine_over(self, state: State, index: int) -> State:
        after = self._event(state, index, "released_quarantine")
        for other in range(self.count):
            if other != index:
                after = self._event(after, other, "minute_over")
        return after

    def _close(self, state: State, index: int, view: View) -> Iterator[Step]:
        """Unmount once every program is over: before, others may still contend with us."""
        apps = [self.mounts.view(mount) for mount in state.mounts]
        over = all(a.app in ("crash", "done") or (a.app == "idle" and a.script_over) for a in apps)
        if over and not view.beating:
            request = self.mounts.end(state.mounts[index])
            if request is None:
                yield Label(index, "done"), self._event(state, index, "crash"), False
                return
            yield from self._send(state, index, request, "close", False)

    def _send(
        self, state: State, index: int, request: Request | Write, event: str, faults: bool = True
    ) -> Iterator[Step]:
        service, answer = self.apply(state.service, request)
        self._judge(state, index, request, service, answer)
        done = self._event(state, index, event, answer, service=service)
        yield Label(index, "sends", request, answer), done, False
        budget = state.budget
        if not faults or not isinstance(request, (*DELAYED, Move)):
            return
        if budget.lost and (service != state.service or isinstance(request, Acquire | Change)):
            spent = budget._replace(lost=budget.lost - 1)
            lost = self._event(state, index, event, Unanswered(), service=service, budget=spent)
            yield Label(index, "APPLIED, ANSWER LOST:", request), lost, True
        if budget.delayed:
            spent = budget._replace(delayed=budget.delayed - 1)
            net = (*state.net, request)
            late = self._event(state, index, event, Unanswered(), net=net, budget=spent)
            yield Label(index, "TIMED OUT, under way:", request), late, True

    def _environment(self, state: State) -> Iterator[Step]:
        yield from self._aging(state)
        for place, request in enumerate(state.net):
            service, answer = self.apply(state.service, request)
            self._judge(state, -1, request, service, answer)
            net = state.net[:place] + state.net[place + 1 :]
            after = state._replace(service=service, net=net)
            yield Label(-1, "late arrival:", request, answer), after, False
        yield from self._foreign(state)
        file = self._services[state.service].files[0]
        if state.budget.replace and not file.lease:
            spent = state.budget._replace(replace=state.budget.replace - 1)
            other = File(PATH, str(int(file.file_id) + 1))
            service = self._number(self._services[state.service].put(other))
            yield (
                Label(-1, "another file takes the name"),
                state._replace(service=service, budget=spent),
                True,
            )

    def _aging(self, state: State) -> Iterator[Step]:
        for index in range(self.count):
            view = self.mounts.view(state.mounts[index])
            found = self._session_of(state.service, index)
            if found is None or found[2] == OLD:
                continue
            service = self._services[state.service]
            names = service.names - {found} | {(*found[:2], OLD)}
            old = self._number(service._replace(names=names))
            if view.app == "crash":
                yield Label(index, "session is old (crashed)"), state._replace(service=old), False
            elif state.budget.pause and view.app != "done":
                spent = state.budget._replace(pause=state.budget.pause - 1)
                after = self._event(state, index, "pause", service=old, budget=spent)
                yield Label(index, "PAUSED, session is old"), after, True

    def _foreign(self, state: State) -> Iterator[Step]:
        service = self._services[state.service]
        file = service.files[0]
        if state.foreign == "may come":
            if not file.lease:
                taken = self._number(service.put(file._replace(lease=FOREIGN, broken="")))
                after = state._replace(service=taken, foreign="holds")
                yield Label(-1, "FOREIGN acquires"), after, True
            yield Label(-1, "no foreign"), state._replace(foreign="over"), False
        elif state.foreign == "holds":
            if file.lease == FOREIGN:
                service = service.put(file._replace(lease=""))
            after = state._replace(service=self._number(service), foreign="over")
            # Where foreign leases are broken, their holder need not come back.
            yield Label(-1, "foreign releases"), after, self.scenario.rules.break_foreign

    # The search

    def run(self) -> Outcome:
        """Search every state, then that each can still come to an end without further faults."""
        first = self.first()
        self.states, self.numbers = [first], {first: 0}
        self.parents: list[tuple[int, Label]] = [(-1, Label(-1, "first"))]
        self.before: list[list[int]] = [[]]
        goals: list[int] = []
        self.complete = True
        for here, state in enumerate(iter_growing(self.states)):
            wrong = self.check(state)
            if self.is_goal(state):
                goals.append(here)
                wrong = wrong or self.leak(state)
            if wrong:
                return Outcome(len(self.states), wrong, trace(self.parents, here))
            last = self._expand(here, state)
            if self.bad:
                steps = (*trace(self.parents, here), str(last))
                return Outcome(len(self.states), self.bad, steps)
        if not self.complete:
            return Outcome(len(self.states), complete=False)
        stuck = unreached(len(self.states), goals, self.before)
        if stuck is not None:
            steps = trace(self.parents, stuck)
            return Outcome(len(self.states), "STUCK: cannot come to an end", steps)
        return Outcome(len(self.states))

    def _expand(self, here: int, state: State) -> Label | None:
        """Note every state that follows; return the last step, which may be a bad one."""
        label = None
        for label, after, fault in self.steps(state):
            if self.bad:
                return label
            there = self.numbers.get(after)
            if there is None:
                if len(self.states) >= self.scenario.limit:
                    self.complete = False
                    continue
                there = self.numbers[after] = len(self.states)
                self.states.append(after)
                self.parents.append((here, label))
                self.before.append([])
            if not fault:
                self.before[there].append(here)
        return label


def iter_growing(states: list[State]) -> Iterator[State]:
    """Yield the elements of a list that grows meanwhile."""
    place = 0
    while place < len(states):
        yield states[place]
        place += 1


def trace(parents: list[tuple[int, Label]], here: int) -> tuple[str, ...]:
    """Return the labels of the way to a state."""
    labels = []
    while here > 0:
        here, label = parents[here]
        labels.append(str(label))
    return tuple(reversed(labels))


def unreached(count: int, goals: list[int], before: list[list[int]]) -> int | None:
    """Return the first state from which no goal can be reached."""
    marked = bytearray(count)
    todo = list(goals)
    for goal in goals:
        marked[goal] = 1
    while todo:
        for earlier in before[todo.pop()]:
            if not marked[earlier]:
                marked[earlier] = 1
                todo.append(earlier)
    return next((place for place in range(count) if not marked[place]), None)


def show(request: object) -> str:
    """Return a request in a few words, lease ids as mount and number."""
    text = str(request)
    for lease, (owner, number) in OWNERS.items():
        if lease in text:
            text = text.replace(lease, f"m{owner}k{number}")
    return text


def show_answer(answer: Answer) -> str:
    """Return an answer in a few words."""
    return answer.why.name if isinstance(answer, Refused) else type(answer).__name__
