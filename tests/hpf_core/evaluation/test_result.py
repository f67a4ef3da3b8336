"""Evaluations as documents, what a run's folder records, and the table of frames."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hpf_core.errors import DataError
from hpf_core.evaluation.metrics import measure
from hpf_core.evaluation.result import FIELDS, Evaluation, distinct_names, write_frames_csv

MEASURED = measure(np.full((3, 2, 3), 2.0), np.zeros((3, 2, 3)), joint_names=("a", "b"))


def test_document_has_just_the_fields_and_the_area() -> None:
    document = Evaluation("fit", "nyu", "test", "annotated", MEASURED).document()
    assert tuple(name for name in document if name != "auc") == FIELDS
    assert document["auc"] == {
        "max": pytest.approx(1 - 12**0.5 / 80),
        "mean": document["auc"]["max"],
        "range_mm": [0, 80],
    }
    assert document["after"] == "fit"


def test_table_of_frames(tmp_path: Path) -> None:
    predicted = np.zeros((3, 2, 3))
    predicted[1, 0, 0] = 8.0
    measured = measure(predicted, np.zeros((3, 2, 3)), joint_names=("a", "b"))
    path = write_frames_csv(tmp_path / "f.csv", {"one": measured}, np.array([0, 1, 1]), {0: "old", 1: 'new, "x"'})
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "subject", "one mean mm", "one max mm"]
    assert rows[2] == ["2", 'new, "x"', "4.000", "8.000"]
    assert len(rows) == 4


def test_names_tell_files_apart() -> None:
    assert distinct_names([Path("x/a.txt"), Path("b.txt"), Path("v1.2")]) == ["a", "b", "v1"]
    assert distinct_names([Path("x/a.txt"), Path("y/a.txt")]) == ["x/a.txt", "y/a.txt"]
    with pytest.raises(DataError, match=r"a\.txt is given twice"):
        distinct_names([Path("a.txt"), Path("a.txt")])
