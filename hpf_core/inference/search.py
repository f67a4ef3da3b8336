"""The search for the hand in one depth image: crops candidates, estimates hands, and scores them by their agreement.

A search is a generator. It yields crops and receives their estimates. The driver of several searches passes the crops
of all of them to the network in one batch (`hpf_core.inference.predictor`).

The network knows right hands with fingers up, within 90 degrees. So the search shows a crop in up to four ways:
unchanged, mirrored (a left hand looks like a right one), and each of these rotated by 180 degrees in the image (for an
arm from above). None of them resamples the crop.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpf_core.data.cameras import Camera
from hpf_core.data.crop import Crop, crop
from hpf_core.frames import State
from hpf_core.inference import finder
from hpf_core.inference.explained import Explained, explain
from hpf_core.inference.hand_network import HandNetwork

SURE = 3.0
"""Log-odds above which the search tries no other candidate."""

ACCEPTED = 0.0
"""Log-odds above which the result counts as a hand."""

_HOPELESS = -3.0  # log-odds of the first estimate below which a candidate is dropped
_MOVED_MM = 25.0  # the search crops again if the palm's centre is farther from the crop's middle
_SIDE_MARGIN = 4.0  # log-odds of one side over the other; below this the search tries more crops
_HERE = np.zeros((1, 3))
_AROUND_MM = np.array([[22.0, 0, 0], [-22.0, 0, 0], [0, 22.0, 0], [0, -22.0, 0]])
_ONE_HAND_MM = 80.0  # least distance between the palms of two hands

Sides = tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """A depth image.

    Attributes:
        depth: (H, W) mm.
        returned: (H, W) bool, pixels with a return.
        camera: of the image.
    """

    depth: np.ndarray
    returned: np.ndarray
    camera: Camera


@dataclass(frozen=True)
class Place:
    """A place to search for a hand.

    Attributes:
        centre: (3,) float64 mm in the camera's frame.
        upside_down: whether the arm seems to come from above.
    """

    centre: np.ndarray
    upside_down: bool = False


@dataclass(frozen=True)
class Shown:
    """One way of showing a crop to the network.

    Attributes:
        side: side of the hand under this view.
        upside_down: whether the crop is rotated by 180 degrees.
    """

    side: str
    upside_down: bool = False

    @property
    def signs(self) -> tuple[int, int]:
        """Signs of x and y."""
        turn = -1 if self.upside_down else 1
        return (turn if self.side == "right" else -turn), turn

    def apply(self, image: Tensor) -> Tensor:
        """A map (H, W), shown in this way."""
        axes = [axis for axis, sign in zip((-1, -2), self.signs, strict=True) if sign < 0]
        return image.flip(axes) if axes else image


@dataclass(frozen=True)
class Request:
    """Maps (N, H, W) mm for the network."""

    depth: Tensor


@dataclass(frozen=True)
class Answer:
    """For the N maps of a request: points (N, J, 3) mm, and the variance (N, J) mm^2 of the network's maps or None."""

    points: Tensor
    variance: Tensor | None


@dataclass(frozen=True)
class Found:
    """An estimate in a crop.

    Attributes:
        side: "left" or "right".
        points: (J, 3) float64 mm in the camera's frame.
        spread_mm: (J,) float64.
        fit_mm, iou: as in `Explained`.
        log_odds: log-odds that it is a hand.
        side_score: score of the agreement with its crop, to compare sides.
        crop: its crop as the camera sees it.
        shown: the way of showing the crop.
    """

    side: str
    points: np.ndarray
    spread_mm: np.ndarray
    fit_mm: float
    iou: float
    log_odds: float
    side_score: float
    crop: Crop
    shown: Shown

    @property
    def confidence(self) -> float:
        """0 to 1."""
        return 1 / (1 + math.exp(-self.log_odds))


Search = Generator[Request, Answer, list[Found]]


