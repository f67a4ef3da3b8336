"""The number of threads that a run chooses for itself."""

from types import SimpleNamespace

import pytest
import torch

from hpf_core.engine import threads
from hpf_core.frames import Estimate


class Network(torch.nn.Module):
    """Notes the number of threads of each pass, and takes the time that a test gives it."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seconds, self.seen = seconds, []

    def forward(self, maps):
        self.seen.append(torch.get_num_threads())
        return [Estimate(self.weight * maps.sum() + torch.zeros(len(maps), 41, 3))]


@pytest.fixture
def choose(monkeypatch):
    """Chooses threads for a network whose pass takes `seconds[threads]`; returns the choice."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def chosen(seconds, most):
        torch.set_num_threads(most)
        clock = [0.0]

        def now():
            clock[0] += seconds[torch.get_num_threads()] / 2
            return clock[0]

        monkeypatch.setattr(threads.time, "perf_counter", now)
        found = threads.fastest_threads(SimpleNamespace(backbone=Network(seconds), grid=SimpleNamespace(size=8)))
        assert torch.get_num_threads() == most
        return found

    yield chosen
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [
        ({1: 0.2, 2: 0.11}, 2, 2),
        ({1: 0.2, 2: 0.9}, 2, 1),
        ({1: 0.2, 2: 0.21}, 2, 2),
        ({1: 0.4, 2: 0.1, 4: 0.3}, 4, 2),
        ({1: 0.4, 2: 0.3, 4: 0.1}, 4, 4),
    ],
    ids=["two are faster", "one is busy", "no clear difference", "half", "all"],
)
def test_the_fastest_number_is_chosen(choose, seconds, most, expected):
    assert choose(seconds, most) == expected


def test_a_number_that_the_user_chose_stays(choose, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose({1: 0.1, 2: 9.0}, 2) == 2


def test_a_network_that_fails_is_left_to_the_first_step(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        broken = SimpleNamespace(backbone=torch.nn.Linear(3, 2), grid=SimpleNamespace(size=8))
        assert threads.fastest_threads(broken) == 2
    finally:
        torch.set_num_threads(before)
