"""What m2d and d2m share: the equations' loops, gradients, and the properties of terms over pairs of views."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Scene, frames_of, random_rotation, rigid

from hpf_core.frames import Estimate, State
from hpf_core.interfaces import DataTerm
from hpf_core.objective.fit import Fit
from hpf_plugins.data_terms import d2m, m2d

MIXED = [[1, 1, 1], [0, 1, 0], [1, 0, 1]]
KEEP = {"forearm": "keep"}


def model_to_data(**options) -> DataTerm:
    return m2d.SPEC.factory(m2d.SPEC.config(**options), None)


def data_to_model(**options) -> DataTerm:
    return d2m.SPEC.factory(d2m.SPEC.config(**options), None)


def both(**options) -> list[DataTerm]:
    return [model_to_data(**options), data_to_model(**options)]


def total(term: DataTerm, fit: Fit) -> torch.Tensor:
    value = term(fit)
    return (value.values * value.weights).sum() / value.weights.sum()


# ------------------------------------------------------------------------------------------------------------ reference


@pytest.mark.parametrize(
    "options",
    [
        {"background": "far"},
        {"background": "silhouette"},
        {"background": "silhouette", "unknown": "ignore"},
        {"background": "far", "unknown": "ignore", "loss": "squared"},
        {"background": "far", "far_mm": 10.0, "loss": "squared"},
        {"background": "silhouette", "clamp_mm": 12.0},
    ],
)
def test_m2d_is_the_equation(options):
    scene = Scene(MIXED, seed=1)
    value = model_to_data(**options, **KEEP)(scene.fit())
    rows, _, pairs = scene.pairs()
    radii = scene.hand.radii.tolist()
    for p, (source, target) in enumerate(pairs):
        b, v = rows[target]
        expected = reference.m2d(
            scene.across(source, target), radii, scene.frames.depth[b, v].numpy(), scene.frames.state[b, v].numpy(),
            cube_mm=240.0, **options,
        )  # fmt: skip
        assert float(value.values[p]) == pytest.approx(expected, abs=1e-9)
    assert bool((value.weights == 1).all())
    assert value.frame is not None
    assert value.frame.tolist() == [rows[t][0] for _, t in pairs]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clamp_mm": 6.0},
        {"far_mm": -5.0},
        {"forearm": "wrist_plane", "margin_mm": 4.0},
        {"forearm": "wrist_plane", "far_mm": 15.0, "clamp_mm": 6.0},
    ],
)
def test_d2m_is_the_equation(options):
    scene = Scene(MIXED, seed=2)
    value = data_to_model(**{"budget": None, **KEEP, **options})(scene.fit())
    rows, _, pairs = scene.pairs()
    for p, (source, target) in enumerate(pairs):
        b, v = rows[target]
        expected = reference.d2m(
            scene.across(source, target), scene.hand.radii.tolist(), scene.frames.depth[b, v].numpy(),
            scene.frames.state[b, v].numpy(), 240.0, clamp_mm=options.get("clamp_mm"),
            plane=((0,), 1) if "forearm" in options else None, margin_mm=options.get("margin_mm", 0.0),
            far_mm=options.get("far_mm"),
        )  # fmt: skip
        assert float(value.values[p]) == pytest.approx(expected, abs=1e-9)


def test_a_map_whose_points_all_lie_too_deep_does_not_count():
    scene = Scene([[1]], seed=2)
    value = data_to_model(far_mm=-200.0, **KEEP)(scene.fit())
    assert value.weights.tolist() == value.values.tolist() == [0.0]


@pytest.mark.parametrize("unknown", ["background", "ignore"])
def test_m2d_leaves_the_forearms_pixels_out_of_the_mean(unknown):
    scene = Scene(MIXED, seed=3)
    fit = scene.fit()
    value = model_to_data(background="far", unknown=unknown)(fit)
    beyond = fit.forearm(True, *fit.surface_points(None)).view(-1, 20, 20)
    assert bool(beyond.any())
    rendered = fit.rendered(True).depth
    for p, target in enumerate(fit.views.target.tolist()):
        kept = ~beyond[p]
        if unknown == "ignore":
            kept = kept & (fit.states[target] != State.UNKNOWN)
        expected = (rendered[p] - fit.depth_maps[target]).abs()[kept].mean()
        torch.testing.assert_close(value.values[p], expected)


def test_a_budget_estimates_the_mean_over_all_points():
    scene = Scene([[1, 1]], seed=4, size=64)
    whole = data_to_model(budget=None)(scene.fit()).values
    part = data_to_model(budget=200)(scene.fit()).values
    assert not torch.equal(whole, part)
    torch.testing.assert_close(part, whole, rtol=0.05, atol=0)


def test_own_views_are_the_first_pairs():
    scene = Scene(MIXED, seed=5)
    for cross, own in zip(both(), both(cross_view=False), strict=True):
        value = own(scene.fit())
        assert len(value.values) == 6
        torch.testing.assert_close(value.values, cross(scene.fit()).values[:6], atol=1e-12, rtol=0)


# ------------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("options", [{"background": "far"}, {"background": "far", "loss": "squared"}])
def test_m2d_gradcheck(options):
    # No gradcheck of `silhouette`: its gradient moves the surface under a pixel, which no finite difference of the
    # value sees; the next test says what it is.
    scene = Scene([[1, 1]], seed=6, size=8, radii_mm=(30.0, 26.0))
    term = model_to_data(**options)
    points = scene.points.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: term(scene.fit(p)).values, points, eps=1e-7, atol=1e-5)


def test_d2m_gradcheck():
    scene = Scene([[1, 1]], seed=7, size=8, radii_mm=(30.0, 26.0))
    term = data_to_model()
    points = scene.points.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: term(scene.fit(p)).values, points, eps=1e-7, atol=1e-5)


def test_silhouettes_gradient_slides_towards_the_nearest_surface():
    scene = Scene([[1]], seed=8, size=16, holes=False)
    points = scene.truth + torch.tensor([60.0, -25.0, 0.0], dtype=torch.float64)
    points.requires_grad_()
    fit = scene.fit(points)
    value = model_to_data(clamp_mm=None, **KEEP)(fit)
    rendered = fit.rendered(True)
    over = rendered.hit[0] & ~fit.hit[0]
    assert int(over.sum()) > 10
    expected = torch.zeros_like(points)
    for v, u in torch.nonzero(over).tolist():
        uu, vv = reference.nearest_surface_pixel(fit.hit[0].numpy(), u, v)
        slide = np.array([u - uu, v - vv]) / np.hypot(u - uu, v - vv) / 16**2
        expected[0, rendered.primitive[0, v, u], :2] += torch.from_numpy(slide)
    # The other pixels' gradient is that of Eq. 5 with the sphere's cover of the background cut out.
    depth = torch.where(over, 0.0, (rendered.depth[0] - fit.depth_maps[0]).abs()).mean()
    (rest,) = torch.autograd.grad(depth, points, retain_graph=True)
    (found,) = torch.autograd.grad(value.values[0], points)
    torch.testing.assert_close(found, expected + rest, atol=1e-12, rtol=0)
    # No push in depth from over the background.
    assert float(expected[..., 2].abs().sum()) == 0


@pytest.mark.parametrize("term", both(), ids=["m2d", "d2m"])
def test_a_map_without_a_surface_adds_nothing(term):
    scene = Scene([[1, 1]], seed=9)
    state, depth = scene.frames.state.clone(), scene.frames.depth.clone()
    state[0, 1], depth[0, 1] = State.EMPTY, scene.grid.far_mm
    frames = dataclasses.replace(scene.frames, state=state, depth=depth)
    points = scene.points.clone().requires_grad_()
    value = term(Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=Estimate(points)))
    assert value.weights.tolist() == [1, 0, 0, 1]  # pairs (0, 0), (1, 1), (0, 1), (1, 0) of (source, target)
    assert bool(value.values.isfinite().all())
    value.values.sum().backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


# ----------------------------------------------------------------------------------------------------------- properties


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_the_rigs_frame_does_not_matter(seed):
    scene = Scene([[1, 1, 0], [1, 1, 1]], seed=seed)
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(rigid(random_rotation(rng), rng.uniform(-500, 500, 3)))
    moved = dataclasses.replace(scene.frames, to_rig=turn @ scene.frames.to_rig)
    for term in both():
        elsewhere = Fit(
            hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=moved, real=Estimate(scene.points)
        )
        # A pixel on a rim may change sides with the last bit: none of a few hundred values may notice more than that.
        torch.testing.assert_close(term(elsewhere).values, term(scene.fit()).values, atol=1e-7, rtol=0)


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_absent_views_cost_nothing(seed):
    """A batch of mixed frames says of each frame what the frame says alone."""
    present = np.random.default_rng(seed).random((3, 3)) < 0.6
    present[:, seed % 3] = True
    scene = Scene(present, seed=seed)
    rows = scene.pairs()[0]
    for term in both():
        mixed = term(scene.fit())
        for b in range(3):
            views = np.flatnonzero(present[b])
            depth, state, to_rig = (
                getattr(scene.frames, name)[b : b + 1, torch.from_numpy(views)].numpy()
                for name in ("depth", "state", "to_rig")
            )
            frames = frames_of(depth, state, np.ones((1, len(views)), bool), to_rig, 240.0)
            points = scene.points[[n for n, (frame, _) in enumerate(rows) if frame == b]]
            alone = term(
                Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=Estimate(points))
            )
            torch.testing.assert_close(mixed.values[mixed.frame == b], alone.values, atol=1e-12, rtol=0)


def test_frames_can_come_in_any_order():
    scene = Scene([[1, 1], [1, 1], [1, 1]], seed=10)
    order = [2, 0, 1]
    frames = frames_of(
        *(getattr(scene.frames, name)[order].numpy() for name in ("depth", "state", "present", "to_rig")), 240.0
    )
    points = scene.points.view(3, 2, 4, 3)[order].flatten(0, 1)
    for term in both():
        plain = term(scene.fit())
        permuted = term(
            Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=Estimate(points))
        )
        for new, old in enumerate(order):
            torch.testing.assert_close(
                permuted.values[permuted.frame == new], plain.values[plain.frame == old], atol=1e-12, rtol=0
            )


def test_a_sphere_seen_by_two_cameras_is_no_residual():
    """The true estimate of either view explains both maps: the render exactly, the points up to a root's rounding."""
    scene = Scene([[1, 1]], seed=11, size=48, holes=False, radii_mm=(25.0,))
    fit = scene.fit(scene.truth)
    rendered = model_to_data(background="far", **KEEP)(fit)
    assert len(rendered.values) == 4
    assert float(rendered.values.max()) < 1e-6
    # The rim's floor moves a rim's pixels by less than a millimetre, and few of them.
    measured = data_to_model(budget=None, **KEEP)(fit)
    assert float(measured.values.max()) < 0.02
    apart = data_to_model(budget=None, **KEEP)(scene.fit(scene.truth + 5.0))
    assert float(apart.values.min()) > 1


