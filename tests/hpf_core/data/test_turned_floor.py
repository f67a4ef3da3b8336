"""The tool that measures what turning a crop is worth."""

import sys
from pathlib import Path

import pytest

from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import turned_floor as tool  # after the path is set


@pytest.fixture(scope="module")
def floor():
    hand = Spheres41(Spheres41Config())
    renderer = Spheres(hand.radii, SpheresConfig())
    return lambda angle, turned: tool.floor(hand, renderer, 8, angle, turned, skin=False)


def test_true_spheres_fit_a_turned_crop_wherever_it_is_and_one_that_is_not_only_in_the_middle(floor):
    middle, aside, not_turned = floor(0.0, True), floor(20.0, True), floor(20.0, False)
    assert floor(0.0, False) == pytest.approx(middle, abs=1e-6)
    assert middle[0] < 1.2
    assert middle[1] > 0.95
    assert aside == pytest.approx(middle, abs=0.1)
    assert not_turned[0] > aside[0] + 0.3
    assert not_turned[1] < aside[1] - 0.04
