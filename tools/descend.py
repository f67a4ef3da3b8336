"""Direct descent on the points of a capture's frames, without a network. It shows where the terms alone lead.

    python tools/descend.py                                  # from the network's estimates
    python tools/descend.py --start truth --only m2d,d2m     # how far these two move the true points
    python tools/descend.py --parts true                     # d2m knows which finger each pixel shows
    python tools/descend.py --bones true                     # bone_length knows each subject's lengths

From the network's estimates it ends in the nearest minimum; from the true points, in the terms' own error. It needs a
simulated capture, whose annotation gives 36 of the points. The five others start at the palm.

Two oracles measure the largest possible gain of a term before we build it:

- `--parts true`: d2m compares each point of a depth map with the spheres of one part alone, the palm or a finger. It is
  the part of the nearest true sphere. `--wrong 0.2` gives a fifth of the points another part at random. With `--forearm
  true`, m2d and d2m also know where the hand ends: at the true wrist, not at the estimated one.
- `--bones true`: bone_length allows each rigid bone its true length alone, the median over the subject's frames, at
  `--stiff` times its usual weight.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpf_core.data.layouts import nyu
from hpf_core.files.cache import cache_folder
from hpf_core.frames import Estimate, RealFrames
from hpf_core.geometry.rigid import apply_rigid, invert_rigid
from hpf_core.inference import radius_scale
from hpf_core.inference.build import Parts, build_parts, load_init
from hpf_core.inference.estimate import last_estimate
from hpf_core.interfaces import SURFACE_BUDGET, Prior, SurfaceDistance, TermValue
from hpf_core.objective.energy import Energy
from hpf_core.objective.fit import Fit
from hpf_core.objective.wrist import beyond_wrist
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load

ANNOTATED, PALM = 36, slice(30, 36)  # of the 41 points; among them those of the palm
WRIST, PALM_CENTRE = slice(30, 32), 32
RIGID_MM = 1.0  # a bone is rigid where its true length varies less over a subject's frames (standard deviation)
TIPS_AND_PIPS = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 10)]  # of the 14 joints, little finger to thumb


def truth_of(parts: Parts, frames: RealFrames, split: str) -> Tensor:
    """(N, 36, 3) mm, the annotated points in each view's crop."""
    assert parts.real is not None
    assert not parts.real.left_out(split), "frames that are left out shift the annotation's numbers"
    xyz = nyu.read_annotation(parts.real.source.root / split).xyz[0][frames.index.numpy()]  # type: ignore[attr-defined]
    rig = torch.from_numpy(np.ascontiguousarray(xyz)).float()
    batch, views = frames.present.shape
    crops = invert_rigid(frames.to_rig).flatten(0, 1)
    return apply_rigid(crops, rig[:, None].expand(batch, views, *rig.shape[1:]).flatten(0, 1))


# ------------------------------------------------------------------------------------------------------------ oracles


class PartOracle:
    """Knows which part of the hand each point of a depth map belongs to.

    Args:
        parts: the built recipe.
        truth: (N, J, 3) mm, the true points in each view's crop.
        wrong: share of the points that get another part, drawn evenly.
        forearm: whether the forearm begins at the true wrist, not at the estimated one.
    """

    def __init__(self, parts: Parts, truth: Tensor, wrong: float, forearm: bool) -> None:
        names = list(dict.fromkeys(parts.hand.parts))
        self.part = torch.tensor([names.index(name) for name in parts.hand.parts])  # (J,) of each sphere
        self.truth, self.forearm = truth, forearm
        self._wrong, self._kinds = wrong, len(names)
        self._labels: Tensor | None = None

    def labels(self, fit: Fit, queries: Tensor) -> Tensor:
        """(N, Q) int64, the part of the true sphere nearest to each of `queries` (N, Q, 3) mm. The frames stay."""
        if self._labels is None:
            rows = torch.arange(len(queries))
            label = self.part[to_spheres(fit, self.truth, queries, rows).argmin(dim=-1)]
            drawn = torch.Generator().manual_seed(0)
            other = (label + torch.randint(1, self._kinds, label.shape, generator=drawn)) % self._kinds
            self._labels = torch.where(torch.rand(label.shape, generator=drawn) < self._wrong, other, label)
        return self._labels


