"""Crops that follow the network: re-centring on its own estimate of the palm's centre, without labels.

Crops start at the dataset's own centres, found without labels. The following steps repeat a few times. The network
estimates the palm's centre in each view. The fusion of the views gives one place in the rig's frame. The crops are cut
around this place. The result depends only on the frames and the weights, and its file has the hash of those weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hpf_core.data.hand_centre import fuse
from hpf_core.errors import DataError
from hpf_core.files.cache import bytes_key
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import refined_points
from hpf_core.progress import Progress, no_progress
from hpf_core.runs import checkpoint as files

ROUNDS = 3
_STILL_MM = 2.0  # smaller moves make no difference to the network: half a pixel of 64 is 2.3 mm
_FRAMES = 32  # per batch; fixed, so that the same weights give the same centres in training and in evaluation


@dataclass(frozen=True)
class Centres:
    """Centres of a split's crops.

    Attributes:
        places: (F, 3) float64 mm in the rig's frame; NaN for frames outside of the request.
        weights: hash of the network's weights.
    """

    places: np.ndarray
    weights: str

    def tensors(self) -> dict[str, torch.Tensor]:
        """Content of a file of centres."""
        return {"centres": torch.from_numpy(self.places)}


def is_asked_for(parts: Parts) -> bool:
    """Whether the recipe's dataset requests refined crops."""
    return parts.real is not None and parts.real.recentres


def weights_key(parts: Parts) -> str:
    """A hash of the network's current weights."""
    state = parts.backbone.state_dict()
    return bytes_key(b"".join(name.encode() + state[name].cpu().numpy().tobytes() for name in sorted(state)))


def refine(
    parts: Parts,
    split: str,
    device: torch.device,
    limit: int | None = None,
    rounds: int = ROUNDS,
    progress: Progress = no_progress,
) -> Centres:
    """Move a split's crops to the network's estimates, starting at the dataset's initial centres.

    Args:
        parts: the built recipe; the network is left in evaluation mode.
        split: the dataset's split.
        device: device of the network.
        limit: only the first `limit` frames; None for all.
        rounds: upper bound of the rounds; they end when half of the centres move by less than 2 mm.
        progress: receives the number of frames.
    """
    assert parts.real is not None
    total = parts.real.splits()[split]
    frames = min(total, limit or total)
    places = np.full((total, 3), np.nan)
    parts.real.recentre(split, None)
    for done in range(rounds):
        found = _palms(parts, split, frames, device, progress, f"refining centres on {split}, round {done + 1}")
        step = np.linalg.norm(found - places[:frames], axis=-1)
        places[:frames] = found
        parts.real.recentre(split, places)
        if np.isfinite(step).any() and np.nanmedian(step) < _STILL_MM:
            break
    return Centres(places, weights_key(parts))


def _palms(parts: Parts, split: str, frames: int, device: torch.device, progress: Progress, what: str) -> np.ndarray:
    """(F, 3) float64 mm, the palm's centre in the rig's frame, fused over the views of each frame."""
    assert parts.real is not None
    parts.backbone.eval()
    found = []
    with torch.no_grad():
        for first in range(0, frames, _FRAMES):
            numbers = np.arange(first, min(first + _FRAMES, frames))
            batch = parts.real.frames(split, numbers)
            rows = batch.views.rows
            depth = batch.depth.flatten(0, 1)[rows].to(device)
            points = refined_points(parts.backbone, parts.refiners, depth)[-1]
            palm = points[:, parts.hand.palm_centre].cpu().double()
            said = torch.full((len(numbers) * batch.views.views, 3), torch.nan, dtype=torch.float64)
            said[rows] = apply_rigid(batch.to_rig.flatten(0, 1)[rows].double(), palm[:, None])[:, 0]
            found.append(fuse(said.view(len(numbers), -1, 3).numpy()))
            progress(first + len(numbers), frames, what)
    return np.concatenate(found)


def keep(path: Path, centres: Centres, stage: str, split: str) -> None:
    """Write centres to a file, for a resumed run.

    Raises:
        RunError: the file isn't writable.
    """
    about = {"kind": "centres", "stage": stage, "split": split, "weights": centres.weights}
    files.save(path, centres.tensors(), about)


def put_back(parts: Parts, split: str, path: Path) -> bool:
    """Move a split's crops to a file's centres. False, and no move, for another split or other weights.

    A missing or damaged file means that the centres are computed again, with the same result.
    """
    assert parts.real is not None
    try:
        kept = files.read(path)
    except DataError:
        return False
    places = kept.tensors.get("centres")
    wanted = {"split": split, "weights": weights_key(parts)}
    if places is None or places.dtype != torch.float64 or places.shape != (parts.real.splits()[split], 3):
        return False
    if any(kept.about.get(name) != value for name, value in wanted.items()):
        return False
    parts.real.recentre(split, places.double().numpy())
    return True
