"""The consistency term against Eq. 12's loops, its averages, and frames with too few views."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Scene, random_rotation, rigid

from hpf_core.errors import InputError
from hpf_core.frames import Estimate
from hpf_core.interfaces import DataTerm
from hpf_core.objective.fit import Fit
from hpf_plugins.data_terms import multiview
from hpf_plugins.data_terms.multiview import TooFewViewsWarning

MIXED = [[1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
AVERAGES = ["median", "least_variance", "mean"]


def term(average: str = "median", **options) -> DataTerm:
    return multiview.SPEC.factory(multiview.SPEC.config(average=average, **options), None)


def quietly(made: DataTerm, fit: Fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TooFewViewsWarning)
        return made(fit)


@pytest.mark.parametrize("average", AVERAGES)
def test_values_are_the_equation(average):
    scene = Scene(MIXED, seed=1)
    value = quietly(term(average), scene.fit())
    rows = scene.pairs()[0]
    to_rig = scene.frames.to_rig.numpy()
    for b in range(4):
        members = [n for n, (frame, _) in enumerate(rows) if frame == b]
        expected = reference.multiview(
            scene.points[members].numpy(), [to_rig[rows[n]] for n in members], scene.variance[members].numpy(), average
        )
        for n, one in zip(members, expected, strict=True):
            assert float(value.weights[n]) == (one is not None)
            assert bool(value.values[n].isfinite())
            if one is not None:
                assert float(value.values[n]) == pytest.approx(one, abs=1e-8)
    assert value.frame is not None
    assert value.frame.tolist() == [b for b, _ in rows]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("detach", [True, False])
def test_gradcheck(average, detach):
    scene = Scene([[1, 1, 1]], seed=2)
    made = term(average, detach=detach)
    points = scene.points.clone().requires_grad_()
    if not detach:
        assert torch.autograd.gradcheck(lambda p: made(scene.fit(p)).values, points, atol=1e-5)
        return
    # With the average as a constant goal: 2 (c - goal) / J for each view's points, turned into its crop.
    value = made(scene.fit(points)).values
    (found,) = torch.autograd.grad(value.sum(), points)
    rig = scene.fit().rig_rows
    goal = {
        "mean": rig.mean(dim=0),
        "median": rig.median(dim=0).values,
        "least_variance": rig.gather(0, scene.variance.argmin(dim=0)[None, :, None].expand(1, -1, 3))[0],
    }[average]
    rotation = scene.frames.to_rig[0, :, :3, :3]
    expected = torch.einsum("vij,vki->vkj", rotation, 2 * (rig - goal) / points.shape[1])
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("average", AVERAGES)
def test_views_that_agree_are_no_residual(average):
    scene = Scene([[1, 1, 1]], seed=3)
    assert float(term(average)(scene.fit(scene.truth)).values.max()) < 1e-12


def test_the_median_ignores_one_wrong_view_and_the_mean_does_not():
    scene = Scene([[1, 1, 1]], seed=4)
    points = scene.truth.clone()
    points[1] += 100
    assert float(term("median")(scene.fit(points)).values[0]) < 1e-9
    assert float(term("mean")(scene.fit(points)).values[0]) > 1000


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), average=st.sampled_from(AVERAGES))
def test_the_rigs_frame_does_not_matter(seed, average):
    """Any rigid change for averages of vectors; a shift for the median of each coordinate."""
    scene = Scene([[1, 1, 1], [1, 1, 1]], seed=seed)
    rng = np.random.default_rng(seed)
    turn = np.eye(3) if average == "median" else random_rotation(rng)
    move = torch.from_numpy(rigid(turn, rng.uniform(-500, 500, 3)))
    frames = dataclasses.replace(scene.frames, to_rig=move @ scene.frames.to_rig)
    elsewhere = Fit(
        hand=scene.hand,
        renderer=scene.renderer,
        grid=scene.grid,
        frames=frames,
        real=Estimate(scene.points, variance=scene.variance),
    )
    torch.testing.assert_close(term(average)(elsewhere).values, term(average)(scene.fit()).values, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("average", "needs", "few"), [("median", 3, 2), ("mean", 2, 1), ("least_variance", 2, 1)])
def test_too_few_views_are_said_once(average, needs, few):
    scene = Scene(MIXED, seed=5)
    made = term(average)
    with pytest.warns(TooFewViewsWarning, match=f"{few} of the batch's 4 frames have fewer than the {needs} views"):
        made(scene.fit())
    made(scene.fit())  # a second warning would be an error


def test_enough_views_are_silent():
    value = term("median")(Scene([[1, 1, 1]], seed=6).fit())  # a warning would be an error
    assert value.weights.tolist() == [1, 1, 1]


def test_a_batch_of_single_views_is_finite_and_weightless():
    scene = Scene([[1], [1]], seed=7)
    points = scene.points.clone().requires_grad_()
    value = quietly(term(), scene.fit(points))
    assert value.weights.tolist() == [0, 0]
    value.values.sum().backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


def test_least_variance_names_what_it_lacks():
    scene = Scene([[1, 1]], seed=8)
    fit = Fit(
        hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=scene.frames, real=Estimate(scene.points)
    )
    with pytest.raises(InputError, match="provides `variance`"):
        term("least_variance")(fit)


@pytest.mark.parametrize("average", AVERAGES)
def test_forward_and_backward_on_meta(average):
    scene = Scene(MIXED, seed=9)
    points = scene.points.to("meta").requires_grad_()
    fit = Fit(
        hand=scene.hand,
        renderer=scene.renderer,
        grid=scene.grid,
        frames=scene.frames.to("meta"),
        real=Estimate(points, variance=scene.variance.to("meta")),
    )
    value = quietly(term(average), fit)
    (value.values * value.weights).sum().backward()
    assert points.grad is not None


def test_float32_under_autocast():
    scene = Scene([[1, 1, 1]], seed=10)
    frames = dataclasses.replace(scene.frames, depth=scene.frames.depth.float(), to_rig=scene.frames.to_rig.float())
    estimate = Estimate(scene.points.float())
    with torch.autocast("cpu", torch.bfloat16):
        value = term()(
            Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=estimate)
        ).values
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), term()(scene.fit()).values, rtol=1e-4, atol=1e-3)


def test_the_aliases_are_valid_options():
    for options in multiview.SPEC.aliases.values():
        assert multiview.SPEC.config(**options).average == options["average"]
    assert term().unit == "mm^2"
