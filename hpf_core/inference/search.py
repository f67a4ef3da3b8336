"""The search for the hand in one depth image: candidates are cropped, estimated, and judged by what they explain.

A search is a generator. It yields crops, and is sent the estimates of them: whoever drives several searches gives the
crops of all of them to the network in one batch (`hpf_core.inference.predictor`).

The network knows right hands whose fingers point up, give or take 90 degrees. A crop is therefore shown in up to four
ways: as it is, mirrored (a left hand looks like a right one), and either of these turned by 180 degrees in the image
(an arm that comes from above). None of them resamples anything.
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
"""Log-odds from which on no other candidate is tried."""

ACCEPTED = 0.0
"""Log-odds from which on something is taken for a hand."""

_HOPELESS = -3.0  # log-odds after the first look below which a candidate isn't looked at again
_MOVED_MM = 25.0  # a crop is made again where the palm's centre lies farther from its middle
_SIDE_MARGIN = 1.0  # log-odds by which a side must be the likelier one, else the crop is made again
_ONE_HAND_MM = 80.0  # two hands' palms are farther from each other

Sides = tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """A depth image.

    Attributes:
        depth: (H, W) mm.
        returned: (H, W) bool, where the sensor returned something.
        camera: of the image.
    """

    depth: np.ndarray
    returned: np.ndarray
    camera: Camera


@dataclass(frozen=True)
class Place:
    """Where to look for a hand.

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
        side: which hand it would then be.
        upside_down: whether the crop is turned by 180 degrees.
    """

    side: str
    upside_down: bool = False

    @property
    def signs(self) -> tuple[int, int]:
        """Of x and y."""
        turn = -1 if self.upside_down else 1
        return (turn if self.side == "right" else -turn), turn

    def apply(self, image: Tensor) -> Tensor:
        """A map (H, W), shown so."""
        axes = [axis for axis, sign in zip((-1, -2), self.signs, strict=True) if sign < 0]
        return image.flip(axes) if axes else image


@dataclass(frozen=True)
class Request:
    """Maps (N, H, W) mm that the network is to look at."""

    depth: Tensor


@dataclass(frozen=True)
class Answer:
    """Of the N maps of a request: points (N, J, 3) mm, and the variance (N, J) mm^2 of the network's maps or None."""

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
        log_odds: how much likelier it is a hand than none.
        crop: what it was estimated from, as the camera sees it.
        shown: how the crop was shown.
    """

    side: str
    points: np.ndarray
    spread_mm: np.ndarray
    fit_mm: float
    iou: float
    log_odds: float
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
        network: what estimates.
        sides: the sides that are tried.
        most: hands of an image at most.
    """

    def __init__(self, network: HandNetwork, sides: Sides, most: int = 1) -> None:
        self.network, self.sides, self.most = network, sides, most
        self._palm = network.hand.palm_centre

    def search(self, image: Image, starts: Sequence[Place] = (), only: str | None = None) -> Search:
        """Find the hands of an image, the surest first.

        Args:
            image: what is searched.
            starts: places that are tried before any other, such as the last frame's.
            only: the side, where it is known from the frames before.
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
        """The best estimate at a place, re-centred once; None where the place shows nothing.

        The crop is first shown with the arm coming from below. If that doesn't look like a hand, it is turned.
        """
        made = self._crop(image, place.centre)
        if made is None:
            return None
        found = yield from self._estimate(made, [Shown(side, place.upside_down) for side in sides])
        if _best(found).log_odds < SURE:
            found += yield from self._estimate(made, [Shown(side, not place.upside_down) for side in sides])
        best = _best(found)
        if best.log_odds < _HOPELESS:
            return best
        palm = self._centre(best)
        moved = np.linalg.norm(palm - place.centre) > _MOVED_MM or _unsure_of_side(found)
        again = self._crop(image, palm) if moved and palm[2] > 1 else None
        if again is not None:
            found += yield from self._estimate(again, [Shown(side, best.shown.upside_down) for side in sides])
        return _best(found)

    def _crop(self, image: Image, centre: np.ndarray) -> Crop | None:
        network = self.network
        made = crop(image.depth, image.returned, image.camera, centre, network.grid, network.ray_aligned)
        return made if (made.state == State.HIT).any() else None

    def _estimate(self, made: Crop, ways: Sequence[Shown]) -> Generator[Request, Answer, list[Found]]:
        """The estimates of a crop that is shown in several ways."""
        plain, state = torch.from_numpy(made.depth), torch.from_numpy(made.state)
        depth = torch.stack([way.apply(plain) for way in ways])
        answer = yield Request(depth)
        network = self.network
        states = torch.stack([way.apply(state) for way in ways])
        said = explain(network.hand, network.renderer, network.grid, depth, states, answer.points, answer.variance)
        odds = said.log_odds()
        return [self._found(made, ways, answer, said, odds, row) for row in range(len(ways))]

    def _found(
        self, made: Crop, ways: Sequence[Shown], answer: Answer, said: Explained, odds: Tensor, row: int
    ) -> Found:
        signs = np.array([*ways[row].signs, 1.0])
        points = answer.points[row].double().numpy() * signs
        camera = made.to_camera
        count = points.shape[0]
        variance = answer.variance
        spread = np.zeros(count) if variance is None else variance[row].double().clamp(min=0).sqrt().numpy()
        return Found(
            side=ways[row].side,
            points=points @ camera[:3, :3].T + camera[:3, 3],
            spread_mm=spread,
            fit_mm=float(said.fit_mm[row]),
            iou=float(said.iou[row]),
            log_odds=float(odds[row]),
            crop=made,
            shown=ways[row],
        )

    def _centre(self, found: Found) -> np.ndarray:
        return found.points[self._palm]

    def _chosen(self, tried: Sequence[Found]) -> list[Found]:
        """The hands among all that was tried: the surest, and others that are other hands."""
        kept: list[Found] = []
        for found in sorted(tried, key=_by_odds, reverse=True):
            if found.log_odds < ACCEPTED or len(kept) == self.most:
                break
            apart = all(np.linalg.norm(self._centre(found) - self._centre(other)) > _ONE_HAND_MM for other in kept)
            if apart and all(found.side != other.side for other in kept):
                kept.append(found)
        return kept


def _places(image: Image, starts: Sequence[Place]) -> Iterator[Place]:
    """Starts first; the image is searched only when they don't do."""
    yield from starts
    for found in finder.find(image.depth, image.returned, image.camera):
        yield Place(found.centre, found.arm_from_above)


def _best(found: Sequence[Found]) -> Found:
    """The surest estimate."""
    return max(found, key=_by_odds)


def _unsure_of_side(found: Sequence[Found]) -> bool:
    """Whether the other side explains a crop nearly as well as the best estimate does."""
    best = _best(found)
    others = [one.log_odds for one in found if one.side != best.side]
    return bool(others) and best.log_odds - max(others) < _SIDE_MARGIN


def _by_odds(found: Found) -> float:
    return found.log_odds
