"""`centre: refined` in whole runs: what it writes, what it says, that it resumes, and that no label is in it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.engine.train import StageTrainer
from hpf_core.inference import centring
from hpf_core.inference.centring import refine

from .conftest import TINY, assert_same_run, rows_of, same_tensors

REFINED = TINY.replace("{use: simulated, ", "{use: simulated, centre: refined, ")


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, host):
    path = tmp_path_factory.mktemp("refined") / "refined.yaml"
    path.write_text(REFINED)

    def loaded(**changes):
        return recipes.load(path, host=host, **changes)

    return loaded


@pytest.fixture(scope="module")
def refined(tmp_path_factory, recipe, cache):
    """One uninterrupted run, and what it said."""
    out = tmp_path_factory.mktemp("refined") / "run"
    said = []
    summary = Run(recipe(), out, cache=cache, progress=lambda done, total, what: said.append((done, total, what)))
    return out, summary.execute(), said


def test_every_result_says_refined(refined):
    _, summary, _ = refined
    assert [e["centre"] for e in summary["evaluation"]] == ["refined"] * 3


def test_centres_are_kept_with_the_weights_that_found_them(refined):
    out, _, said = refined
    # `fit` alone draws real frames: pretraining and the control find no centres for training.
    assert [path.name for path in (out / "centres").iterdir()] == ["fit.safetensors"]
    centres = load_file(out / "centres" / "fit.safetensors")["centres"]
    assert centres.shape == (6, 3)
    assert centres.dtype == torch.float64
    assert torch.isfinite(centres).all()
    assert (centres[:, 2] > 500).all(), "in the rig's frame"
    assert {what for _, _, what in said if "centres" in what} >= {
        "refining centres on train, round 1",
        "refining centres on test, round 1",
    }
    assert {(done, total) for done, total, what in said if "centres on train" in what} == {(6, 6)}


def test_predictions_are_kept_with_where_they_are(refined):
    """The rig's frame is the first camera's, so the kept maps take points where the kept joints are."""
    out, _, _ = refined
    for stage in ("pretrain", "fit", "control"):
        kept = load_file(out / "evaluation" / f"{stage}.safetensors")
        assert kept["centres"].shape == (4, 3)
        palm = 32  # PALM_3, the last of the 14 joints
        in_rig = torch.einsum("fij,fj->fi", kept["to_rig"][:, :3, :3], kept["points"][:, palm])
        torch.testing.assert_close(
            (in_rig + kept["to_rig"][:, :3, 3]).double(), kept["joints"][:, -1], atol=1e-2, rtol=0
        )
    assert (out / "figures" / "fit.png").is_file()


def test_refining_moves_crops_and_the_steps_see_them(refined, recipe, cache):
    from hpf_core.inference.build import build_parts
    from hpf_core.runs import checkpoint as files

    out, _, _ = refined
    parts = build_parts(recipe(), cache)
    parts.prepare_data()
    start = parts.real.frames("train", np.arange(6))
    weights = files.read(out / "stages" / "pretrain.safetensors")
    files.load_model(parts.backbone, weights, out)
    path = out / "centres" / "fit.safetensors"
    assert centring.put_back(parts, "train", path)
    moved = parts.real.frames("train", np.arange(6))
    found = refine(parts, "train", torch.device("cpu"))
    assert np.array_equal(found.places, load_file(path)["centres"].numpy()), "a function of frames and weights alone"
    assert torch.equal(parts.real.frames("train", np.arange(6)).depth, moved.depth)
    assert not torch.equal(start.depth, moved.depth)
    # Other weights don't take them over.
    with torch.no_grad():
        next(parts.backbone.parameters()).add_(1e-3)
    assert not centring.put_back(parts, "train", path)
    assert not centring.put_back(parts, "test", path)


@pytest.fixture
def killed(recipe, tmp_path, monkeypatch):
    """The folder of a run that died before step 6 of `fit`."""
    step, made = StageTrainer.step, []

    def mortal(self, *args, **kwargs):
        if len(made) == 11:
            raise Killed
        made.append(1)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "step", mortal)
        with pytest.raises(Killed):
            Run(recipe(), tmp_path / "run").execute()
    return tmp_path / "run"


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("damage", ["none", "half", "other"])
def test_a_run_that_was_killed_goes_on_with_its_centres(refined, recipe, killed, monkeypatch, damage):
    """They are read back, or found anew with the weights that the stage began with, not with the checkpoint's."""
    path = killed / "centres" / "fit.safetensors"
    assert path.is_file()
    content = path.read_bytes()
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        path.write_bytes(content.replace(b"weights", b"Weights"))
    asked = []
    original = centring.refine

    def counted(parts, split, *args, **kwargs):
        asked.append(split)
        return original(parts, split, *args, **kwargs)

    monkeypatch.setattr(centring, "refine", counted)
    Run(recipe(), killed, resume=True).execute()
    assert ("train" in asked) == (damage != "none")
    assert_same_run(refined[0], killed)
    assert same_tensors(refined[0] / "centres" / "fit.safetensors", path)
    assert [r["step"] for r in rows_of(killed) if r["stage"] == "fit"] == list(range(1, 9))


@pytest.mark.usefixtures("_no_figures")
def test_with_annotated_centres_nothing_is_predicted_for_them(whole, load, tmp_path, monkeypatch):
    monkeypatch.setattr(centring, "refine", lambda *_, **__: pytest.fail("asked for"))
    Run(load(), tmp_path / "run").execute()
    assert not (tmp_path / "run" / "centres").exists()
    assert_same_run(whole[0], tmp_path / "run")


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("centre", ["mass", "annotated"])
def test_every_result_states_its_centre(load, tmp_path, centre):
    summary = Run(load(sets=[f"data.real.centre={centre}"], stages=["pretrain"]), tmp_path / "run").execute()
    assert summary["evaluation"][0]["centre"] == centre
    assert json.loads((tmp_path / "run" / "evaluation" / "pretrain.json").read_text())["centre"] == centre
