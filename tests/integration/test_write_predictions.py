"""What a run predicted, written for others and scored by anyone's rules: the run's own figures come back."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.evaluation.labels import write_uvd
from hpf_core.evaluation.protocols import NYU


@pytest.mark.parametrize(("after", "stage"), [(None, "fit"), ("pretrain", "pretrain"), ("control", "control")])
def test_the_error_of_the_file_is_that_of_the_summary(whole, tmp_path, after, stage):
    run, summary = whole
    (wanted,) = [each for each in summary["evaluation"] if each["after"] == stage]
    truth = load_file(run / "evaluation" / f"{stage}.safetensors")["truth"]
    write_uvd(tmp_path / "labels.txt", NYU.to_uvd(truth.astype(np.float64)), NYU)
    path = tmp_path / "ours.txt"
    words = ["eval", str(run), "--write", str(path), *(["--after", after] if after else [])]
    assert CliRunner().invoke(app, words).exit_code == 0
    for given in (path, run):  # the file, and the run itself by the same labels
        words = ["eval", str(given), "--labels", str(tmp_path / "labels.txt"), "--json"]
        words += ["--after", after] if after and given is run else []
        (found,) = json.loads(CliRunner().invoke(app, words).stdout)["evaluation"]
        assert found["mean_error_mm"] == pytest.approx(wanted["mean_error_mm"], abs=2e-3)
        assert found["per_joint_mm"] == pytest.approx(wanted["per_joint_mm"], abs=5e-3)
