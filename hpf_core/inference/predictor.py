"""From depth images to hands: users, commands and benchmarks share this code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from hpf_core.data.cameras import Camera, Rig
from hpf_core.errors import InputError, nearest
from hpf_core.inference.depth_input import as_image
from hpf_core.inference.hand_network import SHIPPED, HandNetwork, load_network
from hpf_core.inference.hands import Hand
from hpf_core.inference.search import Answer, Found, Image, Place, Request, Search, Searcher
from hpf_core.inference.views import together

if TYPE_CHECKING:
    from hpf_core.inference.streams import PredictedFrame

Side = Literal["auto", "right", "left", "both"]
SIDES: tuple[Side, ...] = get_args(Side)

_TRIED: dict[str, tuple[str, ...]] = {
    "auto": ("right", "left"),
    "both": ("right", "left"),
    "right": ("right",),
    "left": ("left",),
}


class HandPredictor:
    """Finds hands in depth images.

        predictor = hpf.HandPredictor.load("shipped")
        camera = hpf.Camera(640, 480, fx=588.03, fy=587.07, cx=320, cy=240)
        for hand in predictor(depth_mm, camera):
            print(hand.side, hand.joints["F4_KNU3_A"], hand.fit_mm)

    Args:
        network: estimates hands in crops.
        side: "right" or "left" if known; "auto" for the most confident hand of either side; "both" for a right and a
            left hand, if both are present.
    """

    def __init__(self, network: HandNetwork, side: Side = "auto") -> None:
        if side not in SIDES:
            raise InputError(f"side is '{side}'. {nearest(str(side), SIDES)}")
        self.network, self.side = network, side
        self._searcher = Searcher(network, _TRIED[side], most=2 if side == "both" else 1)

    @classmethod
    def load(
        cls,
        source: Path | str = SHIPPED,
        side: Side = "auto",
        *,
        refiners: Sequence[str] = (),
        device: str = "cpu",
    ) -> HandPredictor:
        """A predictor with HPF's shipped weights, or others.

        Args:
            source: "shipped", the folder of a run, a folder of weights, a file of weights, or an ONNX file.
            side: as in `HandPredictor`.
            refiners: names of refiner plugins that improve the points, such as "inverse_kinematics".
            device: device of the network.

        Raises:
            InputError: the weights are missing, or belong to another network.
        """
        return cls(load_network(source, refiners=refiners, device=device), side)

    def __call__(
        self,
        depth: np.ndarray | Sequence[np.ndarray],
        camera: Camera | Rig,
        *,
        starts: Sequence[Place] = (),
        only: str | None = None,
    ) -> list[Hand]:
        """The hands of one depth image, or of one moment in several cameras; the most confident first.

        Args:
            depth: (H, W) mm of any integer or float type; 0, negative numbers, NaN and infinity mean no return. With a
                rig, one such image for each of its cameras.
            camera: camera of the image, or rig of the images.
            starts: places to try first, in the camera's frame, or in the rig's frame for a rig.
            only: "right" or "left", if known.

        Returns:
            At most one hand, or two if `side` is "both"; an empty list without a hand. Points are in the camera's
            frame, or in the rig's frame for a rig.

        Raises:
            InputError: the image differs in size from the camera, isn't a depth image, or can't be in mm.
        """
        if isinstance(camera, Rig):
            images = _of_rig(depth, camera)
            seen = [[Place(_moved(pose, p.centre), p.upside_down) for p in starts] for pose in camera.from_rig]
            found = self._run([self._searcher.search(*each, only) for each in zip(images, seen, strict=True)])
            return together(found, camera, self._hand)
        image = as_image(np.asarray(depth), camera)
        (hands,) = self._run([self._searcher.search(image, starts, only)])
        return [self._hand(one, camera) for one in hands]

    def batch(self, depths: Iterable[np.ndarray], cameras: Camera | Sequence[Camera]) -> list[list[Hand]]:
        """The hands of several images, (B, H, W) or a list; the network processes the crops of all images together.

        Raises:
            InputError: as for one image; or the number of cameras differs from the number of images.
        """
        images = list(depths)
        each = [cameras] * len(images) if isinstance(cameras, Camera) else list(cameras)
        if len(each) != len(images):
            raise InputError(f"There are {len(images)} depth images, but {len(each)} cameras.")
        prepared = [as_image(np.asarray(depth), camera) for depth, camera in zip(images, each, strict=True)]
        found = self._run([self._searcher.search(image) for image in prepared])
        return [[self._hand(one, camera) for one in hands] for hands, camera in zip(found, each, strict=True)]

    def stream(
        self,
        place: Path | str,
        camera: Camera | None = None,
        *,
        unit_mm: float = 1.0,
        rate_hz: float = 30.0,
        track: bool = True,
    ) -> Iterator[PredictedFrame]:
        """The hands of a folder of depth images, a capture, one image or a camera, frame after frame.

        Args:
            place: the folder, capture (its first view) or file; or "realsense" or "realsense:SERIAL" for a connected
                camera, whose newest frame comes next, without an end.
            camera: camera of the images; None if the capture's rig.yaml or the connected camera has it.
            unit_mm: millimetres per step of the stored depth; captures and connected cameras have their own.
            rate_hz: frames per second, if the files' names contain no time, or of a connected camera.
            track: whether to track and smooth hands; else frames are independent.

        Raises:
            InputError: nothing to read, or the camera is unknown or can't be started.
            RunError: a connected camera sends nothing any more.
        """
        from hpf_core.inference.realsense import is_realsense, predict_realsense

        if isinstance(place, str) and is_realsense(place):
            return predict_realsense(self, place, round(rate_hz), track)
        from hpf_core.inference.sources import CameraOptions, open_source
        from hpf_core.inference.streams import predict_source

        source = open_source(place, CameraOptions(camera=camera, unit_mm=unit_mm, rate_hz=rate_hz))
        return predict_source(self, source, track and source.is_sequence)

    def _run(self, searches: Sequence[Search]) -> list[list[Found]]:
        """Run searches to their ends; in each round, the network processes the requests of all of them."""
        results: list[list[Found]] = [[] for _ in searches]
        waiting: dict[int, Request] = {}

        def step(number: int, answer: Answer | None) -> None:
            try:
                search = searches[number]
                waiting[number] = next(search) if answer is None else search.send(answer)
            except StopIteration as end:
                waiting.pop(number, None)
                results[number] = end.value

        for number in range(len(searches)):
            step(number, None)
        while waiting:
            asked = list(waiting.items())
            estimate = self.network.estimate(torch.cat([request.depth for _, request in asked]))
            first = 0
            for number, request in asked:
                rows = slice(first, first + len(request.depth))
                variance = None if estimate.variance is None else estimate.variance[rows]
                first = rows.stop
                step(number, Answer(estimate.points[rows], variance))
        return results

    def _hand(self, found: Found, camera: Camera) -> Hand:
        model = self.network.hand
        return Hand(
            side=found.side,
            names=tuple(model.names),
            points=found.points,
            pixels=camera.project(found.points)[:, :2],
            spread_mm=found.spread_mm,
            fit_mm=found.fit_mm,
            iou=found.iou,
            confidence=found.confidence,
            centre=found.points[model.palm_centre].copy(),
            crop=found.crop,
            upside_down=found.shown.upside_down,
            annotations=model.annotations,
        )


def _moved(pose: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(3,) mm, a place (3,) after a rigid map (4, 4)."""
    return pose[:3, :3] @ place + pose[:3, 3]


def _of_rig(depths: np.ndarray | Sequence[np.ndarray], rig: Rig) -> list[Image]:
    images = list(depths)
    if len(images) != len(rig.cameras):
        raise InputError(f"The rig has {len(rig.cameras)} cameras, but {len(images)} depth images are given.")
    return [as_image(np.asarray(depth), camera) for depth, camera in zip(images, rig.cameras, strict=True)]
