"""The contract of a prior, and the angles against hands whose joints were turned by hand."""

import math
from pathlib import Path

import pytest
import torch
from hpf_joint_limits import SPEC, JointLimitsConfig, chain_of

from hpf.plugin import Build, Grid, PluginHost
from hpf.testing import contract

test_contract = contract(SPEC, {"samples": 128})

BARE = Build(grid=Grid(), seed=0, cache=Path("unused"))
HAND_SPEC = PluginHost.load(only=[]).get("hand", "spheres41").spec


def hand():
    return HAND_SPEC.factory(HAND_SPEC.config(), BARE)


def prior(**options):
    built = Build(grid=Grid(), seed=0, cache=Path("unused"), hand=hand())
    return SPEC.factory(JointLimitsConfig(**options), built)


def posed(**degrees: float) -> torch.Tensor:
    """(1, 41, 3) float64: the neutral hand with some angles."""
    made = hand()
    pose = torch.zeros(1, len(made.pose_names), dtype=torch.float64)
    for name, angle in degrees.items():
        pose[0, made.pose_names.index(name)] = math.radians(angle)
    return made.points(pose, torch.ones(1, len(made.shape_names), dtype=torch.float64))


def test_chains_run_from_the_root_to_the_tip():
    made = hand()
    assert [made.names[k] for k in chain_of(made, "index")] == [
        f"F4_{point}" for point in ("KNU1_B", "KNU1_A", "KNU2_B", "KNU2_A", "KNU3_B", "KNU3_A")
    ]
    assert chain_of(made, "palm") == []


def test_angles_are_those_of_the_pose():
    """The middle finger's joints turn about an axis that leans by some degrees against the palm's width."""
    made, term = hand(), prior(samples=64)
    pip = [row[1] for row in term.triples.T.tolist()].index(made.names.index("F3_KNU2_B"))
    start = float(term.angles(posed()).flexion[0, pip])
    for degrees in (-4.0, 20.0, 60.0, 100.0):
        found = float(term.angles(posed(middle_pip_flexion=degrees)).flexion[0, pip]) - start
        assert abs(math.degrees(found)) == pytest.approx(abs(degrees), abs=1.5)
        assert (found > 0) == ((degrees > 0) == (float(term.angles(posed(middle_pip_flexion=50)).flexion[0, pip]) > 0))


def test_sampled_hands_are_free_and_a_finger_that_bends_backwards_is_not():
    made, term = hand(), prior()
    drawn = made.sample(256, torch.Generator().manual_seed(9))
    free = term(made.points(drawn.pose, drawn.shape)).values
    assert float(free.quantile(0.9)) == 0  # other hands than those that the ranges come from
    assert float(term(posed()).values) == 0
    over = [float(term(posed(index_pip_flexion=-angle)).values) for angle in (40, 60, 80)]
    assert 0 < over[0] < over[1] < over[2]
    # Beyond the range by an angle, it costs the angle's square: the range's end follows from two of them.
    ends = [40 - math.sqrt(over[0]), 60 - math.sqrt(over[1]), 80 - math.sqrt(over[2])]
    assert max(ends) - min(ends) < 1.5


def test_descent_brings_a_finger_back():
    term = prior()
    points = posed(ring_pip_flexion=-50).requires_grad_()
    optimiser = torch.optim.Adam([points], lr=0.5)
    before = float(term(points).values.detach())
    for _ in range(100):
        optimiser.zero_grad()
        term(points).values.sum().backward()
        optimiser.step()
    assert float(term(points).values.detach()) < 0.01 * before


def test_gradcheck():
    term = prior(margin_deg=0, samples=64)
    points = posed(index_pip_flexion=-50) + torch.randn(1, 41, 3, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda p: term(p).values, points.detach().requires_grad_(), atol=1e-4)


def test_a_hand_without_fingers_is_refused():
    made = hand()
    made.parts = ("palm",) * len(made.names)
    with pytest.raises(Exception, match="no index and no little; its parts: palm"):
        SPEC.factory(JointLimitsConfig(), Build(grid=Grid(), seed=0, cache=Path("unused"), hand=made))