class PartFit(Fit):
    """A fit whose distances compare each point of a depth map with the spheres of the point's own part."""

    oracle: PartOracle

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm to the nearest sphere of the point's part; (N, Q) without `cross`."""
        (queries, _), target = self.surface_points(budget), self.pair_target(cross)
        distance = to_spheres(self, self.points_across(cross), queries[target], target)
        other = self.oracle.labels(self, queries)[target][:, :, None] != self.oracle.part
        return SurfaceDistance(*distance.masked_fill(other, torch.inf).min(dim=-1))

    def forearm(self, cross: bool, points: Tensor, valid: Tensor, margin_mm: float = 0.0) -> Tensor:
        """(P, Q) bool, which points (N, Q, 3) mm lie beyond the wrist; (N, Q) without `cross`."""
        if not self.oracle.forearm:
            return super().forearm(cross, points, valid, margin_mm)
        target = self.pair_target(cross)
        return beyond_wrist(self.hand, self.oracle.truth[target], points, valid, target, margin_mm)


def to_spheres(fit: Fit, points: Tensor, queries: Tensor, rows: Tensor) -> Tensor:
    """(P, Q, J) mm, the distance of queries (P, Q, 3) to the surface of each sphere around points (P, J, 3).

    `rows` (P,): the depth map that the queries of each pair come from.
    """
    radii = fit.hand.radii.expand(len(points), -1)
    scale = fit.need_frames().radius_scale
    if scale is not None:
        radii = radii * scale[fit.views.frame[rows], None]
    # Axis by axis: (P, Q, J, 3) at once would take three times the memory.
    square = torch.zeros(*queries.shape[:2], points.shape[1])
    for axis in range(3):
        square = square + (queries[..., axis, None] - points[:, None, :, axis]).square()
    return (square.clamp_min(1e-6).sqrt() - radii[:, None]).abs()


