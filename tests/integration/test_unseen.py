"""Synthetic samples that no stage trains on, and weights that packages ship."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.errors import InputError, RecipeError
from hpf_core.frames import Estimate
from hpf_core.inference import unseen
from hpf_core.inference.build import build_parts, load_init, shipped_weights
from hpf_core.interfaces import Backbone

from .conftest import TINY, rows_of

SYNTHETIC = """
name: initial
backbone: {use: hourglass, width: 8, stem: 8, depth: 1, growth: 8}
grid: {size: 32}
data: {synthetic: {use: synthetic}}
stages: {pretrain: {draw: {synthetic: 4}, steps: 4, terms: [supervised]}}
evaluate: {data: synthetic, limit: 70}
log: {every: 100, unseen_every: 2, checkpoint_every: 3, pictures_every: 100}
"""


@pytest.fixture(scope="module")
def initial(tmp_path_factory, host, cache):
    """A recipe of synthetic samples alone, its run's folder and summary."""
    folder = tmp_path_factory.mktemp("initial")
    (folder / "initial.yaml").write_text(SYNTHETIC)
    resolved = recipes.load(folder / "initial.yaml", host=host)
    return resolved, folder / "run", Run(resolved, folder / "run", cache=cache).execute()


class Oracle(Backbone):
    """Says `offset` from the truth that it is told in turn."""

    def __init__(self, batches, offset):
        super().__init__()
        self._left, self._offset = iter(batches), torch.tensor(offset)

    def forward(self, depth):
        truth = next(self._left)
        torch.testing.assert_close(depth, truth.depth, rtol=0, atol=0)
        return [Estimate(truth.points + self._offset)]

    def labels(self, points):
        return Estimate(points)


def test_the_error_is_that_of_the_scored_joints(initial, tmp_path):
    parts = build_parts(initial[0], tmp_path)
    device = torch.device("cpu")
    oracle = replace(parts, backbone=Oracle(unseen.samples(parts, device, 70), [3.0, 0.0, -4.0]))
    found = unseen.evaluate(oracle, device, 70)
    assert found.measured.frames == 70
    assert found.measured.joint_names == tuple(parts.hand.annotations["nyu14"][0])
    np.testing.assert_allclose(found.measured.frame_max, 5.0, atol=1e-4)
    assert found.measured.fingertip == pytest.approx(5.0, abs=1e-4)
    assert found.points.shape == (70, len(parts.hand.names), 3)


def test_they_are_the_same_for_every_seed_and_count_and_none_is_trained_on(initial, host, tmp_path):
    device = torch.device("cpu")
    parts = build_parts(initial[0], tmp_path)
    few = torch.cat([s.depth for s in unseen.samples(parts, device, 65)])
    more = torch.cat([s.depth for s in unseen.samples(parts, device, 130)])
    assert len(few) == 65
    assert torch.equal(few, more[:65])
    path = tmp_path / "seed.yaml"
    path.write_text(SYNTHETIC + "seed: 5\n")
    other = build_parts(recipes.load(path, host=host), tmp_path)
    assert torch.equal(more, torch.cat([s.depth for s in unseen.samples(other, device, 130)]))


def test_a_run_is_measured_on_them(initial):
    _, folder, summary = initial
    (measured,) = summary["evaluation"]
    assert {measured[k] for k in ("data", "split", "centre")} == {"synthetic", "unseen", "jittered"}
    assert measured["frames"] == 70
    rows = rows_of(folder)
    assert [(r["step"], r["images"]) for r in rows if "unseen_mm" in r] == [(2, 8), (4, 16)]
    figures = {p.stem for p in (folder / "figures").glob("*.png")}
    assert figures == {"fit", "joints", "success", "terms", "training"}


def test_looking_changes_nothing(initial, host, tmp_path):
    path = tmp_path / "initial.yaml"
    path.write_text(SYNTHETIC.replace("unseen_every: 2, ", ""))
    Run(recipes.load(path, host=host), tmp_path / "run").execute()
    assert (tmp_path / "run/weights.safetensors").read_bytes() == (initial[1] / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("change", ["evaluate={data: synthetic}", "log.unseen_every=5"])
def test_nothing_synthetic_to_measure_on(tmp_path, host, change):
    path = tmp_path / "real.yaml"
    path.write_text(
        "data: {real: simulated}\nstages: {fit: {draw: {real: 1}, steps: 1, terms: [m2d]}}\nlog: {every: 1}\n"
    )
    with pytest.raises(RecipeError, match=r"no data\.synthetic to measure on"):
        recipes.load(path, host=host, sets=[change])


# ---------------------------------------------------------------------------------------------------- shipped weights


def shipping(resolved, *paths):
    """The same recipe with a backbone whose package ships these weights."""
    spec = replace(resolved.backbone.spec, weights=paths)
    return replace(resolved, backbone=replace(resolved.backbone, spec=spec))


def test_shipped_weights_are_those_of_the_same_network(initial, host, tmp_path):
    resolved, folder, _ = initial
    (tmp_path / "tiny.yaml").write_text(TINY.replace("depth: 1}", "depth: 1, growth: 8}") + "init: shipped\n")
    mine = shipping(recipes.load(tmp_path / "tiny.yaml", host=host), folder / "weights.safetensors")
    assert shipped_weights(mine) == folder / "weights.safetensors"
    parts = build_parts(mine, tmp_path)
    load_init(mine, parts)
    trained = build_parts(resolved, tmp_path)
    before = {k: v.clone() for k, v in trained.backbone.state_dict().items()}
    after = parts.backbone.state_dict()
    assert after.keys() == before.keys()
    assert not all(torch.equal(after[k], before[k]) for k in after)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("backbone.growth=0", r"trained with backbone\.growth 8 \(the recipe: 0\)"),
        ("backbone.alpha=20", r"trained with backbone\.alpha 10\.0 \(the recipe: 20\.0\)"),
        ("grid.cube_mm=250", r"trained with grid\.cube_mm 300\.0 \(the recipe: 250"),
    ],
)
def test_other_networks_are_refused_with_the_difference(initial, host, tmp_path, change, said):
    path = tmp_path / "initial.yaml"
    path.write_text(SYNTHETIC)
    resolved = recipes.load(path, host=host, sets=[change, "init=shipped"])
    with pytest.raises(InputError, match=said):
        shipped_weights(shipping(resolved, initial[1] / "weights.safetensors"))


def test_a_backbone_without_shipped_weights(initial):
    with pytest.raises(InputError, match="no weights are shipped for the backbone 'hourglass'"):
        shipped_weights(shipping(initial[0]))
