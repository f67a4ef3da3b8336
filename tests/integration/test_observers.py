"""What a run tells its observers, event by event, and what the bundled ones leave of it."""

import csv
import json

import pytest

from hpf_core.engine.run import Run
from hpf_core.errors import RunError
from hpf_core.interfaces import Observer
from hpf_core.recipe import load as load_recipe
from hpf_core.runs.folder import RunFolder
from hpf_core.testing.onlookers import EVENTS, story
from hpf_plugins.data_terms.m2d import ModelToData as M2D

from .conftest import assert_same_run, rows_of

SHORT = ["stages.pretrain.steps=2", "stages.fit.steps=4", "stages.control.steps=4", "log.pictures_every=3"]
"""The tiny recipe, shorter still, with a picture in the stages that have more than two steps."""


class Diary(Observer):
    """Every event, and whether the files that it names stand when it is told."""

    def __init__(self):
        self.told, self.documents = [], []


def _noting(event):
    def note(self, *details):
        for detail in details:
            if hasattr(detail, "exists"):
                assert detail.exists(), f"{event} names {detail}, which isn't there yet"
            if isinstance(detail, dict):
                self.documents.append((event, detail))
        plain = [d.name if hasattr(d, "exists") else d for d in details if not isinstance(d, dict)]
        self.told.append((event, *plain))

    return note


for _event in EVENTS:
    setattr(Diary, _event, _noting(_event))


class Failing(Observer):
    """Raises whatever it is told."""


for _event in EVENTS:
    setattr(Failing, _event, lambda self, *details: 1 / 0)


def of_a_stage(stage, steps, done=0, pictures=(), checkpoints=()):
    told = [("stage_started", stage, steps, done)]
    for step in range(done + 1, steps + 1):
        told.append(("step_done", stage, step))
        if step in pictures:
            told.append(("picture_drawn", stage, step, f"{stage}-{step:07d}.png"))
        if step in checkpoints:
            told.append(("checkpoint_written", stage, step, f"{step:08d}.safetensors"))
    told += [("stage_ended", stage, steps, f"{stage}.safetensors")]
    return [*told, ("evaluation_started", stage), ("evaluated", stage)]


@pytest.mark.usefixtures("_no_figures")
def test_every_event_of_a_run_in_order(load, tmp_path):
    """Also of one that is stopped in its second stage and resumed; what they are told is what is on disk."""
    diary = Diary()
    Run(load(sets=SHORT), tmp_path / "run", observers=[diary]).execute()
    fit = of_a_stage("fit", 4, pictures=[3], checkpoints=[3])
    control = of_a_stage("control", 4, pictures=[3], checkpoints=[3])
    first = [("run_started", "run"), *of_a_stage("pretrain", 2)]
    assert diary.told == [*first, *fit, *control, ("run_ended", "run")]
    told = {}
    for event, document in diary.documents:
        told.setdefault(event, []).append(document)
    assert told["step_done"] == rows_of(tmp_path / "run")
    evaluations = [json.loads(RunFolder(tmp_path / "run").evaluation(s).read_text()) for s in ("pretrain", "fit")]
    assert told["evaluated"][:2] == evaluations
    assert told["run_ended"] == [json.loads((tmp_path / "run" / "summary.json").read_text())]
    assert list(told["run_started"][0]["stages"]) == ["pretrain", "fit", "control"]

    class Stopping(Diary):
        def checkpoint_written(self, stage, step, path):
            super().checkpoint_written(stage, step, path)
            raise KeyboardInterrupt

    stopped, resumed = Stopping(), Diary()
    with pytest.raises(KeyboardInterrupt):
        Run(load(sets=SHORT), tmp_path / "two", observers=[stopped]).execute()
    begun = [("run_started", "two"), *of_a_stage("pretrain", 2)]
    assert stopped.told == [*begun, *fit[: fit.index(("checkpoint_written", "fit", 3, "00000003.safetensors")) + 1],
                            ("run_failed", "two", stopped.told[-1][-1])]  # fmt: skip
    assert isinstance(stopped.told[-1][-1], KeyboardInterrupt)
    Run(load(sets=SHORT), tmp_path / "two", resume=True, observers=[resumed]).execute()
    again = [("run_started", "two"), ("evaluated", "pretrain"), *of_a_stage("fit", 4, done=3)]
    assert resumed.told == [*again, *control, ("run_ended", "two")]


@pytest.mark.usefixtures("_no_figures")
def test_weights_to_start_from_are_a_stage_called_init(whole, load, tmp_path):
    diary = Diary()
    sets = [*SHORT, f"init={whole[0] / 'weights.safetensors'}"]
    Run(load(sets=sets, stages=["pretrain"]), tmp_path / "run", observers=[diary]).execute()
    assert diary.told[:4] == [
        ("run_started", "run"),
        ("evaluation_started", "init"),
        ("evaluated", "init"),
        ("stage_started", "pretrain", 2, 0),
    ]


