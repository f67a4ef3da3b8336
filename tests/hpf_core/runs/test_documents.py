"""The documents of a run: given as written where they fit, and refused with the file's name where they don't."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpf_core.errors import DataError
from hpf_core.evaluation.metrics import measure
from hpf_core.evaluation.result import Evaluation
from hpf_core.runs.documents import EvaluationDocument, MetricsRow, parse_json, read_json, read_recipe, read_summary
from hpf_core.runs.folder import RunFolder, resume_changes

MEASURED = measure(np.zeros((2, 2, 3)), np.ones((2, 2, 3)), joint_names=("a", "b"), subject=np.array([0, 1]),
                   subject_names={0: "one", 1: "two"})  # fmt: skip


def summary(**changes: Any) -> dict[str, Any]:
    entries = [Evaluation(name, "nyu", "test", "mass", MEASURED).document() for name in ("init", "fit")]
    stages = [{"name": "fit", "steps": 3, "control_of": None, "seconds": 1.0, "images_per_second": 2.0}]
    return {"recipe": "r", "seed": 1, "changes": [], "stages": stages, "evaluation": entries} | changes


def test_a_summary_is_given_as_written(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary(more={"a": [1]})))
    assert read_summary(tmp_path) == summary(more={"a": [1]})


def _entry(**changes: Any) -> dict[str, Any]:
    return summary(evaluation=[Evaluation("fit", "nyu", "test", "mass", MEASURED).document() | changes])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no summary.json"),
        (b"{", "is damaged: EOF"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number out of range"),
        (b'{"a": ' + b"9" * 400 + b"}", "more than 64 bits"),
        (b'{"a": NaN}', "is damaged"),
        (b'{"a": 1e999, "evaluation": []}', "a number isn't finite"),
        (b'{"a": "\\u001b[31m", "evaluation": []}', "control characters: '.x1b"),
        (b"[1]", "no mapping"),
        (b'{"evaluation": 3}', "evaluation: Input should be a valid list"),
        (b'{"evaluation": [7]}', r"evaluation\.0: Input should be"),
        (_entry(mean_error_mm="5"), r"evaluation\.0\.mean_error_mm: Input should be a valid number"),
        (_entry(mean_error_mm=-1.0), r"evaluation\.0\.mean_error_mm: .*greater than or equal to 0"),
        (_entry(success=[1]), r"evaluation\.0\.success: "),
        (_entry(success={"20": 0.5}), "lacks the thresholds 30, 40"),
        (_entry(subjects={"one": {"frames": 1}}), r"evaluation\.0\.subjects\.one"),
        (_entry(joints=3), "has 2 joints, but joints is 3"),
        (_entry(after="other"), "one entry for each stage"),
        (_entry(left_out_list="../../etc/passwd"), "isn't the name of a file"),
        (summary(stages=[{"name": "c", "steps": 1, "control_of": "fit"}]), "must not be a control"),
    ],
)
def test_a_damaged_summary_is_named(tmp_path: Path, content: bytes | dict[str, Any] | None, message: str) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(DataError, match=message) as caught:
        read_summary(tmp_path)
    assert str(path) in str(caught.value) or content is None
    assert RunFolder(tmp_path).ended() is None


def test_a_folder_in_the_place_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "e.json").mkdir()
    with pytest.raises(DataError, match=r"e\.json is damaged: it can't be read"):
        read_json(tmp_path / "e.json", EvaluationDocument)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "recipe.yaml is damaged"),
        ("a: " + "[" * 3000 + "]" * 3000, "recipe.yaml is damaged"),
        ("seed: " + "1" * 5000, "recipe.yaml is damaged"),
        ("7", "recipe.yaml is damaged"),
        ("stages: {fit: {steps: ten}}", r"stages\.fit\.steps"),
        ("stages: [fit]", "stages"),
        ("name: [a]", "name"),
    ],
)
def test_a_damaged_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_recipe(path)


def test_rows_of_metrics_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    good = {"stage": "fit", "step": 1, "loss": 1.0, "raw": {"m2d": 2.0}, "gradient": {"m2d": None}}
    bad = [good | {"step": "1"}, good | {"loss": "x"}, good | {"raw": {"m2d": []}}, good | {"step": 0}]
    lines = [json.dumps(row) for row in (good, *bad)] + ["[" * 100_000, '{"stage": "fit", "step": ' + "1" * 5000 + "}"]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert RunFolder(tmp_path).read_metrics() == [good]
    assert parse_json(lines[0], MetricsRow) == good


def test_what_a_resume_changes_is_said() -> None:
    saved = {
        "runtime": {"threads": 2, "device": "cpu"},
        "log": {"every": 1},
        "observers": [],
        "versions": {"torch": "1"},
    }
    asked = saved | {"runtime": {"threads": 1, "device": "cpu"}, "versions": {"torch": "2"}}
    assert resume_changes(saved, saved) == []
    assert resume_changes(saved, asked) == [
        "runtime.threads: 2 -> 1 (--resume)",
        'versions.torch: "1" -> "2" (--resume)',
    ]
