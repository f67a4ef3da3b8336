"""Clauses for transforms: what the step takes for granted of them when it spreads a batch over processes."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.testing import scene
from hpf_core.testing.clause import clause, need, same
from hpf_core.testing.subject import Subject

_SEEDS = range(16)
"""Enough for a transform that leaves most batches as they are."""


@clause("applies to", "it says which images it changes, and leaves labelled points where they are", "transform")
def applies_to(subject: Subject) -> None:
    transform = subject.built.plugin
    images = transform.applies_to
    right = isinstance(images, frozenset) and images and images <= {"real", "synthetic"}
    need(right, f"applies_to is {images!r}: a frozenset of 'real', 'synthetic' or both")
    if "synthetic" not in images:
        return
    points = subject.inputs["points"]
    for seed in _SEEDS:
        gap = float((_outcome(subject, subject.inputs["depth"], points, seed)["points"] - points).abs().max())
        need(
            gap == 0,
            f"it moves points by {gap:.3g} mm, and applies to synthetic images, whose labels stay where they are",
        )


@clause("draws", "its draws follow the generator that it is given", "transform")
def draws(subject: Subject) -> None:
    depth, points = subject.inputs["depth"], subject.inputs["points"]
    first = _outcome(subject, depth, points, _SEEDS[0])
    differs = same(_outcome(subject, depth, points, _SEEDS[0]), first, 0, 0)
    need(not differs, f"the same generator gives other images or ways back: {differs}")
    if any(same(_outcome(subject, depth, points, seed), first, 0, 0) for seed in _SEEDS[1:]):
        return
    # One that draws nothing treats images alike wherever they stand; numbers of its own differ from place to place.
    alike = _outcome(subject, depth[:1].repeat(len(depth), 1, 1), points[:1].repeat(len(points), 1, 1), _SEEDS[0])
    differs = same({name: value.roll(1, 0) for name, value in alike.items()}, alike, 1e-5, 1e-3)
    need(not differs, f"all generators give the same, and yet of equal images {differs}: the generator isn't used")


@clause(
    "images apart",
    "an image, and the way back of its points, follow from itself and what is drawn for its place in the batch, "
    "whatever the other images show",
    "transform",
)
def images_apart(subject: Subject) -> None:
    depth, points = subject.inputs["depth"], subject.inputs["points"]
    for seed in _SEEDS:
        together = _outcome(subject, depth, points, seed)
        for row in range(len(depth)):
            emptied, gone = torch.full_like(depth, scene.GRID.far_mm), torch.zeros_like(points)
            emptied[row], gone[row] = depth[row], points[row]
            alone = _outcome(subject, emptied, gone, seed)
            differs = same({n: v[row] for n, v in alone.items()}, {n: v[row] for n, v in together.items()}, 1e-5, 1e-3)
            need(
                not differs,
                f"with the other images empty, of image {row} {differs}: processes that share a batch would disagree",
            )


def _outcome(subject: Subject, depth: Tensor, points: Tensor, seed: int) -> dict[str, Tensor]:
    """The depth maps (N, H, W) changed, and the points (N, J, 3) taken back."""
    with torch.no_grad():
        seen, back = subject.built.plugin(depth, scene.generator(seed))
        return {"depth": seen, "points": back(points)}


CLAUSES = (applies_to, draws, images_apart)
