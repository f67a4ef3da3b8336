"""Whole runs: what they leave, what a control is, how terms are switched, and what they refuse."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

import hpf_core
from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.engine.train import StageTrainer
from hpf_core.errors import DataError, RunError
from hpf_core.interfaces import Observer, TermValue
from hpf_plugins.data_terms.m2d import ModelToData as M2D

from .conftest import assert_same_run, rows_of, same_tensors

pytestmark = pytest.mark.usefixtures("_no_figures")


def test_a_run_leaves_everything(whole):
    out, summary = whole
    assert json.loads((out / "summary.json").read_text()) == summary
    assert [s["name"] for s in summary["stages"]] == ["pretrain", "fit", "control"]
    assert [e["after"] for e in summary["evaluation"]] == ["pretrain", "fit", "control"]
    for result in summary["evaluation"]:
        assert result["simulated"] is True
        assert result["frames"] == 4
        assert result["joints"] == 14
        assert math.isfinite(result["mean_error_mm"])
        assert result["centre"] == "annotated"
        assert set(result["subjects"]) == {"training subject", "new subject"}
    for name in ("success", "joints", "before_after", "fit", "training"):
        assert (out / "figures" / f"{name}.png").stat().st_size > 5000
    assert not list((out / "checkpoints").iterdir()), "checkpoints of finished stages are cleared"
    about = json.loads((out / "run.json").read_text())
    m2d = about["plugins"]["data_term:m2d"]
    assert (m2d["package"], m2d["version"]) == ("hpf", hpf_core.__version__)
    assert m2d["source"].startswith("Wan et al.")
    assert about["versions"]["torch"] == torch.__version__
    # The weights are the fitted stage's, not the control's, and not the best by any label.
    assert same_tensors(out / "weights.safetensors", out / "stages" / "fit.safetensors")


def test_the_loss_is_the_weighted_sum_that_is_logged(whole):
    out, _ = whole
    for row in rows_of(out):
        assert row["loss"] == pytest.approx(sum(row["weighted"].values()), rel=1e-5)
        assert all(math.isfinite(v) for v in row["raw"].values())
    fit = [r for r in rows_of(out) if r["stage"] == "fit"]
    assert set(fit[0]["raw"]) == {"supervised", "m2d", "d2m", "multiview", "vae", "bone_length", "collision"}
    assert fit[0]["gradient"]["m2d"] > 0
    assert fit[0]["gradient"]["supervised"] is None  # acts on maps, not through the points
    assert 0 < fit[0]["peak"] < 2


def test_the_resolved_recipe_gives_the_same_run_again(whole, tmp_path, host, cache):
    out, _ = whole
    again = tmp_path / "again"
    Run(recipes.load(out / "recipe.yaml", host=host), again, cache=cache).execute()
    assert_same_run(out, again)


def test_without_a_term(load, tmp_path, cache):
    vae = {p: p.stat().st_mtime for p in cache.rglob("*.safetensors")}
    run = Run(load(without_terms=["vae"], stages=["fit"]), tmp_path / "run", cache=cache)
    summary = run.execute()
    assert any("vae" in change for change in summary["changes"])
    assert all("vae" not in row["raw"] for row in rows_of(tmp_path / "run"))
    assert {p: p.stat().st_mtime for p in cache.rglob("*.safetensors")} == vae


def test_what_only_a_term_needs_is_skipped_with_it(load, tmp_path, monkeypatch):
    from hpf_plugins.priors.vae import VAE

    prepared = []
    monkeypatch.setattr(VAE, "prepare", lambda self, progress=None: prepared.append(self))
    Run(load(without_terms=["vae"], stages=["fit"]), tmp_path / "without").execute()
    assert not prepared
    with pytest.raises(RunError, match="isn't trained yet"):  # what the spy took away
        Run(load(stages=["fit"]), tmp_path / "with").execute()
    assert len(prepared) == 1


def test_weight_zero_is_switched_off(load, tmp_path):
    Run(load(sets=["terms.vae.weight=0"]), tmp_path / "zero").execute()
    Run(load(without_terms=["vae"]), tmp_path / "without").execute()
    assert same_tensors(tmp_path / "zero" / "weights.safetensors", tmp_path / "without" / "weights.safetensors")


def test_a_control_sees_the_same_start_and_the_same_synthetic_draw(load, monkeypatch, tmp_path):
    seen = {}
    step = StageTrainer.step

    def spying(self, number, measure_gradients=False):
        if number == 0:
            seen[self.plan.name, "start"] = [p.detach().clone() for p in self.parts.backbone.parameters()]
        seen[self.plan.name, number] = self.batch(number).synthetic.depth
        return step(self, number, measure_gradients)

    monkeypatch.setattr(StageTrainer, "step", spying)
    Run(load(), tmp_path / "run").execute()
    for one, other in zip(seen["fit", "start"], seen["control", "start"], strict=True):
        assert torch.equal(one, other)
    for number in range(8):
        assert torch.equal(seen["fit", number], seen["control", number])
    assert not torch.equal(seen["fit", 0], seen["fit", 1])


def test_init_starts_from_weights_and_is_measured(whole, load, tmp_path):
    weights = whole[0] / "weights.safetensors"
    summary = Run(load(sets=[f"init={weights}"], stages=["fit"]), tmp_path / "run").execute()
    assert [e["after"] for e in summary["evaluation"]] == ["init", "fit"]
    assert summary["evaluation"][0]["mean_error_mm"] == whole[1]["evaluation"][1]["mean_error_mm"]
    with pytest.raises(DataError, match="another network"):
        Run(load(sets=[f"init={weights}", "backbone.width=16"], stages=["fit"]), tmp_path / "other").execute()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(load, tmp_path, monkeypatch):
    forward, calls = M2D.forward, 0

    def poisoned(self, fit):
        nonlocal calls
        calls += 1
        value = forward(self, fit)
        return TermValue(value.values * (torch.inf if calls == 5 else 1.0), value.weights, value.frame)

    monkeypatch.setattr(M2D, "forward", poisoned)
    with pytest.raises(RunError, match="the loss of m2d isn't finite at step 5 of stage 'fit'"):
        Run(load(), tmp_path / "run").execute()
    kept = sorted((tmp_path / "run" / "checkpoints" / "fit").iterdir())
    assert [p.name for p in kept] == ["00000003.safetensors"]
    assert all(torch.isfinite(t).all() for t in load_file(kept[0]).values() if t.is_floating_point())


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_a_checkpoint(load, tmp_path, monkeypatch):
    """A finite loss with an infinite slope, at a step whose weights would be saved."""
    forward, calls = M2D.forward, 0

    def poisoned(self, fit):
        nonlocal calls
        calls += 1
        value = forward(self, fit)
        steep = (fit.real.points.sum() * 0).sqrt()
        return TermValue(value.values + (steep if calls == 6 else 0), value.weights, value.frame)

    monkeypatch.setattr(M2D, "forward", poisoned)
    with pytest.raises(RunError, match="the loss's gradient isn't finite at step 6 of stage 'fit'"):
        Run(load(), tmp_path / "run").execute()
    kept = sorted((tmp_path / "run" / "checkpoints" / "fit").iterdir())
    assert [p.name for p in kept] == ["00000003.safetensors"]


def test_observers_watch_and_never_steer(whole, load, tmp_path):
    told = []

    class Curious(Observer):
        def step_done(self, stage, step, metrics):
            told.append((stage, step))

        def evaluated(self, stage, result):
            result["mean_error_mm"] = 0.0  # what it is told is its own copy

        def run_ended(self, folder, summary):
            told.append("end")
            summary.clear()

    class Broken(Observer):
        def stage_started(self, stage, steps, done):
            raise ValueError("I break")

    with pytest.warns(UserWarning, match="Broken is disabled.*I break"):
        summary = Run(load(), tmp_path / "run", observers=[Broken(), Curious()]).execute()
    assert summary["evaluation"] == whole[1]["evaluation"]
    assert told[0] == ("pretrain", 1)
    assert told[-1] == "end"
    assert same_tensors(whole[0] / "weights.safetensors", tmp_path / "run" / "weights.safetensors")


def test_a_dry_run_names_the_largest_step_that_fits(load, monkeypatch):
    """It grows with the memory, and not with the recipe's own batch."""
    from hpf_core.engine import dry_run

    def largest(memory, *sets):
        monkeypatch.setattr(dry_run, "device_memory", lambda device: memory)
        return {row.stage: row.largest_batch for row in dry_run.estimate(load(sets=list(sets)))}

    one, double = largest(1_000_000_000), largest(2_000_000_000)
    assert set(one) == {"pretrain", "fit", "control"}
    for stage, images in one.items():
        assert 1.9 * images < double[stage] < 2.2 * images
    wider = largest(1_000_000_000, "stages.fit.draw.real=8", "stages.fit.draw.synthetic=12")
    assert wider["fit"] == pytest.approx(one["fit"], rel=0.2)
    assert largest(None) == dict.fromkeys(one)