def test_values_grow_with_the_error():
    scene = Scene([[1, 1]], seed=12, size=48, holes=False)
    for term in both(**KEEP):
        values = [
            float(total(term, scene.fit(scene.truth + torch.tensor([0, 0, off], dtype=torch.float64))))
            for off in (0.0, 2.0, 4.0, 8.0)
        ]
        assert all(one < other for one, other in pairwise(values))


# ----------------------------------------------------------------------------------------------------------- everywhere


@pytest.mark.parametrize("term", [*both(), *both(**KEEP), model_to_data(unknown="ignore")])
def test_terms_run_forward_and_backward_on_meta(term):
    scene = Scene(MIXED, seed=13)
    points = scene.points.to("meta").requires_grad_()
    fit = Fit(
        hand=scene.hand,
        renderer=scene.renderer.to("meta"),
        grid=scene.grid,
        frames=scene.frames.to("meta"),
        real=Estimate(points),
    )
    total(term, fit).backward()
    assert points.grad is not None
    assert points.grad.shape == points.shape


@pytest.mark.parametrize("term", both(), ids=["m2d", "d2m"])
def test_terms_compute_in_float32_under_autocast(term):
    scene = Scene(MIXED, seed=14)
    frames = dataclasses.replace(scene.frames, depth=scene.frames.depth.float(), to_rig=scene.frames.to_rig.float())

    def value():
        estimate = Estimate(scene.points.float())
        return term(Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=estimate))

    plain = value().values
    with torch.autocast("cpu", torch.bfloat16):
        cast = value().values
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, atol=0, rtol=0)
    torch.testing.assert_close(plain.double(), term(scene.fit()).values, atol=1e-3, rtol=1e-4)


def test_the_graph_has_no_breaks():
    """What torch.compile would take in one piece: no value reaches the host, no shape depends on one."""
    scene, terms = Scene([[1, 1, 1], [1, 0, 1]], seed=15), both()

    def values(points):
        fit = scene.fit(points)
        return [term(fit).values for term in terms]

    for found, expected in zip(
        torch.compile(values, backend="eager", fullgraph=True)(scene.points), values(scene.points), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_units_say_what_the_values_are():
    assert [t.unit for t in both()] == ["mm", "mm"]
    assert model_to_data(loss="squared").unit == "mm^2"
