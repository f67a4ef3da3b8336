"""What runs measured becomes one table and its figures, which say what they are of. The runs' folders are made here."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hpf_core.ablation import figures, table
from hpf_core.ablation.paper import PublishedRow
from hpf_core.ablation.plan import Job, Plan
from hpf_core.ablation.results import VariantResult, collect
from hpf_core.ablation.variants import Variant
from hpf_core.runs import checkpoint as files

PAPER = {
    "full": PublishedRow(name="full", label="ours", mean_error_mm=12.62, success_20=0.407, source="W", where="T"),
    "no_vae": PublishedRow(name="no_vae", label="without vae", mean_error_mm=14.17, source="W", where="T"),
}
NAMES = ("full", "no_vae", "single_view", "mine")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path / "base.yaml", tuple(Variant(name) for name in NAMES), (0, 1, 2), (), 1.0, tmp_path / "out")


def finish(plan: Plan, row: str, seed: int, errors: dict[str, float], **about: Any) -> None:
    """A run that ended: after each stage, 4 frames of 2 joints with errors of 1/2 and 3/2 of its mean error."""
    run = plan.run_folder(Job(Variant(row), seed))
    evaluations = []
    for stage, error in errors.items():
        truth = torch.zeros(4, 2, 3)
        joints = truth.clone()
        joints[:, 0, 0], joints[:, 1, 0] = 0.5 * error, 1.5 * error
        files.save(run / "evaluation" / f"{stage}.safetensors", {"joints": joints, "truth": truth}, {})
        evaluations.append(
            {"after": stage, "mean_error_mm": error, "median_error_mm": error, "fingertip_error_mm": None}
            | {"success": {"20": float(1.5 * error <= 20), "30": 1.0, "40": 1.0}, "subjects": {}, "centre": "mass"}
            | {"data": "nyu", "split": "test", "simulated": False, "joints": 14, "frames": 8252}
            | {"per_joint_mm": {f"joint {k}": error for k in range(about.get("joints", 14))}, **about}
        )
    stages = [
        {"name": name, "steps": 1, "control_of": "fit" if name == "control" else None}
        for name in errors
        if name != "init"
    ]
    (run / "summary.json").write_text(json.dumps({"stages": stages, "evaluation": evaluations}))


@pytest.fixture
def results(plan: Plan) -> Callable[..., list[VariantResult]]:
    """Rows as an ablation leaves them: one whole, one half done, one failed, one not begun."""

    def made(**about: Any) -> list[VariantResult]:
        for seed, (fit, control) in enumerate([(10.0, 20.0), (12.0, 20.0), (14.0, 20.0)]):
            finish(plan, "full", seed, {"init": 30.0, "fit": fit, "control": control}, **about)
        finish(plan, "no_vae", 0, {"init": 30.0, "fit": 16.0}, **about)
        plan.failure(Job(Variant("single_view"), 1)).parent.mkdir(parents=True, exist_ok=True)
        for seed in (0, 1):
            plan.failure(Job(Variant("single_view"), seed)).write_text(json.dumps({"reason": "a | of & 50 %\nline_2"}))
        return collect(plan, PAPER)

    return made


def test_means_and_spreads_over_seeds(results: Callable[..., list[VariantResult]]) -> None:
    whole, half, failed, absent = results()
    assert whole.values("mean_mm").tolist() == [10, 12, 14]
    assert table.cells(whole) == (
        *(
            "full",
            "12.00 ± 2.00",
            "12.62",
            "66.7 ± 57.7 %",
            "40.7 %",
            "3",
            "0.400 ± 0.067",
            "0.600 ± 0.100",
            "nyu/test",
        ),
    )
    # 15 mm, 18 mm and 21 mm is the worst joint of every frame.
    curves = whole.curves()
    assert curves.shape == (3, 81)
    assert [int(np.argmax(curve)) for curve in curves] == [15, 18, 21]
    assert [run.before_mm for run in whole.runs] == [30, 30, 30]
    assert table.cells(half) == ("no_vae", "16.00", "14.17", "0.0 %", "", "1 of 3", "0.533", "", "nyu/test")
    assert half.state() == "not run yet: seed 1, 2"
    assert table.cells(failed) == ("single_view", "", "", "", "", "0 of 3", "", "", "")
    assert failed.state() == "not run yet: seed 2; seed 0, 1 failed: a | of & 50 %\nline_2"
    assert absent.state() == "not run yet: seed 0, 1, 2"


def test_rows_are_held_against_the_full_one_seed_by_seed(
    plan: Plan, results: Callable[..., list[VariantResult]]
) -> None:
    """Of seeds that both have: 10.5 - 10 and 15.5 - 14, whose spread isn't that of 10.5 and 15.5."""
    results()
    finish(plan, "mine", 0, {"init": 30.0, "fit": 10.5})
    finish(plan, "mine", 2, {"init": 30.0, "fit": 15.5})
    found = collect(plan, PAPER)
    said = [
        "no_vae: +6.00 mm compared with full, per seed (one seed, which has no spread)",
        "mine: +1.00 ± 0.71 mm compared with full, per seed (2 seeds)",
    ]
    assert table.differences(found) == said
    assert table.differences(found[1:]) == [], "there is no full row"
    full, no_vae, failed, mine = table.document(plan, found)["rows"]
    assert mine["beyond_full_mm"] == pytest.approx(1.0)
    assert mine["beyond_full_spread_mm"] == pytest.approx(0.5 * 2**0.5)
    assert (no_vae["beyond_full_mm"], no_vae["beyond_full_spread_mm"]) == (6.0, None)
    assert full["beyond_full_mm"] is failed["beyond_full_mm"] is None
    table.write(plan, found)
    assert f"- {said[1]}" in (plan.out / "table.md").read_text().splitlines()
    assert f"% {said[1]}" in (plan.out / "table.tex").read_text().splitlines()
    with (plan.out / "table.csv").open(newline="") as file:
        assert [row["beyond_full_mm"] for row in csv.DictReader(file)] == ["", "6", "", "1"]


