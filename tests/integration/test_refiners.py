"""Refiners in a run: prepared before it, and judged before and after."""

import numpy as np
import pytest

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run

from .conftest import TINY

REFINED = TINY.replace(
    "evaluate: {data: real, split: test}",
    "evaluate: {data: DATA, limit: 4, refiners: [{use: palm_denoiser, steps: 5, batch: 16, width: 16}, "
    "{use: inverse_kinematics, samples: 64, iterations: 2}]}",
).replace("steps: 6", "steps: 2")


@pytest.fixture(autouse=True)
def _nothing_to_look_at(monkeypatch):
    monkeypatch.setattr("hpf_core.engine.run.run_figures", lambda *_: None)
    monkeypatch.setattr("hpf_core.report.execute.write_report", lambda *_: None)


@pytest.mark.parametrize("data", ["real", "synthetic"])
def test_a_run_reports_the_error_before_and_after_each(tmp_path, host, cache, data):
    path = tmp_path / "refined.yaml"
    path.write_text(REFINED.replace("DATA", data))
    resolved = recipes.load(path, host=host, stages=["pretrain"])
    (document,) = Run(resolved, tmp_path / "run", cache=cache).execute()["evaluation"]
    before, denoised, last = document["refiners"]
    assert [each["name"] for each in document["refiners"]] == ["network", "palm_denoiser", "inverse_kinematics"]
    # What is reported of the run is what comes out at the end.
    for name in ("mean_error_mm", "median_error_mm", "success", "per_joint_mm", "fingertip_error_mm", "auc"):
        assert last[name] == document[name]
    tips = [name for name in before["per_joint_mm"] if name.endswith("KNU3_A")]
    assert [before["per_joint_mm"][tip] for tip in tips] == [denoised["per_joint_mm"][tip] for tip in tips]
    assert before["mean_error_mm"] != denoised["mean_error_mm"] != last["mean_error_mm"]
    assert before["moved_mm"] == 0 < min(denoised["moved_mm"], last["moved_mm"])


def test_the_same_run_without_refiners_is_the_first_entry(tmp_path, host, cache):
    path = tmp_path / "refined.yaml"
    path.write_text(REFINED.replace("DATA", "real"))
    found = []
    for sets in ([], ["evaluate.refiners=[]"]):
        resolved = recipes.load(path, host=host, stages=["pretrain"], sets=sets)
        found += Run(resolved, tmp_path / f"run{len(sets)}", cache=cache).execute()["evaluation"]
    assert "refiners" not in found[1]
    assert found[0]["refiners"][0]["mean_error_mm"] == found[1]["mean_error_mm"]
    np.testing.assert_allclose(
        list(found[0]["refiners"][0]["per_joint_mm"].values()), list(found[1]["per_joint_mm"].values())
    )
