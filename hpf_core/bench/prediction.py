"""From one depth image to joints, whole and in parts."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hpf_core.bench.scenes import BATCH, RawFrame
from hpf_core.data.crop import Crop, crop
from hpf_core.data.hand_centre import mass_centre
from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.inference.build import Parts


class Prediction:
    """A network that predicts, and the frame that it is shown.

    Args:
        parts: the built recipe with its weights, on the host.
        frame: on disk.
        device: where the network goes.
    """

    def __init__(self, parts: Parts, frame: RawFrame, device: torch.device) -> None:
        parts.to(device)
        parts.backbone.eval()
        self._parts, self._frame, self._device = parts, frame, device
        _, matrix = parts.hand.annotations["nyu14"]
        self._joints = torch.as_tensor(matrix, device=device)

    @cached_property
    def _depth(self) -> np.ndarray:
        """(480, 640) mm, as it comes from the sensor."""
        return self.read()

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

    def predict(self) -> Tensor:
        """(K, 3) mm in the camera's frame, the joints, from the image alone: found, cut out, estimated, taken back."""
        depth = self._depth
        centre = mass_centre(depth, nyu.returned(depth), nyu.CAMERA, self._parts.grid.cube_mm)
        if centre is None:
            raise DataError(f"{self._frame.path} shows nothing.")
        seen = self._cut(depth, centre)
        points = self._network(torch.from_numpy(seen.depth)[None].to(self._device))[0].cpu()
        joints = self._joints.cpu().to(points) @ points
        return apply_rigid(torch.from_numpy(seen.to_camera), joints.double())

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
        return self._parts.backbone(maps)[-1].points