class TrueBones(Prior):
    """bone_length, with each subject's true lengths as the only ones that cost nothing.

    Args:
        parts: the built recipe.
        truth: (N, J, 3) mm, the true points of each view.
        subject: (N,) int64, the recording of each view.
        stiff: factor on the loss.
    """

    unit = "mm^2"

    def __init__(self, parts: Parts, truth: Tensor, subject: Tensor, stiff: float) -> None:
        super().__init__()
        self._bones, self._stiff = parts.hand.bones(), stiff
        length = self._lengths(truth)
        shortest, longest = (end.expand(len(truth), -1).clone() for end in self._bones[2:])
        rigid = (self._bones.first < ANNOTATED) & (self._bones.second < ANNOTATED)
        for recording in subject.unique():
            rigid = rigid & (length[subject == recording].std(dim=0) < RIGID_MM)
        for recording in subject.unique():
            own = subject == recording
            median = length[own].median(dim=0).values
            for end in (shortest, longest):
                end[own] = torch.where(rigid, median, end[own])
        self._range = shortest, longest
        self.count = int(rigid.sum())

    def _lengths(self, points: Tensor) -> Tensor:
        return (points[:, self._bones.first] - points[:, self._bones.second]).norm(dim=-1)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm^2 of points (N, J, 3) mm."""
        length, (shortest, longest) = self._lengths(points), self._range
        beyond = (length - longest).clamp(min=0).square() + (shortest - length).clamp(min=0).square()
        values = self._stiff * beyond.sum(-1)
        return TermValue(values, torch.ones_like(values))


# ------------------------------------------------------------------------------------------------------------ descent


def descend(
    parts: Parts,
    energy: Energy,
    frames: RealFrames,
    start: Tensor,
    steps: int,
    rate: float,
    oracle: PartOracle | None = None,
) -> Tensor:
    """(N, J, 3) mm, the points after `steps` of Adam with a rate (mm) that falls to 0, from points `start`."""
    points = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([points], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        kind = Fit if oracle is None else PartFit
        fit = kind(hand=parts.hand, renderer=parts.renderer, grid=parts.grid, frames=frames, real=Estimate(points))
        if isinstance(fit, PartFit) and oracle is not None:
            fit.oracle = oracle
        energy([fit]).total.backward()
        optimiser.step()
        schedule.step()
    return points.detach()


def report(
    name: str, points: Tensor, truth: Tensor, subject: Tensor, joints: list[int], names: tuple[str, ...]
) -> None:
    """Print errors over the joints, and how far tips, PIP joints and the wrist slide along finger and arm."""
    gap = (points[:, :ANNOTATED] - truth)[:, joints]
    tips = [tip for tip, _ in TIPS_AND_PIPS]
    tip_rows = [joints[tip] for tip in tips]
    apart = torch.cdist(points[:, tip_rows], truth[:, tip_rows])
    swapped = (apart.argmin(dim=-1) != torch.arange(len(tips))).float()
    print(
        f"{name}: mean error {gap.norm(dim=-1).mean():.2f} mm, towards the far side {gap[..., 2].mean():+.2f} mm, "
        f"tips {gap[:, tips].norm(dim=-1).mean():.2f} mm, swapped fingers {swapped.mean():.1%} "
        f"(in {swapped.any(dim=1).float().mean():.1%} of the images)"
    )
    for tip, pip in TIPS_AND_PIPS:
        finger = torch.nn.functional.normalize(truth[:, joints[tip]] - truth[:, joints[pip]], dim=-1)
        along = [(gap[:, joint] * finger).sum(-1).mean().item() for joint in (tip, pip)]
        print(f"  {names[tip]} {along[0]:+.1f} mm along the finger, {names[pip]} {along[1]:+.1f}")
    arm = torch.nn.functional.normalize(truth[:, WRIST].mean(1) - truth[:, PALM_CENTRE], dim=-1)
    wrist = (points[:, :ANNOTATED] - truth)[:, WRIST]
    for recording in subject.unique():
        own = subject == recording
        slide = (wrist[own].mean(1) * arm[own]).sum(-1)
        print(
            f"  subject {recording}: wrist {slide.mean():+.1f} mm along the arm (its middle: {slide.median():+.1f}), "
            f"{wrist[own].norm(dim=-1).mean():.1f} mm off"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Direct descent on points.")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/quickstart.yaml"))
    parser.add_argument("--split", default="validation")
    parser.add_argument("--frames", type=int, default=24, help="spread evenly over the split")
    parser.add_argument("--start", choices=("network", "truth"), default="network")
    parser.add_argument("--only", default="", help="terms, with commas; the recipe's but supervised, if none")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.5, help="mm")
    parser.add_argument("--parts", choices=("none", "true"), default="none", help="whether d2m knows each pixel's part")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of the points whose part is wrong")
    parser.add_argument(
        "--forearm",
        choices=("estimate", "true"),
        default="estimate",
        help="with --parts true: whose wrist ends the hand",
    )
    parser.add_argument("--bones", choices=("range", "true"), default="range", help="lengths that bone_length allows")
    parser.add_argument("--stiff", type=float, default=1.0, help="factor on bone_length with --bones true")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="KEY=VALUE of the recipe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    host = PluginHost.load()
    sets, stages = ["data.real.centre=annotated", *options.sets], ["fit"]
    every = [term.name for term in load(options.recipe, host=host, sets=sets, stages=stages).stages[0].terms]
    kept = options.only.split(",") if options.only else every
    without = [name for name in every if name not in kept or name == "supervised"]
    resolved = load(options.recipe, host=host, sets=sets, stages=stages, without_terms=without)
    parts = build_parts(resolved, cache_folder())
    parts.prepare()
    load_init(resolved, parts)
    assert parts.real is not None
    count = parts.real.splits()[options.split]
    numbers = np.unique(np.linspace(0, count - 1, min(options.frames, count)).round().astype(np.int64))
    frames = parts.real.frames(options.split, numbers)
    if parts.renderer.measures_radius_scale:
        scale = radius_scale.measure(parts, options.split, torch.device("cpu"))
        frames = replace(frames, radius_scale=scale[frames.sequence])
    parts.backbone.eval()
    with torch.no_grad():
        estimate = last_estimate(parts.backbone, frames.depth.flatten(0, 1)[frames.views.rows]).points
    truth = truth_of(parts, frames, options.split)[frames.views.rows]
    beside = (truth - estimate[:, :ANNOTATED])[:, PALM].mean(1, keepdim=True)
    true_points = torch.cat([truth, estimate[:, ANNOTATED:] + beside], dim=1)
    start = true_points if options.start == "truth" else estimate
    subject = frames.sequence[frames.views.frame]
    names = parts.hand.annotations["nyu14"][0]
    joints = [parts.hand.names.index(name) for name in names]
    plan = resolved.stages[0]
    print(f"{len(numbers)} frames of {options.split}, terms {', '.join(term.name for term in plan.terms)}")
    energy = parts.energy(plan)
    if options.bones == "true":
        bones = TrueBones(parts, true_points, subject, options.stiff)
        energy.terms[energy.names.index("bone_length")] = bones
        print(f"{bones.count} rigid bones have their true length")
    oracle = None
    if options.parts == "true":
        oracle = PartOracle(parts, true_points, options.wrong, options.forearm == "true")
    report(f"start ({options.start})", start, truth, subject, joints, names)
    end = descend(parts, energy, frames, start, options.steps, options.rate, oracle)
    report("end", end, truth, subject, joints, names)


if __name__ == "__main__":
    main()
