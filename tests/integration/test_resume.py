"""A run goes on from wherever it died, and ends as if it hadn't."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from hpf_core import recipe as recipes
from hpf_core.engine import run as engine
from hpf_core.engine.checkpointer import ResumeWarning
from hpf_core.engine.run import Run
from hpf_core.engine.train import StageTrainer
from hpf_core.errors import InputError, RunError
from hpf_core.inference import evaluate
from hpf_core.inference.build import Parts
from hpf_core.interfaces import Observer
from hpf_core.report import run_and_report
from hpf_core.runs import checkpoint
from hpf_core.runs.folder import RunFolder, last_folder, next_folder

from .conftest import STAGES, assert_same_run, rows_of, same_tensors

pytestmark = pytest.mark.usefixtures("_no_figures")


class Killed(Exception):
    pass


def die(*_, **__):
    raise Killed


def mortal(after):
    """`StageTrainer.step` that dies before step `after` + 1 of the run's 22."""
    step, made = StageTrainer.step, 0

    def stepping(self, *args, **kwargs):
        nonlocal made
        if made == after:
            raise Killed
        made += 1
        return step(self, *args, **kwargs)

    return stepping


@pytest.fixture
def killed(load, tmp_path, monkeypatch):
    """The folder of a run that died before some step."""

    def killed_before(after, **changes):
        with monkeypatch.context() as patch:
            patch.setattr(StageTrainer, "step", mortal(after))
            with pytest.raises(Killed):
                Run(load(**changes), tmp_path / "run").execute()
        return tmp_path / "run"

    return killed_before


@pytest.mark.parametrize("after", [1, 5, 6, 12, 21])
def test_killed_in_a_step(whole, load, killed, after):
    """Before the first checkpoint, after it, between two stages, after two checkpoints, before the last step."""
    folder = killed(after)
    Run(load(), folder, resume=True).execute()
    assert_same_run(whole[0], folder)


AVERAGED = {"sets": ["stages.pretrain.ema=0.9", "stages.pretrain.schedule=constant", "stages.pretrain.cooldown=3"]}


