"""Runs are made once, shared where they are the same, gone on with after a kill, and fail alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hpf_core.ablation import schedule as module
from hpf_core.ablation.plan import Plan, shard
from hpf_core.ablation.schedule import Schedule, Watcher
from hpf_core.ablation.variants import resolve
from hpf_core.engine.run import Run
from hpf_core.interfaces import Observer
from hpf_core.plugins import PluginHost

Planned = Callable[..., Plan]


class Diary(Observer):
    """Notes the stages that are trained, and stops the run at a step if it is told to."""

    def __init__(self, stop_at: tuple[str, str, int] | None = None) -> None:
        self.stages: list[tuple[str, str, int]] = []
        self.what = ""
        self.stop_at = stop_at

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        self.stages.append((self.what, stage, done))

    def checkpoint_written(self, stage: str, step: int, path: Path) -> None:
        if (self.what.partition(" ")[0].rstrip(","), stage, step) == self.stop_at:
            raise KeyboardInterrupt

    @contextmanager
    def watch(self, what: str) -> Iterator[Watcher]:
        self.what = what
        yield Watcher([self])


def made(plan: Plan, host: PluginHost, diary: Diary | None = None) -> dict[str, str]:
    """What came of the plan's runs, by their names."""
    watch = (diary or Diary()).watch
    return {str(job): outcome for job, outcome in Schedule(plan, plan.jobs(), host, watch).execute().items()}


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / "stages" / f"{stage}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


@pytest.fixture
def whole(planned: Planned, host: PluginHost, cache: Path) -> tuple[Plan, Diary]:
    """An ablation that nothing interrupted, made once, and who watched it."""
    if not _WHOLE:
        plan, diary = planned("full", "no_m2d", "synth_noise"), Diary()
        assert set(made(plan, host, diary).values()) == {"done"}
        _WHOLE.append((plan, diary))
    return _WHOLE[0]


_WHOLE: list[tuple[Plan, Diary]] = []


def test_rows_share_their_pretraining_and_are_the_runs_that_they_would_be_alone(
    whole: tuple[Plan, Diary], host: PluginHost, tmp_path: Path
) -> None:
    plan, diary = whole
    assert [(what.partition(" ")[0], stage) for what, stage, _ in diary.stages] == [
        *[("shared", "pretrain"), ("full,", "fit"), ("full,", "control"), ("no_m2d,", "fit")],
    ]
    assert len(list(plan.shared.iterdir())) == 1
    for job in plan.jobs()[1:]:
        resolved = resolve(job.variant, plan.base, seed=0, sets=(), scale=1, host=host)
        alone, row = tmp_path / f"alone-{job.name}", plan.run_folder(job)
        summary = Run(resolved, alone).execute()
        for stage in resolved.stages:
            assert same(weights(alone, stage.name), weights(row, stage.name)), (job, stage.name)
        assert metrics(alone) == metrics(row)
        assert summary["evaluation"] == json.loads((row / "summary.json").read_text())["evaluation"]
        assert (alone / "recipe.yaml").read_text() == (row / "recipe.yaml").read_text()

    again = Diary()
    assert set(made(plan, host, again).values()) == {"was done"}
    assert again.stages == []
    assert not list(plan.claims.iterdir())