class Searcher:
    """Searches depth images with a network.

    Args:
        network: makes the estimates.
        sides: the sides to try.
        most: largest number of hands per image.
    """

    def __init__(self, network: HandNetwork, sides: Sides, most: int = 1) -> None:
        self.network, self.sides, self.most = network, sides, most
        self._palm = network.hand.palm_centre

    def search(self, image: Image, starts: Sequence[Place] = (), only: str | None = None) -> Search:
        """Find the hands of an image, the most confident first.

        Args:
            image: the image.
            starts: places to try first, such as the last frame's.
            only: the side, if known from earlier frames.
        """
        sides = self.sides if only is None else (only,)
        tried: list[Found] = []
        for place in _places(image, starts):
            centre = place.centre
            if any(np.linalg.norm(centre - self._centre(other)) < finder.APART_MM / 2 for other in tried):
                continue
            best = yield from self._look(image, place, sides)
            if best is None:
                continue
            tried.append(best)
            hands = self._chosen(tried)
            if len(hands) == self.most and hands[-1].log_odds >= SURE:
                break
        return self._chosen(tried)

    def _look(self, image: Image, place: Place, sides: Sides) -> Generator[Request, Answer, Found | None]:
        """The best estimate at a place; None for a place without surface.

        The search first shows the crop in the apparent direction of the arm, and rotates it if the result doesn't look
        like a hand. If the palm is far from the crop's middle, or the side is uncertain, it tries a crop around the
        palm. If the side is still uncertain, it tries four crops beside it.
        """
        made = self._crop(image, place.centre)
        if made is None:
            return None
        found = yield from self._estimate([made], sides, place.upside_down)
        if max(found, key=_by_odds).log_odds < SURE:
            found += yield from self._estimate([made], sides, not place.upside_down)
        best, margin = _likeliest(found)
        palm = self._centre(best)
        if best.log_odds < _HOPELESS or palm[2] <= 1:
            return best
        if np.linalg.norm(palm - place.centre) > _MOVED_MM or margin < _SIDE_MARGIN:
            found += yield from self._estimate(self._crops(image, palm, _HERE), sides, best.shown.upside_down)
            best, margin = _likeliest(found)
        if margin < _SIDE_MARGIN:
            around = self._crops(image, self._centre(best), _AROUND_MM)
            found += yield from self._estimate(around, sides, best.shown.upside_down)
            best, _ = _likeliest(found)
        return best

    def _crops(self, image: Image, centre: np.ndarray, offsets: np.ndarray) -> list[Crop]:
        """Crops around a centre (3,) mm with offsets (K, 3) mm, without empty ones."""
        made = (self._crop(image, centre + offset) for offset in offsets)
        return [each for each in made if each is not None]

    def _crop(self, image: Image, centre: np.ndarray) -> Crop | None:
        network = self.network
        made = crop(image.depth, image.returned, image.camera, centre, network.grid, network.ray_aligned)
        return made if (made.state == State.HIT).any() else None

    def _estimate(
        self, crops: Sequence[Crop], sides: Sides, upside_down: bool
    ) -> Generator[Request, Answer, list[Found]]:
        """The estimates of crops, shown as each side."""
        shown = [(made, Shown(side, upside_down)) for made in crops for side in sides]
        if not shown:
            return []
        depth = torch.stack([way.apply(torch.from_numpy(made.depth)) for made, way in shown])
        state = torch.stack([way.apply(torch.from_numpy(made.state)) for made, way in shown])
        answer = yield Request(depth)
        network = self.network
        said = explain(network.hand, network.renderer, network.grid, depth, state, answer.points, answer.variance)
        odds, scores = said.log_odds().tolist(), said.side_score().tolist()
        return [
            self._found(made, way, answer, said, row, odds[row], scores[row]) for row, (made, way) in enumerate(shown)
        ]

    def _found(
        self, made: Crop, way: Shown, answer: Answer, said: Explained, row: int, odds: float, score: float
    ) -> Found:
        points = answer.points[row].double().numpy() * np.array([*way.signs, 1.0])
        camera, variance = made.to_camera, answer.variance
        spread = np.zeros(len(points)) if variance is None else variance[row].double().clamp(min=0).sqrt().numpy()
        return Found(
            side=way.side,
            points=points @ camera[:3, :3].T + camera[:3, 3],
            spread_mm=spread,
            fit_mm=float(said.fit_mm[row]),
            iou=float(said.iou[row]),
            log_odds=odds,
            side_score=score,
            crop=made,
            shown=way,
        )

    def _centre(self, found: Found) -> np.ndarray:
        return found.points[self._palm]

    def _chosen(self, tried: Sequence[Found]) -> list[Found]:
        """The hands among all estimates: the most confident, and others that are different hands."""
        kept: list[Found] = []
        for found in sorted(tried, key=_by_odds, reverse=True):
            if found.log_odds < ACCEPTED or len(kept) == self.most:
                break
            apart = all(np.linalg.norm(self._centre(found) - self._centre(other)) > _ONE_HAND_MM for other in kept)
            if apart and all(found.side != other.side for other in kept):
                kept.append(found)
        return kept


def _places(image: Image, starts: Sequence[Place]) -> Iterator[Place]:
    """Starts first; the image is searched only if they fail."""
    yield from starts
    for found in finder.find(image.depth, image.returned, image.camera):
        yield Place(found.centre, found.arm_from_above)


def _likeliest(found: Sequence[Found]) -> tuple[Found, float]:
    """The most confident estimate of the more likely side, and that side's log-odds over the other.

    The crop's direction is that of the most confident of all estimates; the side scores of all its views add up.
    """
    surest = max(found, key=_by_odds)
    looks = [one for one in found if one.shown.upside_down == surest.shown.upside_down]
    total: dict[str, float] = {}
    for one in looks:
        total[one.side] = total.get(one.side, 0.0) + one.side_score
    if len(total) < 2:
        return surest, math.inf
    side = max(total, key=lambda name: total[name])
    return max((one for one in looks if one.side == side), key=_by_odds), abs(total["right"] - total["left"])


def _by_odds(found: Found) -> float:
    return found.log_odds
