"""One evaluation and its context: the entry in `summary.json` and in the output of `hpf eval --json`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.errors import DataError
from hpf_core.evaluation.metrics import CURVE_MM, Measured
from hpf_core.files.cache import write_atomic

FIELDS = (
    *("after", "data", "split", "centre", "joints", "frames", "mean_error_mm", "median_error_mm", "success"),
    *("fingertip_error_mm", "per_joint_mm", "subjects"),
)
"""The fields of every evaluation. Old runs lack `auc`. Only runs with refiners have `refiners`."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation, and their context.

    Attributes:
        after: the stage before the evaluation, or the file of the predictions.
        data: name of the dataset or of the text protocol.
        split: the dataset's split.
        centre: centring of the crops: "annotated", "mass", "refined", or "unknown" for files.
        measured: the figures.
    """

    after: str
    data: str
    split: str
    centre: str
    measured: Measured

    def document(self) -> dict[str, Any]:
        """The fields in `FIELDS`, and `auc`, as plain JSON values."""
        about = {"after": self.after, "data": self.data, "split": self.split, "centre": self.centre}
        return about | self.measured.document()


def write_frames_csv(
    path: Path, results: Mapping[str, Measured], subject: np.ndarray | None, subject_names: Mapping[int, str]
) -> Path:
    """Write one row per frame: its number (from 1, the line in the label file), its subject, and each result's mean
    and largest error in mm. A spreadsheet can sort the rows to find the worst frames.

    Args:
        results: by name, all of the same F frames.
        subject: (F,) integers, or None if the subjects are unknown.
        subject_names: the name of each subject number.

    Raises:
        RunError: the file can't be written.
    """
    columns = [array for measured in results.values() for array in (measured.frame_mean, measured.frame_max)]
    header = [f"{name} {what} mm" for name in results for what in ("mean", "max")]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["frame", "subject", *header])
            for number, errors in enumerate(zip(*columns, strict=True)):
                who = "" if subject is None else subject_names[int(subject[number])]
                rows.writerow([number + 1, who, *(f"{error:.3f}" for error in errors)])

    write_atomic(path, write)
    return path


def write_curves_csv(path: Path, results: Mapping[str, Measured]) -> Path:
    """Write the success curves as numbers, for other plotting tools. Each threshold of `CURVE_MM` has a row. Each
    result
    has two columns: the share of frames whose largest error is within the threshold, and the same for the mean error.

    Raises:
        RunError: the file can't be written.
    """
    header = [f"{name} {what}" for name in results for what in ("max", "mean")]
    columns = [curve for measured in results.values() for curve in (measured.curve_max, measured.curve_mean)]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["within mm", *header])
            for threshold, *shares in zip(CURVE_MM, *columns, strict=True):
                rows.writerow([f"{threshold:g}", *(f"{share:.6f}" for share in shares)])

    write_atomic(path, write)
    return path


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Give each path a unique name: the file's own name, or as many parts of the path as necessary."""
    names = [path.stem if path.suffix else path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    whole = [str(path) for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(name for name in whole if whole.count(name) > 1)
        raise DataError(f"{twice} is given twice.")
    return whole
