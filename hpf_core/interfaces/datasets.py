"""Datasets: real frames of several views, and synthetic samples."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hpf_core.errors import DataError
from hpf_core.frames import Labels, RealFrames, SyntheticSamples
from hpf_core.progress import Progress, no_progress


@dataclass(frozen=True)
class EvaluationProtocol:
    """Evaluation protocol of a dataset.

    Attributes:
        annotation: key of `HandModel.annotations` with the scored joints; None for a dataset without labels.
        view: the scored view.
        fingertips: indices of the scored joints that are fingertips.
        centre: method of centring the crops: "annotated", "mass" or "refined".
    """

    annotation: str | None
    view: int
    fingertips: tuple[int, ...]
    centre: str


class RealDataset(abc.ABC):
    """Multi-view depth maps. Labels, if any, are accessible only through `labels`, which only evaluation calls.

    Views may have cameras of different sizes and focal lengths. Crops are orthographic, so training sees only the grid,
    and `RealFrames.to_rig` gives the pose of each crop.
    """

    protocol: EvaluationProtocol
    simulated: bool = False
    """True for simulated data; every report says so."""
    recentres: bool = False
    """True if the dataset supports and uses `recentre`: crops follow the network's own estimate of the palm's
    centre."""

    @abc.abstractmethod
    def prepare(self, progress: Progress = no_progress) -> None:
        """Make or check the cache. Repeated calls are free."""

    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Number of frames of each split."""

    @abc.abstractmethod
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        """The frames with these numbers, on the host."""

    def labels(self, split: str) -> Labels | None:
        """The annotation of all of a split's frames, only for evaluation. None, the default, without labels."""
        return None

    @abc.abstractmethod
    def to_camera(self, split: str) -> np.ndarray:
        """(F, 4, 4) float64, from the evaluated view's crop frame to its camera's frame, for all frames."""

    def left_out(self, split: str) -> Sequence[str]:
        """Reasons for the unused frames of a split: a missing or damaged image. `splits` excludes these frames."""
        return ()

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        """Crop a split's frames around these places from now on; `frames` and `to_camera` follow.

        Datasets with `recentres` override this method.

        Args:
            split: the split.
            centres: (F, 3) mm in the rig's frame, or None for the dataset's initial centres. A frame keeps its initial
                centre if its new one isn't finite or lies outside of the stored image.

        Returns:
            (F,) bool, the frames with a crop at their new centre.
        """
        raise DataError("this dataset's crops can't be moved; choose another way to centre them (`centre`)")


class SyntheticDataset(abc.ABC):
    """Unlimited labelled samples.

    Attributes:
        annotation: key of `HandModel.annotations` with the joints for evaluation on samples; None for all points.
    """

    annotation: str | None = None

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> SyntheticSamples:
        """Draw `count` samples on the generator's device."""
