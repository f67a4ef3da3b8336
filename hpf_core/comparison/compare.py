"""Compares several predictions with one annotation: figures, tables and files, with published results beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.comparison.dataset_labels import labels_of
from hpf_core.comparison.table import latex, markdown
from hpf_core.errors import skip_on_failure
from hpf_core.evaluation import published
from hpf_core.evaluation.joint_txt import LabelSet
from hpf_core.evaluation.labels import read_pair
from hpf_core.evaluation.metrics import CURVE_MM, Measured, measure
from hpf_core.evaluation.protocols import TextProtocol
from hpf_core.evaluation.published import PublishedMethod
from hpf_core.evaluation.readings import better_reading
from hpf_core.evaluation.result import Evaluation, distinct_names, write_curves_csv, write_frames_csv
from hpf_core.files.cache import write_atomic
from hpf_core.runs.predictions import RunPredictions, fitting, read_run


@dataclass(frozen=True)
class Comparison:
    """Results of several predictions for the same labels.

    Attributes:
        title: name of the labels, for people.
        joints: K joint names.
        labels: the annotation.
        measured: the results by name of a file, run or stage, in the given order.
        documents: the entries of `hpf eval --json`. A run's entry has its folder as `run`. A file's `better_reading`
            names another reading if it makes the error many times smaller.
        methods: other methods' results on the same frames; empty if the frames aren't a whole test set.
        unlabelled: frames without labels, counted from 1; they are left out.
    """

    title: str
    joints: tuple[str, ...]
    labels: LabelSet
    measured: dict[str, Measured]
    documents: list[dict[str, Any]]
    methods: list[PublishedMethod]
    unlabelled: tuple[int, ...] = ()


def compare(paths: Sequence[Path], labels_path: Path, protocol: TextProtocol, after: str | None = None) -> Comparison:
    """Compare prediction files with labels. For runs, use their predictions (after the stage `after`).

    Raises:
        InputError: an input is unreadable or has other frames than the labels. Measuring starts after all reading.
    """
    names = distinct_names(paths)
    labels = labels_of(labels_path, protocol)
    labelled = np.isfinite(labels.xyz).all(axis=(1, 2))
    every = labels.xyz
    if not labelled.all():
        subject = None if labels.subject is None else labels.subject[labelled]
        labels = LabelSet(labels.xyz[labelled], subject, labels.subject_names)
    read: list[tuple[np.ndarray, RunPredictions | None]] = []
    readings: dict[str, str] = {}
    for name, path in zip(names, paths, strict=True):
        if path.is_dir():
            run = read_run(path, after)
            read.append((fitting(run, protocol, labels.xyz, labels_path), run))
        else:
            uvd = read_pair(path, every, labels_path, protocol)[labelled]
            read.append((protocol.to_xyz(uvd), None))
            if reading := better_reading(uvd, labels.xyz, protocol):
                readings[name] = reading
    evaluations = {
        name: Evaluation(
            after=str(run.document["after"]) if run else name,
            data=protocol.name,
            split="test",
            centre=str(run.document["centre"]) if run else "unknown",
            measured=measure(
                xyz,
                labels.xyz,
                joint_names=protocol.joints,
                fingertips=protocol.fingertips,
                subject=labels.subject,
                subject_names=labels.subject_names,
            ),
        )
        for name, (xyz, run) in zip(names, read, strict=True)
    }
    folders: dict[str, dict[str, str]] = {name: {"better_reading": text} for name, text in readings.items()}
    folders |= {name: {"run": str(run.run)} for name, (_, run) in zip(names, read, strict=True) if run}
    return Comparison(
        title=protocol.title,
        joints=protocol.joints,
        labels=labels,
        measured={name: each.measured for name, each in evaluations.items()},
        documents=[each.document() | folders.get(name, {}) for name, each in evaluations.items()],
        unlabelled=tuple((1 + np.flatnonzero(~labelled)).tolist()),
        methods=published.methods(protocol.name) if len(labels.xyz) == protocol.frames and not protocol.xyz else [],
    )


def write_comparison(out: Path, found: Comparison) -> list[str]:
    """Write figures, tables and numbers into the folder `out`; returns the names of the files.

    success_curve.png corresponds to the paper's Figure 8 with these methods. table.md and table.tex correspond to its
    Table 2. If the labels are the whole test set, other methods' published results are included.

    Raises:
        RunError: a file can't be written.
    """
    measured, methods = found.measured, found.methods
    title = f"{found.title}: {len(found.labels.xyz):,} frames"
    figures = _write_figures(out, found, title)
    write_frames_csv(out / "frames.csv", measured, found.labels.subject, found.labels.subject_names)
    write_curves_csv(out / "curves.csv", measured)
    texts = {
        "table.md": markdown(measured, methods, title),
        "table.tex": latex(measured, methods, title),
        "evaluation.json": json.dumps({"evaluation": found.documents}, indent=2, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        _write(out / name, text)
    return [*figures, "frames.csv", "curves.csv", *texts]


def _write_figures(out: Path, found: Comparison, title: str) -> list[str]:
    """Write the figures, and return the names of the written ones."""
    written = []
    with skip_on_failure("figures"):
        # A local import, because an evaluation doesn't need matplotlib.
        from hpf_core.figures.errors import joint_errors_figure
        from hpf_core.figures.style import write_figure
        from hpf_core.figures.success import LARGEST, MEAN, Curve, success_figure

        measured = found.measured
        points = {f"{m.name}, published": m.success for m in found.methods if m.success and not _is_given(m, measured)}
        largest = [Curve(name, each.curve_max) for name, each in measured.items()]
        mean = [Curve(name, each.curve_mean) for name, each in measured.items()]
        per_joint = {name: each.per_joint for name, each in measured.items()}
        draw = {
            "success_curve.png": lambda: success_figure(
                largest, CURVE_MM, "Success", title, points=points, error=LARGEST
            ),
            "success_curve_mean.png": lambda: success_figure(
                mean, CURVE_MM, "Success by mean error", title, error=MEAN
            ),
            "per_joint.png": lambda: joint_errors_figure(per_joint, found.joints, "Error by joint", title),
        }
        for name, figure in draw.items():
            with skip_on_failure(f"figure {name}"):
                write_figure(out / name, figure())
                written.append(name)
    return written


def _is_given(method: PublishedMethod, measured: dict[str, Measured]) -> bool:
    """Whether this comparison measures the method's own predictions, so that the published points would repeat them."""
    theirs = method.mean_error_mm
    return theirs is not None and any(abs(each.mean - theirs) < 0.01 for each in measured.values())


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda temporary: _put(temporary, text))


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
