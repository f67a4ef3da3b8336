"""The average of the weights, by hand; what it leaves alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hpf_core.engine.average import WeightAverage
from hpf_core.errors import DataError


def set_to(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


@pytest.fixture
def network() -> nn.Linear:
    made = nn.Linear(1, 1, bias=False)
    set_to(made, 8.0)
    return made


def test_each_step_keeps_its_share_of_the_old_average(network: nn.Linear) -> None:
    average = WeightAverage(network, 0.5)
    for step, value in enumerate([4.0, 2.0, 1.0]):
        set_to(network, value)
        average.update(100 + step)  # long after the start
    with average.in_place():
        assert network.weight.item() == 8 / 8 + 4 / 8 + 2 / 4 + 1 / 2
    assert network.weight.item() == 1.0, "the network's own weights are back"


def test_the_start_is_forgotten_sooner_than_the_decay_alone_would(network: nn.Linear) -> None:
    average = WeightAverage(network, 0.9999)
    set_to(network, 0.0)
    for step in range(100):
        average.update(step)
    with average.in_place():
        assert network.weight.item() < 1e-6


def test_it_begins_with_the_weights_that_the_stage_starts_from(network: nn.Linear) -> None:
    average = WeightAverage(network, 0.9)
    set_to(network, 3.0)
    average.begin()
    assert average.tensors()["average.weight"].item() == 3.0


def test_a_checkpoint_puts_it_back_or_is_refused(network: nn.Linear) -> None:
    average = WeightAverage(network, 0.9)
    average.restore({"average.weight": torch.full((1, 1), 5.0)}, Path("some"))
    assert average.tensors()["average.weight"].item() == 5.0
    with pytest.raises(DataError, match="some: the average of weight is missing"):
        average.restore({}, Path("some"))
