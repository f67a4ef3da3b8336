"""The bundled observers, told small stories: what they write, what they leave out, and what they need."""

from __future__ import annotations

import csv
import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpf_core.errors import PluginError
from hpf_core.testing.onlookers import story
from hpf_plugins.observers import console, metrics_file, tensorboard

RECIPE = {"name": "small", "stages": {"fit": {"steps": 1000, "terms": ["m2d", "vae"]}}}


def row(step: int, **more: Any) -> dict[str, Any]:
    made = {"stage": "fit", "step": step, "loss": 1 / 3, "lr": 1e-4, "images_per_second": 850.4, "images": 6 * step}
    return {**made, "raw": {"m2d": 2 / 3}, "weighted": {"m2d": 1 / 3}, **more}


def tell(observer: Any, folder: Path, fails: bool = False) -> None:
    for event, details in story(folder, fails):
        getattr(observer, event)(*details)


# ------------------------------------------------------------------------------------------------------------ console


def lines(err: str) -> list[str]:
    """What was said, without the times, each of which is there with its zone."""
    found = [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  (.*)", line) for line in err.splitlines()]
    assert None not in found
    return [match[1] for match in found if match]


@pytest.mark.parametrize(
    ("logged", "said"),
    [
        (range(1, 1001), [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]),
        (range(80, 1001, 80), [160, 240, 320, 400, 560, 640, 720, 800, 960]),
        ([999, 1000], [999, 1000]),
    ],
)
def test_a_line_each_n_steps(logged: Any, said: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Of the steps that are known, the first from each multiple of 100 on, and the last."""
    observer = console.Console(100)
    observer.stage_started("fit", 1000, 0)
    for step in logged:
        observer.step_done("fit", step, row(step))
    out, err = capsys.readouterr()
    assert out == ""
    assert [int(line.split("/")[0].removeprefix("fit ")) for line in lines(err)] == said


def test_what_a_line_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """200 steps in 50 s since it resumed: the 400 that are left take 100 s."""
    times = iter([1000.0, 1050.0, 1200.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    observer = console.Console(100)
    observer.stage_started("fit", 1000, 400)
    observer.step_done("fit", 600, row(600, weighted={"m2d": 0.25, "vae": 1 / 12}))
    observer.stage_ended("fit", 1000, tmp_path / "fit.safetensors")
    observer.run_failed(tmp_path, ValueError("no room"))
    assert lines(capsys.readouterr().err) == [
        "fit 600/1000  loss 0.3333 = m2d 0.25  vae 0.0833  lr 0.0001  850 img/s  0:01:40 left",
        f"fit ended: 600 steps in 0:03:20; weights: {tmp_path / 'fit.safetensors'}",
        "failed after stage fit: ValueError: no room",
    ]


def test_where_a_run_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Also before its first stage, and by a person."""
    observer = console.Console(100)
    observer.run_failed(tmp_path, OSError("no data"))
    observer.stage_started("fit", 1000, 0)
    observer.step_done("fit", 20, row(20))
    observer.run_failed(tmp_path, KeyboardInterrupt())
    assert lines(capsys.readouterr().err) == ["failed: OSError: no data", "stopped in stage fit, after step 20"]


# ------------------------------------------------------------------------------------------------------- metrics_file


def test_a_table_of_a_stage(tmp_path: Path) -> None:
    """Numbers read back as they were; what a step didn't measure is empty; a term that never counts has its column."""
    observer = metrics_file.MetricsFile()
    observer.run_started(tmp_path, RECIPE)
    observer.stage_started("fit", 1000, 0)
    observer.step_done("fit", 1, row(1, gradient={"m2d": None}, gradient_norm=40.5, peak=0.125))
    observer.step_done("fit", 2, row(2, gradient={"m2d": 0.3}))
    assert (tmp_path / "metrics" / "fit.csv").read_text() == (
        "step,images,images_per_second,lr,loss,gradient_norm,peak,unseen_mm,"
        "raw.m2d,weighted.m2d,gradient.m2d,raw.vae,weighted.vae,gradient.vae\n"
        f"1,6,850.4,0.0001,{1 / 3!r},40.5,0.125,,{2 / 3!r},{1 / 3!r},,,,\n"
        f"2,12,850.4,0.0001,{1 / 3!r},,,,{2 / 3!r},{1 / 3!r},0.3,,,\n"
    )


@pytest.mark.parametrize("done", [0, 1, 4, 6, 9])
def test_rows_after_the_checkpoint_are_cut(done: int, tmp_path: Path) -> None:
    """Also a line that a kill cut off; a stage that begins anew has none; a later stage's file is its own affair."""
    recipe = {"stages": {**RECIPE["stages"], "next": RECIPE["stages"]["fit"]}}  # type: ignore[dict-item]
    path = tmp_path / "metrics" / "fit.csv"
    for begun in (0, done):
        observer = metrics_file.MetricsFile()
        observer.run_started(tmp_path, recipe)
        observer.stage_started("fit", 1000, begun)
        for step in range(begun + 1, 10):
            observer.step_done("fit", step, row(step))
        whole = path.read_text()
        if not begun:
            with path.open("a") as file:
                file.write("10,60,85")
    assert [int(line["step"]) for line in csv.DictReader(io.StringIO(whole))] == list(range(1, 10))
    assert sorted(p.name for p in path.parent.iterdir()) == ["fit.csv"]


def test_a_table_begins_where_the_observer_came(tmp_path: Path) -> None:
    observer = metrics_file.MetricsFile()
    observer.run_started(tmp_path, RECIPE)
    observer.stage_started("fit", 1000, 600)
    observer.step_done("fit", 601, row(601))
    table = csv.DictReader((tmp_path / "metrics" / "fit.csv").read_text().splitlines())
    assert [line["step"] for line in table] == ["601"]


# -------------------------------------------------------------------------------------------------------- tensorboard


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def test_charts_and_pictures(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "figures" / "training.png")
    tell(tensorboard.TensorBoard(pictures=True), tmp_path)
    fit = events(tmp_path / "tensorboard" / "fit")
    assert sorted(fit.Tags()["scalars"]) == [
        "evaluation/frames_within_20_mm", "evaluation/frames_within_30_mm", "evaluation/frames_within_40_mm",
        "evaluation/mean_error_mm", "evaluation/median_error_mm", "gradient/surface", "gradient_norm",
        "images_per_second",
        "loss", "lr", "peak", "raw/labels", "raw/surface", "unseen_mm", "weighted/labels", "weighted/surface",
    ]  # fmt: skip
    assert [(p.step, p.value) for p in fit.Scalars("raw/labels")] == [(1, 2.0), (2, 1.5)]
    assert [(p.step, p.value) for p in fit.Scalars("weighted/surface")] == [(1, 1.5)]
    assert [(p.step, p.value) for p in fit.Scalars("evaluation/mean_error_mm")] == [(2, 12.0)]
    (picture,) = fit.Images("steps")
    assert (picture.step, picture.height, picture.width) == (2, 4, 6)
    (figure,) = events(tmp_path / "tensorboard" / "figures").Images("training")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(figure.encoded_image_string))), colours)


