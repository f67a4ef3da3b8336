"""Direct descent on the points of a capture's frames, without a network: what the terms themselves lead to.

    python tools/descend.py                                  # from the network's estimates
    python tools/descend.py --start truth --only m2d,d2m     # how far from the truth these two draw

From the network's estimates it ends in the nearest minimum; from the true points, in the terms' own error. It needs a
simulated capture, whose annotation gives 36 of the points. The five others begin where the palm is.
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
from hpf_core.inference import thickness
from hpf_core.inference.build import Parts, build_parts, load_init
from hpf_core.objective.fit import Fit
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved, load

ANNOTATED, PALM = 36, slice(30, 36)  # of the 41 points; among them those of the palm
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


def descend(parts: Parts, resolved: Resolved, frames: RealFrames, start: Tensor, steps: int, rate: float) -> Tensor:
    """(N, J, 3) mm, the points after `steps` of Adam with a rate (mm) that falls to 0, from points `start`."""
    energy = parts.energy(resolved.stages[0])
    points = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([points], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        fit = Fit(hand=parts.hand, renderer=parts.renderer, grid=parts.grid, frames=frames, real=Estimate(points))
        energy([fit]).total.backward()
        optimiser.step()
        schedule.step()
    return points.detach()


def report(name: str, found: Tensor, truth: Tensor, joints: list[int], names: tuple[str, ...]) -> None:
    """Errors, and how far the fingers' tips and PIP joints lie along their finger from where they should."""
    gap = (found[:, :ANNOTATED] - truth)[:, joints]
    print(f"{name}: mean error {gap.norm(dim=-1).mean():.2f} mm, towards the far side {gap[..., 2].mean():+.2f} mm")
    for tip, pip in TIPS_AND_PIPS:
        finger = torch.nn.functional.normalize(truth[:, joints[tip]] - truth[:, joints[pip]], dim=-1)
        along = [(gap[:, joint] * finger).sum(-1).mean().item() for joint in (tip, pip)]
        print(f"  {names[tip]} {along[0]:+.1f} mm along the finger, {names[pip]} {along[1]:+.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Direct descent on points.")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/quickstart.yaml"))
    parser.add_argument("--split", default="validation")
    parser.add_argument("--frames", type=int, default=24, help="spread evenly over the split")
    parser.add_argument("--start", choices=("network", "truth"), default="network")
    parser.add_argument("--only", default="", help="terms, with commas; the recipe's but supervised, if none")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.5, help="mm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    host = PluginHost.load()
    sets, stages = ["data.real.centre=annotated"], ["fit"]
    every = [term.name for term in load(options.recipe, host=host, stages=stages).stages[0].terms]
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
    if parts.renderer.measures_thickness:
        factors = thickness.find(parts, options.split, torch.device("cpu"))
        frames = replace(frames, thickness=factors[frames.sequence])
    parts.backbone.eval()
    with torch.no_grad():
        seen = parts.backbone(frames.depth.flatten(0, 1)[frames.views.rows])[-1].points
    truth = truth_of(parts, frames, options.split)[frames.views.rows]
    start = seen
    if options.start == "truth":
        beside = (truth - seen[:, :ANNOTATED])[:, PALM].mean(1, keepdim=True)
        start = torch.cat([truth, seen[:, ANNOTATED:] + beside], dim=1)
    names = parts.hand.annotations["nyu14"][0]
    joints = [parts.hand.names.index(name) for name in names]
    print(
        f"{len(numbers)} frames of {options.split}, terms {', '.join(term.name for term in resolved.stages[0].terms)}"
    )
    report(f"start ({options.start})", start, truth, joints, names)
    report("end", descend(parts, resolved, frames, start, options.steps, options.rate), truth, joints, names)


if __name__ == "__main__":
    main()
