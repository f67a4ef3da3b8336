"""Benchmark of prediction from one depth image to joints: whole and in parts."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hpf_core.bench.scenes import BATCH, RawFrame
from hpf_core.data.crop import Crop, crop
from hpf_core.data.layouts import nyu
from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import last_estimate
from hpf_core.inference.hand_network import HandNetwork
from hpf_core.inference.hands import Hand
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.search import Place


class Prediction:
    """A network for prediction, and its input frame.

    Args:
        parts: the built recipe with its weights, on the host.
        frame: the frame on disk.
        device: device of the network.
    """

    def __init__(self, parts: Parts, frame: RawFrame, device: torch.device) -> None:
        self._parts, self._frame, self._device = parts, frame, device
        network = HandNetwork.of_parts(parts, device)
        self._one_side, self._both_sides = HandPredictor(network, "right"), HandPredictor(network, "auto")

    @cached_property
    def _depth(self) -> np.ndarray:
        """(480, 640) mm, the sensor's image, 0 at pixels without return."""
        depth = self.read()
        return np.where(nyu.returned(depth), depth, 0).astype(np.uint16)

    @cached_property
    def _maps(self) -> Tensor:
        """(BATCH, H, W) mm, the frame's crop."""
        return torch.from_numpy(self.prepare().depth).to(self._device).expand(BATCH, -1, -1).contiguous()

    def read(self) -> np.ndarray:
        """Read the file: (480, 640) uint16 mm."""
        return nyu.read_depth(self._frame.path)

    def prepare(self) -> Crop:
        """Read the file and crop around the known palm centre."""
        return self._cut(self.read(), self._frame.centre)

    def predict(self) -> list[Hand]:
        """Predict the image's hand of a known side: detection, crop, estimate, confidence."""
        return self._one_side(self._depth, nyu.CAMERA)

    def predict_either(self) -> list[Hand]:
        """Predict the image's hand, and determine its side too."""
        return self._both_sides(self._depth, nyu.CAMERA)

    def track(self) -> list[Hand]:
        """Predict the image's hand near its last known place."""
        start = Place(self._frame.centre + 10.0)
        return self._one_side(self._depth, nyu.CAMERA, starts=(start,), only="right")

    def network_alone(self) -> Tensor:
        """(1, J, 3) mm of one crop."""
        return self._network(self._maps[:1])

    def one_by_one(self) -> None:
        """Predict a batch of crops one by one."""
        for map_ in self._maps.split(1):
            self._network(map_)

    def batched(self) -> Tensor:
        """(BATCH, J, 3) mm of one batch of crops."""
        return self._network(self._maps)

    def _cut(self, depth: np.ndarray, centre: np.ndarray) -> Crop:
        returned = nyu.returned(depth)
        return crop(depth, returned, nyu.CAMERA, centre, self._parts.grid, turned=True)

    @torch.inference_mode()
    def _network(self, maps: Tensor) -> Tensor:
        return last_estimate(self._parts.backbone, maps).points
