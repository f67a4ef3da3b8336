"""One evaluation with what it is of: the entry that `summary.json` lists and `hpf eval --json` prints."""

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
"""The fields that every evaluation has. `auc` is younger than some runs; `refiners` is there where a run has some."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and of what.

    Attributes:
        after: the stage after which a network was evaluated, or the file of the predictions.
        data: name of the dataset or of the text protocol.
        split: the dataset's split.
        centre: how crops were centred: "annotated", "mass", "refined", or "unknown" for files.
        measured: the figures.
    """

    after: str
    data: str
    split: str
    centre: str
    measured: Measured

    def document(self) -> dict[str, Any]:
        """The `FIELDS` and `auc` as plain JSON values."""
        about = {"after": self.after, "data": self.data, "split": self.split, "centre": self.centre}
        return about | self.measured.document()


def write_frames_csv(
    path: Path, results: Mapping[str, Measured], subject: np.ndarray | None, subject_names: Mapping[int, str]
) -> Path:
    """A row for each frame: its number (from 1, the line of the label file), its subject, and for each result the
    frame's mean and largest error in mm. Made to be sorted in a spreadsheet for the worst frames.

    Args:
        results: by name, all of the same F frames.
        subject: (F,) integers, or None where frames aren't told apart.
        subject_names: the name of each of them.

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
    """The success curves as numbers, to draw them elsewhere: a row for each threshold of `CURVE_MM`, and for each
    result the share of frames whose largest, and whose mean error is within it.

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
    """A name for each path: the file's own, or as much of the path as tells it from the others."""
    names = [path.stem if path.suffix else path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    whole = [str(path) for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(name for name in whole if whole.count(name) > 1)
        raise DataError(f"{twice} is given twice.")
    return whole
