"""The reduction of terms, and the total as a weighted sum of the raw values that are logged."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpf_core.interfaces import DataTerm, Prior, TermValue
from hpf_core.objective.energy import Energy, WeightedTerm, reduce

finite = st.floats(-1e3, 1e3)


@given(st.lists(st.tuples(finite, st.floats(0, 10)), min_size=1, max_size=20))
def test_reduce_is_the_weighted_mean(items):
    values, weights = (np.array(x) for x in zip(*items, strict=True))
    wanted = (values * weights).sum() / weights.sum() if weights.sum() > 0 else 0.0
    got = reduce(TermValue(torch.tensor(values), torch.tensor(weights)))
    assert got.item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_what_does_not_count_may_be_anything():
    values = torch.tensor([1.0, torch.inf, torch.nan], requires_grad=True)
    got = reduce(TermValue(values, torch.tensor([1.0, 0.0, 0.0])))
    got.backward()
    assert got.item() == 1.0
    assert values.grad.tolist() == [1.0, 0.0, 0.0]


def test_nothing_that_counts_is_zero():
    assert reduce(TermValue(torch.empty(0), torch.empty(0))).item() == 0.0
    assert reduce(TermValue(torch.ones(3), torch.zeros(3))).item() == 0.0


class Points:
    def __init__(self, points):
        self.points = points

    def __len__(self):
        return len(self.points)


class FakeFit:
    """As much of a fit as these terms read."""

    def __init__(self, points):
        self.real = Points(points)
        self.synthetic = None

        class Frames:
            class views:
                frame = torch.arange(len(points))

        self.frames = Frames


class Square(DataTerm):
    def forward(self, fit):
        return TermValue(fit.real.points.square().sum((-1, -2)), torch.ones(len(fit.real)))


class Line(Prior):
    def forward(self, points):
        return TermValue(points.sum((-1, -2)), torch.ones(len(points)))


def test_total_raw_and_stacks():
    energy = Energy([WeightedTerm("square", 0.5, Square()), WeightedTerm("line", 2.0, Line())])
    one, two = torch.full((2, 3, 3), 1.0), torch.full((2, 3, 3), 2.0)
    value = energy([FakeFit(one), FakeFit(two)])
    assert value.raw.tolist() == [(9 + 36) / 2, (9 + 18) / 2]
    assert value.total.item() == pytest.approx(0.5 * 22.5 + 2.0 * 13.5)  # Eq. 4
    assert value.values[1].frame.tolist() == [0, 1]


def test_gradient_lens_is_per_image_and_weighted():
    energy = Energy([WeightedTerm("square", 0.5, Square()), WeightedTerm("line", 2.0, Line())])
    fit = FakeFit(torch.full((4, 3, 3), 1.0, requires_grad=True))
    norms = energy.gradients(energy([fit]), fit)
    # d/dp of sum p^2 is 2 p: norm 2 * 3 over nine coordinates; of the sum it is 1: norm 3. The batch changes neither.
    assert norms.tolist() == pytest.approx([0.5 * 6.0, 2.0 * 3.0])


def test_a_term_that_does_not_act_through_the_points_has_no_gradient():
    class Constant(DataTerm):
        def forward(self, fit):
            return TermValue(torch.ones(1), torch.ones(1))

    energy = Energy([WeightedTerm("constant", 1.0, Constant())])
    fit = FakeFit(torch.ones(1, 3, 3, requires_grad=True))
    assert energy.gradients(energy([fit]), fit).isnan().all()


def test_a_term_that_does_not_count_is_not_computed():
    class Never(DataTerm):
        def forward(self, fit):
            raise AssertionError("it doesn't count")

    terms = [WeightedTerm("square", 0.5, Square()), WeightedTerm("never", 2.0, Never())]
    energy, fit = Energy(terms), FakeFit(torch.full((2, 3, 3), 2.0, requires_grad=True))
    value = energy([fit, fit], (True, False))
    alone = Energy(terms[:1])([fit])
    assert value.raw.tolist() == [36.0, 0.0]
    assert value.total.item() == alone.total.item() == 18.0
    assert energy.gradients(value, fit).isnan().tolist() == [False, True]
