"""The hand model of the paper: 41 spheres, 36 of them on NYU's annotation (Wan et al., CVPR 2019, section 3.2)."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from hpf_core.data.joints21 import JOINTS21
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.interfaces import BoneRanges, Build, Config, HandModel, Mesh, PluginSpec, PointPairs, PoseSample
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.kinematics import finger_joints, rest_frames
from hpf_plugins.hands.sampler import PoseSampler
from hpf_plugins.hands.skinning import Skin

_INDEX = {name: k for k, name in enumerate(anatomy.POINT_NAMES)}
_PALM_FIRST = _INDEX["PALM_1"]
_POINTS_OF_A_FINGER = len(anatomy.FINGER_POINTS)


class Spheres41Config(Config):
    """Ranges of the sampled hands. 1 is the neutral hand, a mean adult's, 187 mm from the wrist to the tip.

    The default sizes go from the 5th percentile of women's hand length to the 95th of men's (Gordon et al. 1989). We
    chose the other three ranges, the variation of proportions about that size.
    """

    size_range: tuple[float, float] = Field(
        (0.88, 1.13),
        description="smallest and largest overall size, as a factor of the neutral hand (Gordon et al. 1989)",
    )
    finger_range: tuple[float, float] = Field(
        (0.95, 1.05), description="shortest and longest finger, as a factor of what the overall size gives (our choice)"
    )
    thickness_range: tuple[float, float] = Field(
        (0.90, 1.10),
        description="thinnest and thickest fingers and palm, as a factor of what the overall size gives; rendering "
        "only, no point moves (our choice)",
    )
    palm_width_range: tuple[float, float] = Field(
        (0.94, 1.06), description="narrowest and widest palm, as a factor of what the overall size gives (our choice)"
    )

    @field_validator("*")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.2 <= value[0] <= value[1] <= 5:
            raise ValueError(f"needs 0.2 <= lowest <= highest <= 5, but is {value[0]:g} to {value[1]:g}")
        return value


class Spheres41(HandModel):
    """41 spheres on a hand with 26 pose and 8 shape parameters.

    Pose: rotation vector (3, radians), the palm's centre (3, mm), then 4 angles (radians) for each finger from the
    little finger to the thumb. Shape, as factors on the neutral hand: overall size; length of each finger; thickness;
    width of the palm with its knuckles. The thickness changes only the skin, because the priors' radii are fixed.
    """

    def __init__(self, config: Spheres41Config) -> None:
        super().__init__()
        self.names = anatomy.POINT_NAMES
        self.parts = anatomy.PART_NAMES
        self.links = _finger_links() + _palm_links()
        self.annotations = {
            "nyu36": _selection(anatomy.NYU36),
            "nyu14": _selection(anatomy.NYU14),
            "mano21": _joints21(),
            "palm21": _palm21(),
            "icvl16": _icvl16(),
            "tips5palm": _tips5palm(),
        }
        self.fingertips = tuple(k for k, name in enumerate(self.names) if name.endswith("KNU3_A"))
        self.wrist = (_INDEX["PALM_1"], _INDEX["PALM_2"])
        self.palm_centre = _INDEX["PALM_3"]
        self.pose_names = (
            *("rotation_x", "rotation_y", "rotation_z"),
            *("translation_x", "translation_y", "translation_z"),
            *anatomy.ANGLE_NAMES,
        )
        self.shape_names = ("size", *anatomy.FINGERS, "thickness", "palm_width")
        self.sampler = PoseSampler(
            config.size_range, config.finger_range, config.thickness_range, config.palm_width_range
        )
        self.skin = Skin()

        self.radii: Tensor
        self._knuckles: Tensor
        self._lengths: Tensor
        self._frames: Tensor
        self._palm: Tensor
        self._placement: Tensor
        self.register_buffer("radii", _tensor([*np.ravel(anatomy.FINGER_RADII), *anatomy.PALM_RADII]))
        self.register_buffer("_knuckles", _tensor(anatomy.KNUCKLES))
        self.register_buffer("_lengths", _tensor(anatomy.LENGTHS))
        self.register_buffer("_frames", rest_frames())
        self.register_buffer("_palm", _tensor(anatomy.PALM))
        self.register_buffer("_placement", _tensor(anatomy.PLACEMENT))

        first, second, shortest, longest = self._bone_ranges(config)
        self._first: Tensor
        self._second: Tensor
        self._shortest: Tensor
        self._longest: Tensor
        self.register_buffer("_first", first)
        self.register_buffer("_second", second)
        self.register_buffer("_shortest", shortest)
        self.register_buffer("_longest", longest)
        self._one: Tensor
        self._other: Tensor
        pairs = torch.tensor(_collision_pairs())
        self.register_buffer("_one", pairs[:, 0])
        self.register_buffer("_other", pairs[:, 1])
        neutral = self.points(torch.zeros(1, len(self.pose_names)), torch.ones(1, len(self.shape_names)))[0]
        self.sampler.keep_apart(neutral, self.radii, pairs)

    def bones(self) -> BoneRanges:
        """Five rigid links of each finger, the palm's edges and two braces, each with its [min, max] mm."""
        return BoneRanges(self._first, self._second, self._shortest, self._longest)

    def collisions(self) -> PointPairs:
        """All 690 pairs of points of two fingers, or of a finger and the palm."""
        return PointPairs(self._one, self._other)

    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        """`count` poses (count, 26) and shapes (count, 8), float32, from the mixture in `sampler.py`."""
        return self.sampler.draw(count, generator, self.points)

    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        """(N, 41, 3) mm of poses (N, 26) and shapes (N, 8)."""
        joints = self._joints(pose, shape)
        on_fingers = (self._placement.to(pose) @ joints).flatten(1, 2)
        own = torch.cat([on_fingers, self._widened(self._palm, shape)], dim=1)
        return _placed(own, pose, shape)

    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        """The skin of poses (N, 26) and shapes (N, 8): vertices (N, V, 3) mm, differentiable, and faces (F, 3)."""
        angles = pose[:, 6:].unflatten(-1, (len(anatomy.FINGERS), 4))
        mesh: Mesh = self.skin(angles, self._joints(pose, shape), shape, rotation_matrix(pose[:, :3]), pose[:, 3:6])
        return mesh

    def _joints(self, pose: Tensor, shape: Tensor) -> Tensor:
        """Joints (N, 5, 4, 3) mm in the hand's own frame, before its overall size."""
        angles = pose[:, 6:].unflatten(-1, (len(anatomy.FINGERS), 4))
        lengths = self._lengths.to(pose) * shape[:, 1:6, None]
        return finger_joints(angles, lengths, self._widened(self._knuckles, shape), self._frames.to(pose))

    @staticmethod
    def _widened(points: Tensor, shape: Tensor) -> Tensor:
        """Points (K, 3) of the palm, scaled to the width of each hand: (N, K, 3)."""
        width = shape[:, 7]
        along = torch.stack([width, torch.ones_like(width), torch.ones_like(width)], dim=-1)
        return points.to(shape) * along[:, None]

    def _bone_ranges(self, config: Spheres41Config) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs with constant distance in all poses, and the range of this distance over the sizes of `config`."""
        fingers, palm = _finger_links(), _palm_links()
        braces = tuple((_INDEX[a], _INDEX[b]) for a, b in anatomy.PALM_BRACES)
        pairs = torch.tensor(fingers + palm + braces)
        neutral = self.points(torch.zeros(1, len(self.pose_names)), torch.ones(1, len(self.shape_names)))[0]
        apart = neutral[pairs[:, 0]] - neutral[pairs[:, 1]]
        on_finger = (torch.arange(len(pairs)) < len(fingers))[:, None]

        def lengths(size: float, finger: float, width: float) -> Tensor:
            wide = torch.tensor([width, 1.0, 1.0])
            return (apart * torch.where(on_finger, torch.full((3,), finger), wide)).norm(dim=-1) * size

        shortest, longest = (
            lengths(config.size_range[k], config.finger_range[k], config.palm_width_range[k]) for k in (0, 1)
        )
        # The margin keeps a hand on the border inside: 0.01 mm is far above float32's rounding at 1 m.
        return pairs[:, 0].clone(), pairs[:, 1].clone(), shortest - 0.01, longest + 0.01


def _tensor(values: object) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float32))


def _placed(own: Tensor, pose: Tensor, shape: Tensor) -> Tensor:
    """Points (N, K, 3) of the hand's own frame, scaled to the overall size, rotated and moved by the pose."""
    return (own * shape[:, :1, None]) @ rotation_matrix(pose[:, :3]).transpose(-1, -2) + pose[:, None, 3:6]