def test_killed_while_weights_are_averaged(load, killed, tmp_path):
    """The average goes on as well, and what a stage leaves is the average: other weights than without one."""
    averaged = load(**AVERAGED, stages=["pretrain"])
    Run(averaged, tmp_path / "whole").execute()
    folder = killed(4, **AVERAGED, stages=["pretrain"])
    Run(averaged, folder, resume=True).execute()
    ends = [out / "weights.safetensors" for out in (tmp_path / "whole", folder)]
    assert same_tensors(*ends)
    without = load(sets=AVERAGED["sets"][1:], stages=["pretrain"])
    Run(without, tmp_path / "without").execute()
    assert not same_tensors(ends[0], tmp_path / "without" / "weights.safetensors")
    logs = [[row["loss"] for row in rows_of(out)] for out in (tmp_path / "whole", folder, tmp_path / "without")]
    assert logs[0] == logs[1] == logs[2], "the average doesn't steer the training"


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (Parts, "prepare_terms"),
        (evaluate, "predict"),
        (RunFolder, "write_json"),
        (engine, "run_figures"),
    ],
)
def test_killed_outside_of_the_steps(whole, load, tmp_path, monkeypatch, where, what):
    """In prepare, in an evaluation, while the folder is made, and before figures and summary are written."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(where, what, die)
        with pytest.raises(Killed):
            Run(load(), folder).execute()
    assert not (folder / "summary.json").exists()
    Run(load(), folder, resume=True).execute()
    assert_same_run(whole[0], folder)
    assert json.loads((folder / "run.json").read_text())["seed"] == 0


def test_a_line_of_metrics_that_was_cut_off(whole, load, killed):
    folder = killed(12)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "fit", "step": 7, "loss": 12.')
    Run(load(), folder, resume=True).execute()
    assert_same_run(whole[0], folder)


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint(whole, load, killed, damaged):
    """The one before it serves, and without any the stage begins again: slower, and with the same result."""
    folder = killed(13)
    checkpoints = RunFolder(folder).checkpoints("fit")
    assert [p.stem for p in checkpoints] == ["00000003", "00000006"]
    for path in checkpoints[-damaged:]:
        damage(path)
    with pytest.warns(ResumeWarning, match="resumes from an earlier checkpoint") as warned:
        Run(load(), folder, resume=True).execute()
    assert len(warned) == damaged
    assert_same_run(whole[0], folder)


def test_a_resume_keeps_the_threads_that_the_run_had(load, killed):
    """Where its recipe leaves them open: the process that resumes would take others."""
    threads = torch.get_num_threads()
    folder = killed(3, stages=["pretrain"])
    try:
        torch.set_num_threads(threads + 1)
        summary = Run(load(stages=["pretrain"]), folder, resume=True).execute()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(threads)
    assert not any("threads" in change for change in summary["changes"])


def _rewritten(change, **about):
    """A checkpoint with other tensors or another description, and a checksum that fits them."""

    def rewrite(path):
        read = checkpoint.read(path)
        change(read.tensors)
        checkpoint.save(path, read.tensors, read.about | about)

    return rewrite


def _as_folder(path):
    path.unlink()
    path.mkdir()


def _without_checksum(path):
    read = checkpoint.read(path)
    save_file(read.tensors, path, {"hpf": json.dumps(read.about)})


@pytest.mark.parametrize(
    "spoil",
    [
        _as_folder,
        _without_checksum,
        _rewritten(lambda t: None, step=99),
        _rewritten(lambda t: None, step=8),
        _rewritten(lambda t: None, stage="pretrain"),
        _rewritten(lambda t: None, images="many"),
        _rewritten(lambda t: [t.pop(k) for k in list(t) if k.startswith("optimiser.")]),
        _rewritten(lambda t: t.update({k: v.to(torch.int8) for k, v in t.items() if k.startswith("model.")})),
        _rewritten(lambda t: t.pop(next(k for k in t if k.endswith("exp_avg")))),
        _rewritten(lambda t: t.update({"optimiser.0.exp_avg": torch.zeros(1)})),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
    ],
)
@pytest.mark.usefixtures("_no_figures")
def test_a_checkpoint_that_is_not_what_was_written(whole, load, killed, spoil):
    """The one before it serves, which is said; the run ends with the same bits."""
    folder = killed(13)
    spoil(RunFolder(folder).checkpoints("fit")[-1])
    with pytest.warns(ResumeWarning, match="00000006.*resumes from an earlier checkpoint") as warned:
        Run(load(), folder, resume=True).execute()
    assert len(warned) == 1
    assert_same_run(whole[0], folder)


def test_what_a_killed_process_was_writing_is_removed(whole, load, killed):
    folder = killed(2)
    (folder / "checkpoints" / "pretrain").mkdir(parents=True)
    left = [
        folder / "checkpoints" / "pretrain" / ".00000003-x1y2z3_4.safetensors",
        folder / "figures" / ".training-abcd1234.png",
        folder / ".summary-abcd1234.json",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half of it")
    Run(load(), folder, resume=True).execute()
    assert not any(path.exists() for path in left)
    assert not list(folder.rglob(".*")), "nor a lock"
    assert_same_run(whole[0], folder)


def test_damaged_weights_and_evaluations(whole, load, killed):
    folder = killed(8)
    (folder / "evaluation" / "pretrain.json").write_text('{"after": "pre')
    weights = folder / "stages" / "pretrain.safetensors"
    damage(weights)
    with pytest.raises(RunError, match=r"pretrain\.safetensors.*Delete it and resume"):
        Run(load(), folder, resume=True).execute()
    weights.unlink()
    Run(load(), folder, resume=True).execute()
    assert_same_run(whole[0], folder)


def test_a_run_that_is_done_is_not_done_again(whole, load, monkeypatch):
    monkeypatch.setattr(engine, "build_parts", die)
    run = Run(load(), whole[0], resume=True)
    assert run.execute() == whole[1]
    assert run.was_done


def test_resuming_from_the_saved_recipe(host, killed):
    """Also with packages of other versions; what the first command line changed isn't forgotten."""
    folder = killed(3, without_terms=["collision"])
    saved = folder / "recipe.yaml"
    text = saved.read_text()
    saved.write_text(text.replace(f'torch: "{torch.__version__}"', 'torch: "2.0.0"'))
    assert saved.read_text() != text
    summary = Run(recipes.load(saved, host=host), folder, resume=True).execute()
    versions = f'versions.torch: "2.0.0" -> "{torch.__version__}" (--resume)'
    assert summary["changes"] == ["collision: off in stage fit (--without)", versions]
    about = json.loads((folder / "run.json").read_text())
    assert [start["changes"] for start in about["starts"]] == [[summary["changes"][0]], [versions]]


def test_a_resume_with_other_threads_is_recorded(load, killed):
    threads = torch.get_num_threads()
    folder = killed(3, sets=[f"runtime.threads={threads}"], stages=["pretrain"])
    try:
        again = load(sets=[f"runtime.threads={threads + 1}"], stages=["pretrain"])
        summary = run_and_report(Run(again, folder, resume=True))
    finally:
        torch.set_num_threads(threads)
    change = f"runtime.threads: {threads} -> {threads + 1} (--resume)"
    about = json.loads((folder / "run.json").read_text())
    assert summary["changes"] == about["changes"]
    assert summary["changes"][-1] == change
    assert [start["threads"] for start in about["starts"]] == [threads, threads + 1]
    assert change.replace(">", "&gt;") in (folder / "report.html").read_text()


@pytest.mark.parametrize("content", ["{", "a: [1, 2", "7", "\x00"])
def test_a_damaged_recipe(load, tmp_path, content):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml is damaged"):
        Run(load(), tmp_path, resume=True).execute()


class Interrupting(Observer):
    """Presses Ctrl-C at a step of a stage."""

    def __init__(self, stage, step):
        self.at = stage, step

    def step_done(self, stage, step, metrics):
        if (stage, step) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("stage", "step"), [("fit", 4), ("fit", 8)])