def test_a_run_that_measured_nothing_says_so(plan: Plan) -> None:
    run = plan.run_folder(Job(Variant("full"), 0))
    run.mkdir(parents=True)
    (run / "summary.json").write_text(
        json.dumps({"stages": [{"name": "fit", "control_of": None}], "evaluation": []})
    )  # fmt: skip
    assert "`evaluate: null`" in collect(plan, PAPER)[0].errors[0]


def test_all_files_say_the_same(plan: Plan, results: Callable[..., list[VariantResult]]) -> None:
    table.write(plan, results())
    document = json.loads((plan.out / "table.json").read_text())
    first = document["rows"][0]
    assert (first["mean_error_mm"], first["mean_error_spread_mm"], first["fitted_by_control"]) == (12, 2, 0.6)
    assert first["paper"] == {"mean_error_mm": 12.62, "success_20": 0.407, "source": "W"}
    assert [run["control_mm"] for run in first["runs"]] == [20, 20, 20]
    assert [run["before_mm"] for run in first["runs"]] == [30, 30, 30]
    assert first["after_by_before"] == pytest.approx(0.4)
    assert first["after_by_before_spread"] == pytest.approx(1 / 15)
    assert document["rows"][2]["errors"] == {"0": "a | of & 50 %\nline_2", "1": "a | of & 50 %\nline_2"}
    assert (document["simulated"], document["scaled"]) == (False, False)

    with (plan.out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == list(NAMES)
    assert (rows[0]["mean_error_mm"], rows[0]["paper_mm"], rows[0]["simulated"]) == ("12", "12.62", "false")
    assert rows[1]["mean_error_spread_mm"] == ""
    assert (rows[0]["after_by_before"], rows[1]["after_by_before"], rows[2]["after_by_before"]) == (
        "0.4",
        "0.533333",
        "",
    )
    assert rows[2]["missing"] == "not run yet: seed 2; seed 0, 1 failed: a | of & 50 % line_2"

    with (plan.out / "curves.csv").open(newline="") as file:
        curves = list(csv.reader(file))
    assert curves[0] == ["within_mm", "full", "no_vae"]
    assert curves[1 + 18] == ["18", "0.666667", "0.000000"]

    lines = (plan.out / "table.md").read_text().splitlines()
    row = "| `full` | 12.00 ± 2.00 | 12.62 | 66.7 ± 57.7 % | 40.7 % | 3 | 0.400 ± 0.067 | 0.600 ± 0.100 | nyu/test |"
    assert row in lines
    tabular = [line for line in (plan.out / "table.tex").read_text().splitlines() if not line.startswith("%")]
    assert tabular[-5].startswith(r"no\_vae & 16.00 & 14.17 & 0.0 \% &")
    assert all(line.count("&") == 8 for line in tabular if line.endswith(r"\\"))


RECIPE = """\
seed: 0
backbone: {use: hourglass, width: 48}
grid: {size: 64}
init: null
data: {real: {use: nyu, multi_view_share: 1.0}, synthetic: {use: synthetic, sideways_mm: 15}}
transforms: []
stages:
  pretrain: {draw: {real: 0, synthetic: 8}, steps: 9, terms: [supervised], lr: 0.1, during: {}, control_of: null}
  fit: {draw: {real: 2, synthetic: 4}, steps: 7, terms: [supervised, m2d, vae], lr: 0.2, during: {}, control_of: null}
  control: {draw: {real: 0, synthetic: 4}, steps: 7, terms: [supervised], lr: 0.2, during: {}, control_of: fit}
terms: {supervised: {weight: 0.1}, m2d: {weight: 1.0}, vae: {weight: 0.1}}
evaluate: {data: real, split: test}
runtime: {threads: 1, precision: float32}
"""


def change(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.fixture
def lent(plan: Plan, results: Callable[..., list[VariantResult]]) -> Callable[..., list[VariantResult]]:
    """`full` has controls; `no_vae` is done with seed 0 alone, and its recipe is that of `full` with one change."""

    def made(old: str = "", new: str = "", start: float = 30.0, recipe: str = RECIPE) -> list[VariantResult]:
        results()
        finish(plan, "no_vae", 0, {"init": start, "fit": 16.0})
        text = change(recipe, old, new) if old else recipe
        for row, seed, document in [("full", 0, RECIPE), ("full", 1, RECIPE), ("no_vae", 0, text)]:
            (plan.run_folder(Job(Variant(row), seed)) / "recipe.yaml").write_text(document)
        return collect(plan, PAPER)

    return made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        (RECIPE[RECIPE.index("  control:") : RECIPE.index("terms: {sup")], ""),  # as the paper's rows say
        ("terms: [supervised, m2d, vae]", "terms: [supervised, m2d]"),
        ("vae: {weight: 0.1}", "vae: {weight: 0.7}"),
        ("multi_view_share: 1.0", "multi_view_share: 0.5"),  # a control draws no real frame
        ("draw: {real: 2, synthetic: 4}", "draw: {real: 6, synthetic: 4}"),
        ("threads: 1", "threads: 2"),
    ],
)
def test_the_control_of_full_serves_rows_of_the_same_start_steps_and_synthetic_draw(
    plan: Plan, lent: Callable[..., list[VariantResult]], old: str, new: str
) -> None:
    found = lent(old, new)
    assert table.cells(found[1])[6:8] == ("0.533", "0.800 *")
    assert table.cells(found[0])[7] == "0.600 ± 0.100", "its own"
    assert not [line for line in table.notes(found) if "fitted/control" in line]
    (mark,) = [line for line in table.caption(plan, found) if line.startswith("With *: against the control of full")]
    table.write(plan, found)
    entry = json.loads((plan.out / "table.json").read_text())["rows"][1]
    assert (entry["fitted_by_control"], entry["control_of"], entry["no_control"]) == (0.8, "full", {})
    assert (entry["runs"][0]["control_mm"], entry["runs"][0]["control_of"]) == (20.0, "full")
    with (plan.out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fitted_by_control"], row["control_of"]) for row in rows[:2]] == [("0.6", ""), ("0.8", "full")]
    for name in ("table.md", "table.tex"):
        text = (plan.out / name).read_text()
        assert "0.800 *" in text
        assert mark in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{use: hourglass, width: 48}", "{use: hourglass, width: 64}", "full's control differs from it in backbone"),
        ("sideways_mm: 15", "sideways_mm: 30", "differs from it in data.synthetic"),
        ("supervised: {weight: 0.1}", "supervised: {weight: 0.2}", "differs from it in terms.supervised"),
        ("terms: [supervised, m2d, vae]", "terms: [m2d, vae]", "differs from it in stages.fit.terms"),
        ("m2d, vae], lr: 0.2, during: {}", "m2d, vae], lr: 0.2, during: {supervised: [0, 1]}", "in stages.fit.terms"),
        (
            "{real: 2, synthetic: 4}, steps: 7",
            "{real: 2, synthetic: 4}, steps: 8",
            "differs from it in stages.fit.steps",
        ),
        ("m2d, vae], lr: 0.2", "m2d, vae], lr: 0.3", "differs from it in stages.fit.lr"),
        ("draw: {real: 2, synthetic: 4}", "draw: {real: 2, synthetic: 2}", "in stages.fit.draw.synthetic"),
        ("steps: 9", "steps: 10", "differs from it in stages"),
        ("split: test", "split: validation", "differs from it in evaluate"),
        ("init: null", "init: shipped", "differs from it in init"),
        ("precision: float32", "precision: bf16", "differs from it in runtime.precision"),
        ("real: 2", "real: 0", "fit draws no real frames, so it has no control"),
        ("stages:", "stages: [", "its recipe or that of full can't be read"),
    ],
)
def test_why_it_serves_another_row_not_is_told(
    plan: Plan, lent: Callable[..., list[VariantResult]], old: str, new: str, said: str
) -> None:
    found = lent(old, new)
    assert table.cells(found[1])[7] == ""
    (note,) = [line for line in table.notes(found) if line.startswith("no_vae: no fitted/control: seed 0: ")]
    assert note.endswith(said)
    assert not any(line.startswith("With *") for line in table.caption(plan, found))
    entry = table.document(plan, found)["rows"][1]
    assert (entry["fitted_by_control"], entry["control_of"]) == (None, None)
    assert entry["no_control"]["0"].endswith(said)
    table.write(plan, found)
    with (plan.out / "table.csv").open(newline="") as file:
        assert list(csv.DictReader(file))[1]["no_control"].endswith(said)


