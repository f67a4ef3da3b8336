"""Synthetic samples outside of all training, and a network's error on them, without captures and labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hpf_core.evaluation.metrics import Measured, measure
from hpf_core.frames import SyntheticSamples
from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import refined_points
from hpf_core.inference.evaluate import Evaluated, joined, refined
from hpf_core.progress import Progress, no_progress
from hpf_core.random_streams import generator

SPLIT = "unseen"
CENTRE = "jittered"
"""Centre of synthetic samples' crops: around the true palm, by the dataset's options."""

SAMPLES = 2000
"""Number of measured samples if a recipe gives none."""

_SEED = 0  # the same samples in every run, with any seed: results of runs are comparable
_BATCH = 64


def samples(parts: Parts, device: torch.device, count: int) -> Iterator[SyntheticSamples]:
    """The first `count` unseen samples in batches; they don't depend on `count`."""
    assert parts.synthetic is not None, "the recipe was checked: it has a synthetic dataset"
    for first in range(0, count, _BATCH):
        batch = parts.synthetic.sample(_BATCH, generator(device, _SEED, "unseen samples", first))
        yield batch.take(slice(0, min(_BATCH, count - first)))


def evaluate(parts: Parts, device: torch.device, count: int = SAMPLES, progress: Progress = no_progress) -> Evaluated:
    """Predict unseen samples and compare the result with the ground truth; joints are in the crops' frames.

    The network keeps its mode, training or evaluation.
    """
    assert parts.synthetic is not None
    training = parts.backbone.training
    parts.backbone.eval()
    batches: list[list[np.ndarray]] = []
    truth = []
    with torch.no_grad():
        for batch in samples(parts, device, count):
            found = refined_points(parts.backbone, parts.refiners, batch.depth)
            batches.append([each.float().cpu().numpy() for each in found])
            truth.append(batch.points.float().cpu().numpy())
            progress(sum(map(len, truth)), count, "evaluating on unseen synthetic samples")
    parts.backbone.train(training)
    names, matrix = _scored(parts)
    points, actual = joined(batches), np.concatenate(truth).astype(np.float64)
    tips = [k for k, row in enumerate(matrix) if row.argmax() in parts.hand.fingertips and row.max() > 0.5]
    true_joints = np.einsum("kj,fjc->fkc", matrix, actual)

    def measured(joints: np.ndarray) -> Measured:
        return measure(joints, true_joints, joint_names=names, fingertips=tips)

    def joints_of(each: np.ndarray) -> np.ndarray:
        return np.einsum("kj,fjc->fkc", matrix, each.astype(np.float64))

    joints = joints_of(points[-1])
    errors = measured(joints)
    steps = refined(parts, points, errors, lambda each: measured(joints_of(each)))
    return Evaluated(points[-1], joints, true_joints, errors, refined=steps)


def _scored(parts: Parts) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the scored joints and the float64 matrix from points to joints: the dataset's annotation if given, else
    all points."""
    assert parts.synthetic is not None
    named = parts.synthetic.annotation
    if named is None or named not in parts.hand.annotations:
        return tuple(parts.hand.names), np.eye(len(parts.hand.names))
    names, matrix = parts.hand.annotations[named]
    return tuple(names), np.asarray(matrix, dtype=np.float64)
