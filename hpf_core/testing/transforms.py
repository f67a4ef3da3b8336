"""Clauses for transforms: assumptions of the step when processes share a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.testing import scene
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import NotApplicable, need
from hpf_core.testing.subject import Subject
from hpf_core.testing.trees import same

_WAY_BACK_MM = 2.0
"""Median distance from the surface that noise may cause. Other sizes of pixels, or larger changes, cause more."""
_SEEDS = range(16)
"""Enough for a transform that leaves most batches unchanged."""


@clause("applies to", "it declares which images it changes, and it does not move labelled points", "transform")
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


@clause("draws", "its random numbers come from the given generator", "transform")
def draws(subject: Subject) -> None:
    depth, points = subject.inputs["depth"], subject.inputs["points"]
    first = _outcome(subject, depth, points, _SEEDS[0])
    differs = same(_outcome(subject, depth, points, _SEEDS[0]), first, 0, 0)
    need(not differs, f"the same generator gives other images or ways back: {differs}")
    if any(same(_outcome(subject, depth, points, seed), first, 0, 0) for seed in _SEEDS[1:]):
        return
    # A transform without draws treats images alike in any position; random numbers differ between positions.
    alike = _outcome(subject, depth[:1].repeat(len(depth), 1, 1), points[:1].repeat(len(points), 1, 1), _SEEDS[0])
    differs = same({name: value.roll(1, 0) for name, value in alike.items()}, alike, 1e-5, 1e-3)
    need(not differs, f"all generators give the same result, but for equal images {differs}: the generator isn't used")


@clause(
    "images apart",
    "an image's result depends on this image and on the random numbers of its place in the batch, not on other images",
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


@clause("way back", "it maps points in its images back to their places in the given images", "transform")
def way_back(subject: Subject) -> None:
    """Surface places of changed images, mapped back as points, must lie on the surface of the rendered hand."""
    built, depth = subject.built, subject.inputs["depth"]
    if "synthetic" in built.plugin.applies_to:
        raise NotApplicable("it leaves points where they are")
    hand = scene.hands(built.hand, len(depth), seed=scene.SYNTHETIC_SEED)
    before, after = [], []
    for seed in _SEEDS:
        with torch.no_grad():
            seen, back = built.plugin(depth, scene.generator(seed))
            shown = _shown(seen, hand.shape[1])
            before.append(built.renderer.distance(hand, shown).distance.nanmedian(dim=1).values)
            after.append(built.renderer.distance(hand, back(shown)).distance.nanmedian(dim=1).values)
    off, taken = (float(torch.stack(found).nanmean()) for found in (before, after))
    need(
        taken <= _WAY_BACK_MM or taken <= 0.7 * off,
        f"what its images show lies {taken:.1f} mm off the hand's surface when it is taken back, {off:.1f} mm before: "
        "the map back doesn't undo the change of the images",
    )


def _shown(depth: Tensor, count: int) -> Tensor:
    """(N, count, 3) mm, places on the visible surface of maps (N, H, W); NaN for a map without one."""
    axis = scene.GRID.axis().to(depth)
    found = depth.new_full((len(depth), count, 3), torch.nan)
    for image, places in zip(depth, found, strict=True):
        row, column = (image < scene.GRID.far_mm).nonzero().unbind(-1)
        if len(row):
            some = torch.linspace(0, len(row) - 1, count).long()
            row, column = row[some], column[some]
            places.copy_(torch.stack([axis[column], axis[row], image[row, column]], dim=-1))
    return found


def _outcome(subject: Subject, depth: Tensor, points: Tensor, seed: int) -> dict[str, Tensor]:
    """The changed depth maps (N, H, W), and the points (N, J, 3) mapped back."""
    with torch.no_grad():
        seen, back = subject.built.plugin(depth, scene.generator(seed))
        return {"depth": seen, "points": back(points)}


CLAUSES = (applies_to, draws, images_apart, way_back)