def test_no_pictures_where_none_are_asked_for(tmp_path: Path) -> None:
    tell(tensorboard.TensorBoard(pictures=False), tmp_path)
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["fit"]
    assert events(tmp_path / "tensorboard" / "fit").Tags()["images"] == []


def test_what_a_failed_run_said_is_on_disk(tmp_path: Path) -> None:
    tell(tensorboard.TensorBoard(pictures=True), tmp_path, fails=True)
    assert [p.value for p in events(tmp_path / "tensorboard" / "fit").Scalars("loss")] == [3.5]


def test_weights_to_start_from_are_at_step_0(tmp_path: Path) -> None:
    observer = tensorboard.TensorBoard(pictures=True)
    observer.run_started(tmp_path, RECIPE)
    observer.evaluated("init", {"mean_error_mm": 20.0, "simulated": True, "frames": 3})
    (error,) = events(tmp_path / "tensorboard" / "init").Scalars("evaluation/mean_error_mm")
    assert (error.step, error.value) == (0, 20.0)


def test_a_run_that_resumes_within_a_second_is_read_in_order(tmp_path: Path) -> None:
    """TensorBoard reads files by name: the earlier file's is made the last that its second can have."""

    def steps(done: int, *made: int) -> None:
        observer = tensorboard.TensorBoard(pictures=False)
        observer.run_started(tmp_path, RECIPE)
        observer.stage_started("fit", 1000, done)
        for step in made:
            observer.step_done("fit", step, row(step, loss=100.0 * done + step))
        observer.run_failed(tmp_path, KeyboardInterrupt())

    folder = tmp_path / "tensorboard" / "fit"
    steps(0, 1, 2, 3)
    (first,) = folder.iterdir()
    time.sleep(1 - time.time() % 1)
    first.rename(folder / f"events.out.tfevents.{int(time.time())}.~")
    steps(2, 3, 4)
    assert [(p.step, p.value) for p in events(folder).Scalars("loss")] == [(1, 1), (2, 2), (3, 203), (4, 204)]


def test_without_tensorboard_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        PluginError, match=r"needs the package tensorboard.*pip install 'hand-pose-fitting\[tensorboard\]'"
    ):
        tensorboard.build(tensorboard.TensorBoardConfig(), None)  # type: ignore[arg-type]
