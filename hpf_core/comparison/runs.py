"""Compares runs by the annotation that each run stores beside its predictions. No label file is needed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from hpf_core.comparison.compare import Comparison
from hpf_core.errors import DataError
from hpf_core.evaluation.joint_txt import LabelSet
from hpf_core.evaluation.metrics import measure
from hpf_core.evaluation.protocols import PROTOCOLS
from hpf_core.evaluation.result import distinct_names
from hpf_core.runs.documents import read_summary
from hpf_core.runs.predictions import RunPredictions, read_run

_SAME_MM = 0.01  # tolerance for the same annotation from the same loader
_SAME_MEAN_MM = 1e-4  # summaries round to a hundredth of this
_MOST_SUBJECTS = 4  # we try all orders of the subjects


def compare_runs(runs: Sequence[Path], after: str | None = None) -> Comparison:
    """Compare runs' predictions with the runs' own annotation.

    For one run we compare all evaluated stages. For several runs we compare each run's last stage that isn't a control.
    `after` selects another stage.

    Raises:
        InputError: a run has no evaluation after that stage, or none at all.
        DataError: a folder isn't a finished run or is damaged, or the runs' evaluations used different frames.
    """
    names = distinct_names(runs)
    if len(runs) == 1 and after is None:
        stages: list[str | None] = [str(document["after"]) for document in read_summary(runs[0])["evaluation"]]
        found = [read_run(runs[0], stage) for stage in stages or [None]]
        names = [str(each.document["after"]) for each in found]
    else:
        found = [read_run(run, after) for run in runs]
    first = found[0]
    for each in found[1:]:
        _check_same(first, each)
    labels = _labels(first)
    measured = {
        name: measure(
            each.joints,
            each.truth,
            joint_names=first.joint_names,
            fingertips=_fingertips(first.joint_names),
            subject=labels.subject,
            subject_names=labels.subject_names,
        )
        for name, each in zip(names, found, strict=True)
    }
    simulated = " (simulated)" if first.document.get("simulated") else ""
    return Comparison(
        title=f"{_where(first)}{simulated}",
        joints=first.joint_names,
        labels=labels,
        measured=measured,
        documents=[{**each.document, "run": str(each.run)} for each in found],
        methods=[],
    )


def _where(found: RunPredictions) -> str:
    return f"{found.document['data']}/{found.document['split']}"


def _check_same(first: RunPredictions, other: RunPredictions) -> None:
    """Raise DataError if the two runs' evaluations used different frames."""
    hint = (
        "Compare runs that were evaluated on the same frames, or give the annotation of one dataset with --labels FILE."
    )
    if _where(first) != _where(other):
        raise DataError(f"{first.run} was evaluated on {_where(first)}, {other.run} on {_where(other)}. {hint}")
    if first.joint_names != other.joint_names:
        raise DataError(f"{first.run} and {other.run} were evaluated on different joints. {hint}")
    if len(first.truth) != len(other.truth):
        raise DataError(
            f"{first.run} was evaluated on {len(first.truth):,} frames of {_where(first)}, {other.run} on "
            f"{len(other.truth):,}. {hint}"
        )
    apart = float(np.linalg.norm(first.truth - other.truth, axis=-1).max())
    if not apart <= _SAME_MM:
        raise DataError(
            f"{first.run} and {other.run} were evaluated on different frames of {_where(first)}: their annotations are "
            f"up to {apart:,.1f} mm apart. {hint}"
        )


def _fingertips(joints: tuple[str, ...]) -> tuple[int, ...]:
    known = next((protocol.fingertips for protocol in PROTOCOLS.values() if protocol.joints == joints), None)
    return tuple(k for k, name in enumerate(joints) if name.endswith("_tip")) if known is None else known


def _labels(found: RunPredictions) -> LabelSet:
    """Return a run's annotation. A run stores only the number of frames per subject. Subjects follow each other, so we
    choose the order that reproduces the run's mean error for each subject."""
    people = found.document["subjects"]
    names = list(people)
    counts = {name: int(figures["frames"]) for name, figures in people.items()}
    if not names or len(names) > _MOST_SUBJECTS or sum(counts.values()) != len(found.truth):
        return LabelSet(found.truth, None, {})
    errors = np.linalg.norm(found.joints - found.truth, axis=-1).mean(axis=1)
    for order in permutations(range(len(names))):
        subject = np.repeat(order, [counts[names[number]] for number in order])
        means = {name: errors[subject == number].mean() for number, name in enumerate(names)}
        if all(abs(means[name] - float(people[name]["mean_error_mm"])) <= _SAME_MEAN_MM for name in names):
            return LabelSet(found.truth, subject, dict(enumerate(names)))
    return LabelSet(found.truth, None, {})