def test_a_row_that_fails_is_noted_and_the_others_go_on(
    planned: Planned, host: PluginHost, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned("misspelt", "no_split", "synth_noise")
    assert list(made(plan, host).values()) == ["failed", "failed", "done"]
    reasons = [json.loads(plan.failure(job).read_text())["reason"] for job in plan.jobs()[:2]]
    assert "Did you mean 'weight'" in reasons[0]
    assert "no split 'nowhere'" in reasons[1]
    assert not plan.failure(plan.jobs()[2]).exists()
    (base.parent / "rows" / "misspelt.yaml").write_text("terms: {m2d: {weight: 2}}\nstages: {control: off}\n")
    assert list(made(plan, host).values()) == ["done", "failed", "was done"], "a row that is mended is run"
    assert not plan.failure(plan.jobs()[0]).exists()
    (base.parent / "rows" / "misspelt.yaml").write_text("terms: {m2d: {weight: 3}}\nstages: {control: off}\n")
    assert made(plan, host)["misspelt, seed 0"] == "failed", "a run of what the row was isn't taken for one of it"
    assert "another recipe" in json.loads(plan.failure(plan.jobs()[0]).read_text())["reason"]


def test_a_bug_in_a_plugin_takes_no_other_row_with_it(
    planned: Planned, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def execute(run: Run) -> dict[str, Any]:
        tried.append(str(run.resolved.recipe.name))
        raise ZeroDivisionError("a plugin's")

    monkeypatch.setattr(Run, "execute", execute)
    plan = planned("full", "no_m2d")
    assert list(made(plan, host).values()) == ["failed", "failed"]
    assert tried == ["pretraining"], "what fails for all rows that share it is tried once"
    noted = json.loads(plan.failure(plan.jobs()[1]).read_text())
    assert noted["reason"].endswith("failed: a plugin's")
    assert not list(plan.claims.iterdir())


@pytest.mark.parametrize("at", [("shared", "pretrain", 2), ("full", "fit", 4)], ids=["pretraining", "fit"])
def test_what_is_interrupted_goes_on_where_it_was(
    planned: Planned, whole: tuple[Plan, Diary], host: PluginHost, at: tuple[str, str, int]
) -> None:
    plan = planned("full", out="interrupted")
    with pytest.raises(KeyboardInterrupt):
        made(plan, host, Diary(at))
    assert not list(plan.claims.iterdir())
    diary = Diary()
    assert set(made(plan, host, diary).values()) == {"done"}
    assert (at[1], at[2]) == diary.stages[0][1:]
    run, uninterrupted = (each.run_folder(each.jobs()[0]) for each in (plan, whole[0]))
    assert metrics(run) == metrics(uninterrupted)
    assert (run / "weights.safetensors").read_bytes() == (uninterrupted / "weights.safetensors").read_bytes()


def test_what_another_works_on_is_waited_for(
    planned: Planned, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned("synth_noise", "full", sets=SMALL)
    plan.claims.mkdir()
    claim = plan.claims / "synth_noise-seed-0.0"
    claim.write_text(json.dumps({"where": "elsewhere", "pid": 7}))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        claim.unlink()  # the other one ends

    monkeypatch.setattr(module.time, "sleep", sleep)
    said: list[str] = []
    outcomes = Schedule(plan, plan.jobs(), host, say=said.append).execute()
    assert [str(job) for job in outcomes] == ["full, seed 0", "synth_noise, seed 0"]
    assert slept == [module.WAIT_S]
    assert said[0] == "synth_noise, seed 0: waits for process 7 on elsewhere"


SMALL = ("stages.fit=off", "stages.control=off", "data.real=null", "evaluate=null")
"""Pretraining alone, for tests that look at nothing else."""

CODE = """
import sys
from pathlib import Path
import hpf_core.engine.run
import hpf_core.report.execute
from hpf_core.ablation.plan import read, shard
from hpf_core.ablation.schedule import Schedule
from hpf_core.plugins import PluginHost
hpf_core.engine.run.run_figures = hpf_core.report.execute.write_report = lambda *_: None
plan = read(Path(sys.argv[1]))
outcomes = Schedule(plan, shard(plan.jobs(), int(sys.argv[2]), 2), PluginHost.load(), say=print).execute()
sys.exit("failed" in outcomes.values())
"""


def test_shards_share_after_one_of_them_was_killed(planned: Planned, host: PluginHost, cache: Path) -> None:
    """The first is killed in the middle of the pretraining; two go on at once, and it is made once."""
    plan = planned("full", "no_m2d", "synth_noise", sets=(*SMALL, "stages.pretrain.steps=60"))
    environment = {**os.environ, "HPF_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(plan.out)]
    with subprocess.Popen([*command, "1"], env=environment, stdout=subprocess.DEVNULL) as first:
        until = time.monotonic() + 120
        while not list(plan.shared.glob("*/checkpoints/pretrain/00000004.safetensors")):
            assert time.monotonic() < until
            assert first.poll() is None
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        first.wait()
    (pretraining,) = plan.shared.iterdir()
    assert not (pretraining / "summary.json").exists()
    assert list(plan.claims.glob(f"{pretraining.name}.0")), "the killed one couldn't give its claim back"
    with subprocess.Popen([*command, "2"], env=environment, stdout=subprocess.DEVNULL) as second:
        outcomes = Schedule(plan, shard(plan.jobs(), 1, 2), host).execute()
        assert second.wait(120) == 0
    assert set(outcomes.values()) <= {"done"}
    assert list(plan.shared.iterdir()) == [pretraining]
    assert [row["step"] for row in metrics(pretraining)] == list(range(1, 61)), "neither gaps nor repeats"
    for job in plan.jobs():
        assert (plan.run_folder(job) / "summary.json").is_file()
    assert not list(plan.claims.iterdir())