def test_a_start_that_was_measured_otherwise_lends_no_control(lent: Callable[..., list[VariantResult]]) -> None:
    (reason,) = lent(start=31.0)[1].no_control.values()
    assert reason == "its start was measured at 31.00 mm, that of full at 30.00 mm"
    assert lent(start=30.001)[1].control_of == "full", "rounding"


def test_rows_on_other_data_are_not_held_against_full(plan: Plan, results: Callable[..., list[VariantResult]]) -> None:
    results()
    finish(plan, "mine", 0, {"init": 30.0, "fit": 5.0}, data="synthetic", split="unseen")
    found = collect(plan, PAPER)
    assert not any(line.startswith("mine") for line in table.differences(found))
    assert table.document(plan, found)["rows"][3]["beyond_full_mm"] is None


@pytest.mark.parametrize(("scale", "simulated"), [(1.0, True), (0.01, False), (0.01, True)])
def test_what_is_no_result_of_the_method_is_called_so_everywhere(
    plan: Plan,
    results: Callable[..., list[VariantResult]],
    scale: float,
    simulated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titles = []
    drawn = figures.success_figure

    def draw(curves: Any, thresholds: Any, title: str, about: str, **more: Any) -> Any:
        titles.append(f"{title}\n{about}")
        return drawn(curves, thresholds, title, about, **more)

    monkeypatch.setattr(figures, "success_figure", draw)
    plan = Plan(plan.base, plan.variants, plan.seeds, plan.sets, scale, plan.out)
    found = results(**({"data": "simulated", "simulated": True} if simulated else {}))
    table.write(plan, found)
    figures.draw(plan, found)
    texts = {path.name: path.read_text() for path in plan.out.glob("*.*")}
    document = json.loads(texts["table.json"])
    assert (document["simulated"], document["scaled"], document["scale"]) == (simulated, scale != 1, scale)
    for name, text in {**texts, **{f"figure {k}": title for k, title in enumerate(titles)}}.items():
        if name == "table.csv":
            entry = next(csv.DictReader(text.splitlines()))
            assert (entry["simulated"], entry["scale"]) == (str(simulated).lower(), f"{scale:g}")
            continue
        said = re.sub(r'"simulated": (false|null)', "", text).lower()
        assert ("simulated" in said) == simulated, name
        assert ("shortened" in text.lower()) == (scale != 1), name
    assert len(titles) == 1


def test_figures_are_drawn_of_what_is_there(plan: Plan, results: Callable[..., list[VariantResult]]) -> None:
    found = results()
    names = [path.name for path in figures.draw(plan, found)]
    assert names == ["figure7.png"], "the whole method alone is no comparison"
    for name in names:
        with Image.open(plan.out / "figures" / name) as image:
            assert min(image.size) > 600
    finish(plan, "mine", 0, {"init": 30.0, "fit": 9.0})
    finish(plan, "single_view", 0, {"fit": 25.0})
    names = [path.name for path in figures.draw(plan, collect(plan, PAPER))]
    assert names == ["figure6.png", "figure7.png", "others.png"]


def test_figures_ring_the_papers_points_on_its_own_frames_alone(
    plan: Plan, results: Callable[..., list[VariantResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    kept = figures.write_figure

    def write(path: Path, figure: Any) -> Path:
        drawn.append([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
        return kept(path, figure)

    monkeypatch.setattr(figures, "write_figure", write)
    figures.draw(plan, results())
    assert drawn == [["ours: mean 12.0 mm", "without vae loss: mean 16.0 mm", "published in the paper, at 20 mm"]]
    # Nor are a part of the test set, nor simulated frames.
    for other in ({"frames": 8251}, {"data": "simulated", "simulated": True}):
        drawn.clear()
        for row, error in (("full", 12.0), ("no_vae", 16.0)):
            for seed in range(3 if row == "full" else 1):
                finish(plan, row, seed, {"fit": error}, **other)
        figures.draw(plan, collect(plan, PAPER))
        assert drawn == [["ours: mean 12.0 mm", "without vae loss: mean 16.0 mm"]]
