"""`hpf view RUN`: the frames of a run's evaluation, with labels and errors, also where the dataset is gone."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.inference.run_view import view_run
from hpf_core.runs.predictions import read_run

runner = CliRunner()


def data_of(path):
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', path.read_text(), re.S)
    return json.loads(found.replace("<\\/", "</"))


def test_a_runs_evaluation_in_all_views(whole, tmp_path):
    run, summary = whole
    out = tmp_path / "run.html"
    result = runner.invoke(app, ["view", str(run), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    document, data = json.loads(result.stdout), data_of(out)
    assert (document["frames"], document["evaluated_frames"], document["stage"]) == (4, 4, "fit")
    evaluation = next(entry for entry in summary["evaluation"] if entry["after"] == "fit")
    errors = np.array([frame["joint_errors"] for frame in data["frames"]])
    assert errors.mean() == pytest.approx(evaluation["mean_error_mm"], abs=0.01)
    assert data["joints"] == list(evaluation["per_joint_mm"])
    assert document["largest_error_mm"] == pytest.approx(errors.mean(axis=1).max(), abs=0.01)
    found = read_run(run)
    _, matrix = view_run(run, "fit").hand.annotations["nyu14"]
    for number, frame in enumerate(data["frames"]):
        assert len(frame["views"]) == 3
        # Distances don't depend on the frame of reference: the truth and the points are in the same one.
        apart = np.linalg.norm(matrix @ np.array(frame["hands"][0]["points"]) - frame["truth"], axis=1)
        assert np.allclose(apart, np.linalg.norm(found.joints[number] - found.truth[number], axis=1), atol=0.3)
        for view in frame["views"]:
            assert view["size"] == [32, 32]
            assert on_the_surface(view) > 0.7


def on_the_surface(view):
    """The share of labels whose pixel in a view's crop, or one beside it, has a surface."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(view["image"])))) > 0
    near = np.array(
        [image[max(0, v - 1) : v + 2, max(0, u - 1) : u + 2].any() for u, v in np.rint(view["truth"]).astype(int)]
    )
    return near.mean()


def test_an_earlier_stage_and_every_other_frame(whole, tmp_path):
    run, _ = whole
    result = runner.invoke(
        app, ["view", str(run), "--after", "pretrain", "--every", "2", "-o", str(tmp_path / "a.html")]
    )
    assert result.exit_code == 0, result.output
    data = data_of(tmp_path / "a.html")
    assert [frame["name"] for frame in data["frames"]] == ["frame 1", "frame 3"]
    assert np.allclose(data["frames"][1]["joint_errors"], errors_of(run, "pretrain")[2], atol=0.01)


def errors_of(run, stage):
    found = read_run(run, stage)
    return np.linalg.norm(found.joints - found.truth, axis=-1)


def test_without_the_dataset_the_kept_frames_are_shown(whole, tmp_path):
    run, _ = whole
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    recipe = (copy / "recipe.yaml").read_text()
    # The run's capture is one that isn't on this machine.
    gone = re.sub(r"use: simulated\n(    .*\n)+", f"use: nyu\n    root: {tmp_path / 'none'}\n", recipe, count=1)
    (copy / "recipe.yaml").write_text(gone)
    result = runner.invoke(app, ["view", str(copy), "--out", str(tmp_path / "kept.html")])
    assert result.exit_code == 0, result.output
    assert "the 4 frames that the run keeps" in " ".join(result.output.split())
    frames = data_of(tmp_path / "kept.html")["frames"]
    assert sorted(frame["name"] for frame in frames) == [f"frame {k}" for k in range(1, 5)]
    for frame in frames:
        number = int(frame["name"].split()[1]) - 1
        assert np.allclose(frame["joint_errors"], errors_of(run, "fit")[number], atol=0.01)
    shutil.rmtree(copy / "frames")
    result = runner.invoke(app, ["view", str(copy), "--out", str(tmp_path / "no.html")])
    assert result.exit_code == 2
    assert not (tmp_path / "no.html").exists()


def test_wrong_runs_are_named(whole, tmp_path):
    run, _ = whole
    for args, message in (
        ([str(run), "--after", "fitt"], "Did you mean 'fit'"),
        ([str(tmp_path), "--after", "fit"], "isn't the folder of a run"),
    ):
        result = runner.invoke(app, ["view", *args, "--out", str(tmp_path / "x.html")])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "recipe.yaml", unfinished)
    result = runner.invoke(app, ["view", str(unfinished), "--out", str(tmp_path / "x.html")])
    assert result.exit_code == 2
    assert not (tmp_path / "x.html").exists()
