"""What a term returns is checked, in form at every step and in value at the first one, with the term's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scenes import Scene
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.interfaces import DataTerm, Prior, TermValue
from hpf_core.objective.energy import Energy, WeightedTerm
from hpf_core.objective.fit import Fit


class Returns(DataTerm):
    """Returns what a function makes of the right value."""

    def __init__(self, change: Callable[[Any, TermValue], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, step):
        values = step.points_across(True).square().mean(dim=(1, 2))
        return self.change(step, TermValue(values, torch.ones_like(values), step.pair_frame(True)))


class TooMany(Prior):
    def forward(self, points: Tensor) -> TermValue:
        values = torch.cat([points.square().mean(dim=(1, 2)), points.new_zeros(1)])
        return TermValue(values, torch.ones_like(values))


def fit() -> Fit:
    scene = Scene([[1, 1], [1, 0]])
    return scene.fit(scene.points.clone().requires_grad_())


def energy(change: Callable[[Any, TermValue], Any], weight: float = 1.0) -> Energy:
    return Energy([WeightedTerm("strange", weight, Returns(change))])


FORMS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "None": (lambda step, right: None, "returned None, not a TermValue"),
    "a bare tensor": (lambda step, right: right.values, r"a tensor of shape \(5,\) and type float64, not a TermValue"),
    "a plain tuple": (lambda step, right: tuple(right), "returned a tuple, not a TermValue"),
    "a mean": (
        lambda step, right: right._replace(values=right.values.mean()),
        r"values that are a tensor of shape \(\)",
    ),
    "a number": (lambda step, right: right._replace(values=1.0), "values that are a float"),
    "whole numbers": (lambda step, right: right._replace(values=right.values.long()), "type int64: one number"),
    "whole weights": (lambda step, right: right._replace(weights=right.weights.long()), "weights that are a tensor"),
    "a value too many": (lambda step, right: right._replace(values=right.values.repeat(2)), "10 values and 5 weights"),
    "other frames": (lambda step, right: right._replace(frame=right.frame[1:]), r"frames that are .*shape \(4,\)"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_wrong_form_is_named(name: str) -> None:
    change, said = FORMS[name]
    with pytest.raises(RunError, match=f"the term 'strange' returned .*{said}" if "returned" not in said else said):
        energy(change)([fit()])


def test_a_prior_gives_one_value_for_each_estimate() -> None:
    with pytest.raises(RunError, match="the term 'strange' returned 4 values for 3 estimates"):
        Energy([WeightedTerm("strange", 1.0, TooMany())])([fit()])


def changes_an_estimate(step: Any, right: TermValue) -> TermValue:
    with torch.no_grad():
        step.real.points.add_(1.0)
    return right


def changes_a_shared_result(step: Any, right: TermValue) -> TermValue:
    step.depth_maps.add_(0.0)
    return right


def changes_behind_autograds_back(step: Any, right: TermValue) -> TermValue:
    step.frames.depth.data.numpy()[:] += 1.0
    return right


VALUES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a negative weight": (lambda step, right: right._replace(weights=-right.weights), "a weight of -1"),
    "a weight of NaN": (lambda step, right: right._replace(weights=right.weights * torch.nan), "a weight of nan"),
    "no gradient": (lambda step, right: right._replace(values=right.values.detach()), "values without a gradient"),
    "a changed estimate": (changes_an_estimate, "changes its input real.points in place"),
    "a changed image": (changes_behind_autograds_back, "changes its input frames.depth in place"),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_wrong_value_is_named_at_the_first_step(name: str) -> None:
    change, said = VALUES[name]
    with pytest.raises(RunError, match=f"the term 'strange' .*{said}"):
        energy(change).sums([fit()], inspect=True)


def test_a_shared_result_that_a_term_changes_is_found_before_another_reads_it() -> None:
    terms = [WeightedTerm("first", 1.0, Returns(lambda step, right: (step.depth_maps, right)[1]))]
    terms.append(WeightedTerm("second", 1.0, Returns(changes_a_shared_result)))
    with pytest.raises(RunError, match=r"the term 'second' changes its input \(shared result \d\) in place"):
        Energy(terms).sums([fit()], inspect=True)


def test_values_are_read_once_for_each_term() -> None:
    """In the first step in which it counts; later ones read nothing back."""
    calls = []

    def negative_later(step: Any, right: TermValue) -> TermValue:
        calls.append(1)
        return right if len(calls) == 1 else right._replace(weights=-right.weights)

    made = energy(negative_later)
    made.sums([fit()], [False], inspect=True)
    assert calls == []
    made.sums([fit()], inspect=True)
    made.sums([fit()], inspect=True)
    assert len(calls) == 2


def test_a_term_of_weight_0_needs_no_gradient() -> None:
    change, _ = VALUES["no gradient"]
    energy(change, weight=0.0).sums([fit()], inspect=True)
