"""Fit the weights in `hpf_core/inference/explained.py` for the presence of a hand, and for its side.

    python tools/fit_confidence.py CAPTURE... [--split validation]

Each CAPTURE is a simulated one of `hpf data simulate --views 1`: a plain one, and one each with `--scene table`,
`second_person`, `object` and `empty`. Every candidate of an image is estimated as each side, upright and upside down,
around its place and again around the palm that was found there. Two logistic regressions follow. The first compares the
annotated hand with everything that lies 80 mm or more from it, the second the right with the wrong side of the same
crops. Every second image is mirrored, so that no side is favoured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from hpf_core.data.crop import crop
from hpf_core.data.layouts import nyu
from hpf_core.frames import State
from hpf_core.inference import finder
from hpf_core.inference.explained import explain
from hpf_core.inference.hand_network import HandNetwork, load_network
from hpf_core.inference.search import Shown

NAMES = ("fit_mm", "iou", "agree", "spread_mm", "bones_mm")
WAYS = [Shown(side, turned) for turned in (False, True) for side in ("right", "left")]
NEAR_MM, FAR_MM, PENALTY = 40.0, 80.0, 0.003


def looks(network: HandNetwork, split: Path) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """For each look at a candidate: what its four ways explain (4, 5), the distances (4,) mm of their palms from the
    annotated one (infinite where there is none), and which of the ways is right."""
    palms = nyu.read_annotation(split).xyz[0, :, nyu.PALM_CENTRE]
    for frame, palm in enumerate(palms):
        depth, camera, sign = nyu.read_depth(nyu.image_path(split, 0, frame)), nyu.CAMERA, 1.0
        depth = np.where(nyu.returned(depth), depth, 0).astype(np.uint16)
        if frame % 2:
            depth, camera, sign = np.ascontiguousarray(depth[:, ::-1]), camera.mirrored(), -1.0
        for candidate in finder.find(depth, depth > 0, camera):
            centre = candidate.centre
            for _ in range(2):
                made = crop(depth, depth > 0, camera, centre, network.grid, network.ray_aligned)
                if not (made.state == State.HIT).any() or centre[2] < 10:
                    break
                values, found, best = _shown(network, made.depth, made.state)
                found = found @ made.to_camera[:3, :3].T + made.to_camera[:3, 3]
                away = np.linalg.norm(found - palm * [sign, 1, 1], axis=1)
                yield values, np.where(np.isfinite(away), away, np.inf), 0 if sign > 0 else 1
                centre = found[best]


def _shown(network: HandNetwork, depth: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What the four ways of showing a crop explain (4, 5), their palms (4, 3) mm in it, and the surest of them."""
    maps = torch.stack([way.apply(torch.from_numpy(depth)) for way in WAYS])
    states = torch.stack([way.apply(torch.from_numpy(state)) for way in WAYS])
    estimate = network.estimate(maps)
    said = explain(network.hand, network.renderer, network.grid, maps, states, estimate.points, estimate.variance)
    values = torch.stack([getattr(said, name) for name in NAMES], dim=1).numpy()
    signs = np.array([[*way.signs, 1] for way in WAYS])
    return values, estimate.points[:, network.hand.palm_centre].numpy() * signs, int(said.log_odds().argmax())


def regress(values: Tensor, label: Tensor, constant: bool) -> np.ndarray:
    """Weights of a logistic regression (K + 1,), the constant last; both classes count alike."""
    scale = values.square().mean(dim=0).sqrt()
    given = torch.cat([values / scale, torch.full((len(values), 1), float(constant))], dim=1).double()
    share = torch.where(label > 0, 0.5 / (label > 0).double().mean(), 0.5 / (label < 0).double().mean().clamp(min=1e-9))
    weights = torch.zeros(given.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (share * softplus(-label * (given @ weights))).mean() + PENALTY * weights[:-1].square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach().numpy() / np.append(scale.numpy(), 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, nargs="+", help="folders of simulated captures")
    parser.add_argument("--split", default="validation")
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network()
    hands, others, sides = [], [], []
    for capture in given.captures:
        for values, away, right in looks(network, capture / given.split):
            if away[right] < NEAR_MM:
                hands.append(values[right])
                sides.append(values[right] - values[1 - right])
            others.extend(values[k] for k in range(len(WAYS)) if away[k] >= FAR_MM)
    print(f"{len(hands):,} looks at hands, {len(others):,} at other things")
    chosen = [NAMES.index(name) for name in ("agree", "iou", "bones_mm")]
    both = torch.tensor(np.array(hands + others, dtype=np.float64)[:, chosen])
    label = torch.tensor([1.0] * len(hands) + [-1.0] * len(others), dtype=torch.float64)
    found = regress(both, label, constant=True)
    print("hand or none: agree {:.1f}, iou {:.1f}, bones_mm {:.2f}, constant {:.1f}".format(*found))
    chosen = [NAMES.index(name) for name in ("fit_mm", "iou", "agree", "spread_mm")]
    difference = torch.tensor(np.array(sides, dtype=np.float64)[:, chosen])
    found = regress(difference, torch.ones(len(sides), dtype=torch.float64), constant=False)
    print("right or wrong side: fit_mm {:.2f}, iou {:.1f}, agree {:.1f}, spread_mm {:.2f}".format(*found))


if __name__ == "__main__":
    main()
