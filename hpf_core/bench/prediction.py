"""From one depth image to joints, whole and in parts."""

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
    """A network that predicts, and the frame that it is shown.

    Args:
        parts: the built recipe with its weights, on the host.
        frame: on disk.
        device: where the network goes.
    """

    def __init__(self, parts: Parts, frame: RawFrame, device: torch.device) -> None:
        self._parts, self._frame, self._device = parts, frame, device
        network = HandNetwork.of_parts(parts, device)
        self._one_side, self._both_sides = HandPredictor(network, "right"), HandPredictor(network, "auto")

    @cached_property
    def _depth(self) -> np.ndarray:
        """(480, 640) mm, as it comes from the sensor, 0 where nothing returned."""
        depth = self.read()
        return np.where(nyu.returned(depth), depth, 0).astype(np.uint16)

    @cached_property
    def _maps(self) -> Tensor:
        """(BATCH, H, W) mm, the frame's crop."""
        return torch.from_numpy(self.prepare().depth).to(self._device).expand(BATCH, -1, -1).contiguous()

    def read(self) -> np.ndarray:
        """(480, 640) uint16 mm of the file."""
        return nyu.read_depth(self._frame.path)

    def prepare(self) -> Crop:
        """From the file to the crop around the palm, whose place is known."""
        return self._cut(self.read(), self._frame.centre)

    def predict(self) -> list[Hand]:
        """The hand of the image, whose side is known: found, cut out, estimated, judged."""
        return self._one_side(self._depth, nyu.CAMERA)

    def predict_either(self) -> list[Hand]:
        """The hand of the image, whose side is found as well."""
        return self._both_sides(self._depth, nyu.CAMERA)

    def track(self) -> list[Hand]:
        """The hand of the image, which was seen near its place a moment ago."""
        start = Place(self._frame.centre + 10.0)
        return self._one_side(self._depth, nyu.CAMERA, starts=(start,), only="right")

    def network_alone(self) -> Tensor:
        """(1, J, 3) mm of one crop."""
        return self._network(self._maps[:1])

    def one_by_one(self) -> None:
        """A batch of crops, each by itself."""
        for map_ in self._maps.split(1):
            self._network(map_)

    def batched(self) -> Tensor:
        """(BATCH, J, 3) mm of a batch of crops."""
        return self._network(self._maps)

    def _cut(self, depth: np.ndarray, centre: np.ndarray) -> Crop:
        returned = nyu.returned(depth)
        return crop(depth, returned, nyu.CAMERA, centre, self._parts.grid, turned=True)

    @torch.inference_mode()
    def _network(self, maps: Tensor) -> Tensor:
        return last_estimate(self._parts.backbone, maps).points