def _finger_links() -> tuple[tuple[int, int], ...]:
    """Links (nearer to the tip, nearer to the knuckle) along the fingers."""
    starts = [finger * _POINTS_OF_A_FINGER for finger in range(len(anatomy.FINGERS))]
    return tuple((start + k, start + k + 1) for start in starts for k in range(_POINTS_OF_A_FINGER - 1))


def _palm_links() -> tuple[tuple[int, int], ...]:
    """The edges of the palm's triangles, each once."""
    triangles = [[_INDEX[name] for name in corners] for corners in anatomy.PALM_TRIANGLES]
    return tuple(sorted({(min(a, b), max(a, b)) for corners in triangles for a, b in combinations(corners, 2)}))


def _selection(names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """An annotation whose joints are points of the model: names and its (K, 41) matrix."""
    matrix = np.zeros((len(names), len(anatomy.POINT_NAMES)), dtype=np.float32)
    matrix[np.arange(len(names)), [_INDEX[name] for name in names]] = 1
    return names, matrix


def _joints21() -> tuple[tuple[str, ...], np.ndarray]:
    """The common 21 joints: the wrist is midway between its two points, the other joints are points of the model."""
    fingers = {"thumb": "TH", "index": "F4", "middle": "F3", "ring": "F2", "little": "F1"}
    points = [f"{prefix}_{point}" for prefix in fingers.values() for point in ("KNU1_B", "KNU2_B", "KNU3_B", "KNU3_A")]
    _, matrix = _selection(("PALM_1", *points))
    matrix[0, [_INDEX["PALM_1"], _INDEX["PALM_2"]]] = 0.5
    return JOINTS21, matrix


def _palm21() -> tuple[tuple[str, ...], np.ndarray]:
    """As `_joints21`, but with the palm's centre in place of the wrist, as in STB."""
    names, matrix = _joints21()
    matrix[0] = 0
    matrix[0, _INDEX["PALM_3"]] = 1
    return ("palm", *names[1:]), matrix


def _icvl16() -> tuple[tuple[str, ...], np.ndarray]:
    """The palm, then root, middle and tip of thumb to little finger, as in ICVL.

    The files don't define the places. We take each finger's knuckle, middle joint and tip, and for the thumb its last
    two joints and its tip.
    """
    names, matrix = _palm21()
    fingers = ("thumb", "index", "middle", "ring", "little")
    parts = {"thumb": ("mcp", "ip", "tip")}
    rows = [0] + [names.index(f"{f}_{part}") for f in fingers for part in parts.get(f, ("mcp", "pip", "tip"))]
    return ("palm", *(f"{f}_{part}" for f in fingers for part in ("root", "mid", "tip"))), matrix[rows]


def _tips5palm() -> tuple[tuple[str, ...], np.ndarray]:
    """The tips of thumb to little finger, then the palm's centre, as in HandNet."""
    names, matrix = _palm21()
    rows = [k for k, name in enumerate(names) if name.endswith("_tip")] + [0]
    return tuple(names[k] for k in rows), matrix[rows]


def _collision_pairs() -> list[tuple[int, int]]:
    """Finger-palm and finger-other-finger pairs."""
    groups = [range(k * _POINTS_OF_A_FINGER, (k + 1) * _POINTS_OF_A_FINGER) for k in range(len(anatomy.FINGERS))]
    groups.append(range(_PALM_FIRST, len(anatomy.POINT_NAMES)))
    return [pair for one, other in combinations(groups, 2) for pair in product(one, other)]


def _make(config: Spheres41Config, build: Build) -> Spheres41:
    return Spheres41(config)


SPEC = PluginSpec(
    kind="hand",
    name="spheres41",
    config=Spheres41Config,
    factory=_make,
    summary="41 spheres on NYU's points, 26 pose and 8 shape parameters",
    source="Wan et al., CVPR 2019, sections 3.2 and 3.3; pose mixture after Sharp et al., CHI 2015",
)
