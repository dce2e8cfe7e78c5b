"""What must be true of every state and every step of the search: the guarantees of the protocol."""

from dataclasses import dataclass, field
from typing import NamedTuple

from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import DEAD, SESSIONS, SessionFile, Tombstone
from azfilesfs.vfs.locks.requests import Answer, Break, Change, Done, Move, Release, Request
from azfilesfs.vfs.locks.session import Life
from tests.unit.locks.mounts import FILE_ID, NOW, OWNERS, Mounts, Rules, View
from tests.unit.locks.service import Service, Write


class Budget(NamedTuple):
    """How many faults of each kind may happen."""

    crash: int = 0
    lost: int = 0
    delayed: int = 0
    pause: int = 0
    replace: int = 0
    foreign: int = 0


@dataclass(frozen=True)
class Scenario:
    """What is searched."""

    scripts: tuple[tuple[str, ...], ...]
    budget: Budget = field(default_factory=Budget)
    rules: Rules = field(default_factory=Rules)
    beat_faults: bool = False
    limit: int = 400_000


class State(NamedTuple):
    """Everything: numbers of the service's and the mounts' states, requests under way, budgets."""

    service: int
    mounts: tuple[int, ...]
    net: tuple[Request | Write, ...]
    budget: Budget
    foreign: str = ""


class Judge:
    """Tells what is wrong; ``bad`` is set by the first step that breaks a guarantee."""

    def __init__(self, scenario: Scenario) -> None:
        """Judge the states of a search."""
        self.scenario = scenario
        self.mounts = Mounts(scenario.rules, scenario.scripts)
        self.count = len(scenario.scripts)
        self.bad = ""
        self._services: list[Service] = []
        self._identity: list[str] = []

    def _session_of(self, service: int, mount: int) -> tuple[str, str, int] | None:
        identity = self._identity[mount]
        found = self._services[service].names
        return next((n for n in found if n[0] == SESSIONS and n[1].startswith(identity)), None)

    def _tombstone_of(self, service: int, mount: int) -> Tombstone | None:
        identity = self._identity[mount]
        for directory, name, _ in self._services[service].names:
            if directory == DEAD and name.startswith(identity):
                return Tombstone.parse(name)
        return None

    def _judge(
        self,
        state: State,
        index: int,
        request: Request | Write,
        service: int,
        answer: Answer,
    ) -> None:
        """Judge a request by what it did."""
        if isinstance(request, Write):
            self._judge_write(state, index, request, answer)
        elif not isinstance(answer, Done):
            return
        elif isinstance(request, Release | Change):
            owner = OWNERS.get(request.lease_id, (index, 0))[0]
            changed = service != state.service
            if changed and owner != index and index >= 0 and self._lives(state, owner):
                self.bad = "TAKE-LIVE: the lease of a session that nobody declared dead was taken"
        elif isinstance(request, Break):
            self._judge_break(state)
        elif isinstance(request, Move) and request.to_directory == DEAD:
            self._judge_kill(state, index, request)

    def _lives(self, state: State, owner: int) -> bool:
        return self._tombstone_of(state.service, owner) is None

    def _judge_break(self, state: State) -> None:
        lease = self._services[state.service].files[0].lease
        if lease in OWNERS:
            holder = self.mounts.view(state.mounts[OWNERS[lease][0]])
            if holder.valid and holder.held is Mode.EXCLUSIVE and holder.lease == lease:
                self.bad = "TAKE-LIVE: the lease of a live holder was broken"

    def _judge_kill(self, state: State, index: int, request: Move) -> None:
        found = self._services[state.service].find(SESSIONS, request.name)
        own = request.name.startswith(self._identity[index]) if index >= 0 else False
        if found is not None and found[2] == NOW and not own:
            self.bad = "KILL-LIVE: a session that was renewed was declared dead"

    def _judge_write(self, state: State, index: int, write: Write, answer: Answer) -> None:
        writer = self.mounts.view(state.mounts[write.mount])
        if not isinstance(answer, Done):
            if writer.app == "late":
                self.bad = "LATE-FLUSH: bytes were lost after the release"
            return
        others = [
            self.mounts.view(mount) for i, mount in enumerate(state.mounts) if i != write.mount
        ]
        believed = any(o.held is not Mode.NONE and o.valid for o in others if alive(o))
        if believed:
            self.bad = "OLD-WRITE: accepted while another mount holds the lock"
        elif write.lease_id is None:
            mine = self._services[state.service].files[0].lease == writer.lease
            if not mine:
                self.bad = "UNFENCED-WRITE: accepted after the lease was lost"
        elif alive(writer) and writer.life is Life.ALIVE:
            same = (writer.epoch, writer.lease) == (write.epoch, write.lease_id)
            if not same:
                self.bad = "OLD-WRITE: accepted in a later epoch of the lock"

    def check(self, state: State) -> str:
        """Return what is wrong with a state."""
        file = self._services[state.service].files[0]
        views = [self.mounts.view(mount) for mount in state.mounts]
        exclusive, shared = [], []
        for index, view in enumerate(views):
            if not alive(view):
                continue
            effective = view.lease is not None and file.lease == view.lease
            if view.held is Mode.EXCLUSIVE and (view.valid or effective):
                exclusive.append(index)
            if view.held is Mode.SHARED and view.valid:
                shared.append(index)
            if view.held is Mode.EXCLUSIVE and view.valid:
                if not effective and not self.scenario.budget.foreign:
                    return f"LOST-LIVE: m{index} believes in a lease that is gone"
                if effective and file.file_id != FILE_ID:
                    return f"WRONG-FILE: m{index} leased another file"
        if len(exclusive) > 1:
            return "MUTEX: two exclusive locks"
        if exclusive and set(shared) - set(exclusive):
            return "MUTEX: exclusive beside shared"
        return ""

    def is_goal(self, state: State) -> bool:
        """Tell whether every program came to its end and nothing is under way."""
        if state.net:
            return False
        return all(not alive(self.mounts.view(mount)) for mount in state.mounts)

    def leak(self, state: State) -> str:
        """Return what nobody could explain at the end."""
        lease = self._services[state.service].files[0].lease
        if lease not in OWNERS:
            return ""
        owner, number = OWNERS[lease]
        tombstone = self._tombstone_of(state.service, owner)
        found = self._session_of(state.service, owner)
        session = SessionFile.parse(found[1]) if found else None
        if tombstone is not None and tombstone.clean:
            return "LEAK: a lease of a session that ended clean"
        window = tombstone.window if tombstone else session.window if session else None
        if window is None:
            return "LEAK: a lease without session and tombstone"
        return "" if number in window.numbers() else "LEAK: a lease number that nobody was told of"


def alive(view: View) -> bool:
    """Tell whether a mount's process runs and its program is not over."""
    return view.app not in ("crash", "done")