def test_an_interrupt_is_heard(whole, load, tmp_path, stage, step):
    """In the middle of a stage and in its last step; the step in progress is finished and kept."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        Run(load(), folder, observers=[Interrupting(stage, step)]).execute()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert rows_of(folder)[-1]["step"] == step
    assert not (folder / "evaluation" / "fit.json").exists()
    again = []

    class Watching(Observer):
        def stage_started(self, stage, steps, done):
            again.append((stage, done))

    Run(load(), folder, resume=True, observers=[Watching()]).execute()
    assert again[0] == (("fit", 4) if step == 4 else ("control", 0))
    assert_same_run(whole[0], folder)


# ------------------------------------------------------------------------------------------------- several processes


def test_a_second_process_in_the_folder_is_refused(load, tmp_path):
    """Whether it is to start or to resume there; the first one goes on."""
    folder, refused = tmp_path / "run", []

    class Second(Observer):
        def step_done(self, stage, step, metrics):
            for resume in (False, True):
                with pytest.raises(InputError, match=f"another run is at work .*process {os.getpid()} on this mach"):
                    Run(load(stages=["pretrain"]), folder, resume=resume).execute()
                refused.append(step)

    Run(load(stages=["pretrain"]), folder, observers=[Second()]).execute()
    assert refused == [step for step in range(1, 7) for _ in range(2)]
    assert [row["step"] for row in rows_of(folder)] == list(range(1, 7))


def test_a_lock_that_a_kill_left_does_not_block(whole, load, killed):
    folder = killed(4)
    (folder / ".lock").write_text(json.dumps({"process": os.getpid(), "host": "gone", "since": "2026"}))
    Run(load(), folder, resume=True).execute()
    assert_same_run(whole[0], folder)


@pytest.mark.usefixtures("_no_figures")
def test_a_file_system_without_locks_does_not_block(load, tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("hpf_core.files.locks.file_lock.fcntl.flock", refuses)
    Run(load(stages=["pretrain"]), tmp_path / "run").execute()
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("what", ["prepare_terms", "to"])
def test_sigterm_outside_of_the_stages_ends_the_run_in_order(load, tmp_path, monkeypatch, what):
    """As Ctrl-C does: observers hear of it, and the lock is given up."""
    heard = []

    class Watching(Observer):
        def run_failed(self, folder, error):
            heard.append(type(error))

    with monkeypatch.context() as patch:
        patch.setattr(Parts, what, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            Run(load(stages=["pretrain"]), tmp_path / "run", observers=[Watching()]).execute()
    assert heard == ([KeyboardInterrupt] if what == "prepare_terms" else [])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not (tmp_path / "run" / ".lock").exists()


def hpf(*arguments):
    return [sys.executable, "-m", "hpf", *map(str, arguments)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_at_random_resumes(whole, tiny, tmp_path, number):
    folder = tmp_path / "run"
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        hpf("run", tiny, "--out", folder), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for = random.randint(1, 12)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / "metrics.jsonl").is_file() and len(
            (folder / "metrics.jsonl").read_bytes().splitlines()
        ) >= wait_for:
            process.send_signal(number)
            break
        time.sleep(0.005)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[number], errors
    if number == signal.SIGINT:
        assert f"hpf run {folder}/recipe.yaml --out {folder} --resume" in errors
    # As the message says: from the saved recipe.
    again = hpf("run", folder / "recipe.yaml", "--out", folder, "--resume", "--json")
    done = subprocess.run(again, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipe"] == "tiny"
    for stage in STAGES:
        assert same_tensors(whole[0] / "stages" / f"{stage}.safetensors", folder / "stages" / f"{stage}.safetensors")


# ------------------------------------------------------------------------------------------------------------- folders


def test_runs_that_start_together_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: next_folder("x", tmp_path / "runs"), range(24)))
    assert sorted(folders) == sorted(tmp_path / "runs" / f"x-{n}" for n in range(1, 25))


@pytest.mark.parametrize("name", ["plain", "a[1]", "wild*card", "x-2", "~", "é ü"])
def test_the_last_run_by_name(tmp_path, name):
    root = tmp_path / "runs"
    with pytest.raises(InputError, match="no run of"):
        last_folder(name, root)
    made = [next_folder(name, root) for _ in range(11)]
    assert [p.name for p in made] == [f"{name}-{n}" for n in range(1, 12)]
    for path in (*made[:10], root / f"{name}-³", root / f"{name}-old"):
        path.mkdir(exist_ok=True)
        (path / "recipe.yaml").write_text("")
    assert last_folder(name, root) == made[9]  # the eleventh holds no run


def test_resuming_without_a_folder(whole, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "step", mortal(9))
        with pytest.raises(Killed):
            Run(load()).execute()
    run = Run(load(), resume=True)
    run.execute()
    assert str(run.out) == os.path.join("runs", "tiny-1")
    assert_same_run(whole[0], tmp_path / "runs" / "tiny-1")
