"""Several mounts and files in simulated time, with random faults and clocks of their own."""

import pytest

from tests.unit.locks.simulation import Faults, Simulation

HARSH = Faults(lost=0.1, delayed=0.1, pause=0.1, crash=0.0)


def run(seed: int, mounts: int, files: int, faults: Faults, seconds: int) -> Simulation:
    """Run with faults, then without until every program that lives has had its rounds."""
    sim = Simulation(seed, mounts, files, faults, rounds=40)
    sim.run(seconds)
    sim.calm()
    sim.run(7200)
    return sim


def assert_sound(sim: Simulation) -> None:
    """Every program came to its end, and every acknowledged addition is in its counter."""
    for place, file in enumerate(sim.service.files):
        programs = [mount.programs[place] for mount in sim.mounts]
        assert file.version >= sum(one.acknowledged for one in programs)
    for mount in sim.mounts:
        if not mount.crashed:
            assert [one.rounds for one in mount.programs] == [0] * len(mount.programs)
            assert mount.session.leftovers == frozenset()


@pytest.mark.parametrize("seed", range(6))
def test_no_update_is_lost(seed: int):
    """Locks exclude each other, no addition is lost, and everybody gets on afterwards."""
    assert_sound(run(seed, 3, 2, Faults(), 1200))


@pytest.mark.parametrize("seed", range(100, 104))
def test_bad_days(seed: int):
    """The same with a fifth of all answers missing and long pauses."""
    assert_sound(run(seed, 2, 1, HARSH, 1200))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_no_update_is_lost_long(seed: int):
    """The same for many seeds, with more mounts."""
    assert_sound(run(seed, 2 + seed % 4, 1 + seed % 3, HARSH if seed % 2 else Faults(), 3600))