def test_a_failed_run_tells_its_error(load, tmp_path, monkeypatch):
    def poisoned(self, fit):
        raise RunError("the disk is full")

    monkeypatch.setattr(M2D, "forward", poisoned)
    diary = Diary()
    with pytest.warns(UserWarning, match="observer Failing is disabled"), pytest.raises(RunError, match="disk"):
        Run(load(sets=SHORT), tmp_path / "run", observers=[Failing(), diary]).execute()
    assert diary.told[-2] == ("stage_started", "fit", 4, 0)
    event, folder, error = diary.told[-1]
    assert (event, folder, str(error)) == ("run_failed", "run", "the disk is full")


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, BaseException])
def test_an_observer_may_raise_anything_and_the_run_goes_on(load, tmp_path, kind):
    class Odd(Observer):
        def step_done(self, stage, step, metrics):
            raise kind("odd")

    with pytest.warns(UserWarning, match=f"observer Odd is disabled .* step_done raised {kind.__name__}"):
        summary = Run(load(sets=[*SHORT, "stages.pretrain.steps=1"], stages=["pretrain"]), tmp_path / "run",
                      observers=[Odd()]).execute()  # fmt: skip
    assert [stage["steps"] for stage in summary["stages"]] == [1]


def test_an_observer_that_fails_at_the_end_hides_no_error(load, tmp_path, monkeypatch):
    class Last(Observer):
        def run_failed(self, folder, error):
            raise ValueError("I break last")

    def poisoned(self, fit):
        raise RunError("the disk is full")

    monkeypatch.setattr(M2D, "forward", poisoned)
    with (
        pytest.warns(UserWarning, match="Last is .* run_failed raised ValueError"),
        pytest.raises(RunError, match="disk"),
    ):
        Run(load(sets=[*SHORT, "stages.pretrain.steps=1"]), tmp_path / "run", observers=[Last()]).execute()


def test_the_contracts_story_is_told_like_a_run(whole, tmp_path):
    """Its documents have the keys of a run's."""
    told = story(tmp_path, fails=False)
    rows = rows_of(whole[0])
    steps = [details[-1] for event, details in told if event == "step_done"]
    assert set().union(*rows) - {"unseen_mm"} == set().union(*steps) - {"unseen_mm"}
    assert set.intersection(*map(set, rows)) == set.intersection(*map(set, steps))
    (evaluated,) = [details[-1] for event, details in told if event == "evaluated"]
    assert evaluated.keys() <= whole[1]["evaluation"][-1].keys()


@pytest.mark.usefixtures("_no_figures")
def test_the_bundled_ones_watch_a_run_that_resumes(whole, tiny, host, tmp_path, capsys):
    """Killed after step 7 of `fit`, whose checkpoint is of step 6: step 7 is made twice and stands once."""
    tiny.write_text(tiny.read_text() + "observers: [{use: console, every: 4}, metrics_file, tensorboard]\n")
    folder = tmp_path / "run"

    class Killing(Observer):
        def step_done(self, stage, step, metrics):
            if (stage, step) == ("fit", 8):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(load_recipe(tiny, host=host), folder, observers=[Killing()]).execute()
    capsys.readouterr()
    Run(load_recipe(tiny, host=host), folder, resume=True).execute()
    assert_same_run(whole[0], folder)
    said = [line.split("  ")[1] for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "fit 8/8"
    assert said[1].startswith("fit ended: 2 steps in 0:00:0")
    assert said[2:4] == ["control 4/8", "control 8/8"]

    for stage in ("pretrain", "fit", "control"):
        rows = [row for row in rows_of(folder) if row["stage"] == stage]
        with (folder / "metrics" / f"{stage}.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
        assert [int(row["step"]) for row in table] == [row["step"] for row in rows]
        for row, line in zip(rows, table, strict=True):
            flat = {k: v for k, v in row.items() if not isinstance(v, dict) and k != "stage"}
            for kind in ("raw", "weighted", "gradient"):
                flat |= {f"{kind}.{term}": v for term, v in row.get(kind, {}).items()}
            assert flat.keys() <= line.keys()
            assert {k: float(v) for k, v in line.items() if v} == {k: v for k, v in flat.items() if v is not None}

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "fit")).Reload()
    assert [point.step for point in events.Scalars("raw/m2d")] == [1, 2, 3, 4, 5, 6, 7, 8]
    rows = [row for row in rows_of(folder) if row["stage"] == "fit"]
    for kind in ("raw", "weighted"):
        for term in rows[0][kind]:
            found = [point.value for point in events.Scalars(f"{kind}/{term}")]
            assert found == pytest.approx([row[kind][term] for row in rows])
    looked = [(row["step"], row["gradient"]["m2d"]) for row in rows if "gradient" in row]
    assert [(p.step, p.value) for p in events.Scalars("gradient/m2d")] == [(s, pytest.approx(v)) for s, v in looked]
    (error,) = events.Scalars("evaluation/mean_error_mm")
    evaluated = {row["after"]: row["mean_error_mm"] for row in whole[1]["evaluation"]}
    assert (error.step, error.value) == (8, pytest.approx(evaluated["fit"]))
