"""What only a GPU shows. Without one these tests are skipped, and pytest's last lines count them.

HPF_TEST_DEVICE=cpu runs them on the CPU instead: this checks the tests, not a GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.doctor.examine import examine
from hpf_core.engine.run import Run

from .conftest import STAGES, rows_of, same_tensors
from .test_resume import Killed, mortal

DEVICE = os.environ.get("HPF_TEST_DEVICE", "cuda")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("_no_figures"),
]


def on_device(load, *sets, device=DEVICE):
    """The tiny recipe on a device."""
    return load(sets=[f"runtime.device={device}", *sets])


def test_everything_that_doctor_checks_is_right_on_the_device(host):
    """Renderer, distance, each term, a training step and prediction, beside the CPU's float64 reference."""
    cli = ROOT / "hpf_cli"
    fit, predict = (recipes.load(cli / name, host=host) for name in ("doctor_fit.yaml", "bench_predict.yaml"))
    found = examine(fit, predict, [torch.device(DEVICE)], compiled=None)
    for part in ("renderer", "distance", "term m2d", "training step", "prediction"):
        assert any(check.what.startswith(part) and check.status == "right" for check in found), part
    assert not [check for check in found if check.status in ("wrong", "failed")]


def test_a_run_on_the_device_is_near_one_on_the_cpu(load, tmp_path):
    for name, device in (("cpu", "cpu"), ("device", DEVICE)):
        Run(on_device(load, device=device), tmp_path / name).execute()
    for mine, its in zip(rows_of(tmp_path / "device"), rows_of(tmp_path / "cpu"), strict=True):
        # A GPU draws other synthetic samples than a CPU from one seed, so only the size can agree.
        assert mine["loss"] == pytest.approx(its["loss"], rel=0.5), mine["step"]


def test_a_run_on_the_device_resumes(load, tmp_path, monkeypatch):
    from hpf_core.engine.train import StageTrainer

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    Run(on_device(load), whole).execute()
    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "step", mortal(11))
        with pytest.raises(Killed):
            Run(on_device(load), cut).execute()
    Run(on_device(load), cut, resume=True).execute()
    assert [row["step"] for row in rows_of(cut)] == [row["step"] for row in rows_of(whole)]
    if DEVICE == "cpu":
        assert all(
            same_tensors(whole / "stages" / f"{s}.safetensors", cut / "stages" / f"{s}.safetensors") for s in STAGES
        )
    for mine, its in zip(rows_of(cut), rows_of(whole), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], rel=1e-2), mine["step"]


def test_a_run_that_began_on_the_cpu_goes_on_on_the_device(load, tmp_path, monkeypatch):
    from hpf_core.engine.train import StageTrainer

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "step", mortal(11))
        with pytest.raises(Killed):
            Run(on_device(load, device="cpu"), tmp_path / "run").execute()
    Run(on_device(load), tmp_path / "run", resume=True).execute()
    assert [row["stage"] for row in rows_of(tmp_path / "run")][-1] == STAGES[-1]
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_bf16_is_near_float32(load, tmp_path):
    for precision in ("float32", "bf16"):
        Run(on_device(load, f"runtime.precision={precision}"), tmp_path / precision).execute()
    for mine, its in zip(rows_of(tmp_path / "bf16"), rows_of(tmp_path / "float32"), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], rel=0.2), mine["step"]


def test_two_processes_share_one_device(tiny, tmp_path):
    """Each process takes cuda:LOCAL_RANK, so one device for two processes has to be refused by name, not hang."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "hpf_cli.main",
    ]
    command += ["run", str(tiny), "--out", str(tmp_path / "run"), "--device", DEVICE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    if DEVICE == "cpu" or torch.cuda.device_count() > 1:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert "GPU" in done.stderr
