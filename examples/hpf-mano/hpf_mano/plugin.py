"""The hand model `mano` for HPF: MANO's skin and skeleton, with 41 spheres on it.

MANO is Romero, Tzionas and Black, "Embodied Hands: Modeling and Capturing Hands and Bodies Together", ACM ToG 36(6)
(SIGGRAPH Asia), 2017. Its numbers come from the user's own file (`convert`).
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hpf.plugin import BoneRanges, Build, Config, HandModel, Mesh, PluginSpec, PointPairs, PoseSample, hookimpl
from hpf_mano import anatomy, surface
from hpf_mano.asset import POSES, SHAPES, Asset, read
from hpf_mano.skinning import Skinning

_MM = 1000.0
_MEASURED = 8192  # shapes for the measurement of the bones
_ROOM = 0.1  # margin on each side, as a share of the measured range: no later shape exceeds it


class ManoConfig(Config):
    """Options of `mano`."""

    path: str = Field(
        "", description="The file that `hpf-mano-convert MANO_RIGHT.pkl FILE` wrote; recipes may write ${HPF_MANO}."
    )
    components: int = Field(
        POSES, ge=1, le=POSES, description="How many principal axes of MANO's poses a pose has; 45 are all of them."
    )
    pose_limit: float = Field(
        2.0, gt=0, le=5, description="Sampled poses go so far along each axis at most, in its standard deviations."
    )
    shape_limit: float = Field(
        2.0, gt=0, le=5, description="Sampled shapes go so far in each parameter at most, in its standard deviations."
    )


class Mano(HandModel):
    """41 spheres on MANO.

    Pose: rotation vector (3, radians), the palm's centre (3, mm), then coefficients of the principal axes of MANO's
    poses, in standard deviations from the mean pose. Shape: MANO's 10 betas.

    Args:
        config: the options.
        asset: MANO's numbers, of a right hand.
    """

    def __init__(self, config: ManoConfig, asset: Asset) -> None:
        super().__init__()
        self.config = config
        self.names, self.parts, self.links = anatomy.NAMES, anatomy.PARTS, anatomy.links()
        self.annotations = {
            "nyu36": anatomy.selection(anatomy.NYU36),
            "nyu14": anatomy.selection(anatomy.NYU14),
            "mano21": anatomy.joints21(),
        }
        self.fingertips = tuple(k for k, name in enumerate(self.names) if name.endswith("KNU3_A"))
        self.wrist = (anatomy.index_of("PALM_1"), anatomy.index_of("PALM_2"))
        self.palm_centre = anatomy.index_of("PALM_3")
        self.pose_names = (
            *(f"rotation_{axis}" for axis in "xyz"),
            *(f"translation_{axis}" for axis in "xyz"),
            *(f"component_{k + 1}" for k in range(config.components)),
        )
        self.shape_names = tuple(f"beta_{k + 1}" for k in range(SHAPES))
        placement = anatomy.placement()
        self.skinning = Skinning(asset, placement[self.palm_centre])
        anchors, by_shape = surface.anchors(asset)
        kept = config.components
        pairs, others = np.array(anatomy.rigid_pairs()), np.array(anatomy.colliding_pairs())
        shortest, longest = _spanned(placement @ anchors, np.tensordot(placement, by_shape, 1), pairs, config)
        self.radii: Tensor
        self._placement: Tensor
        self._axes: Tensor
        self._mean: Tensor
        for name, values in {
            "radii": surface.radii(placement @ anchors, asset.v_template) * _MM,
            "_placement": placement,
            "_axes": asset.components[:kept] * asset.deviations[:kept, None],
            "_mean": asset.mean,
            "_shortest": shortest * _MM,
            "_longest": longest * _MM,
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        for name, numbers in {"_bones": pairs.T, "_pairs": others.T}.items():
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(numbers)), persistent=False)

    def bones(self) -> BoneRanges:
        """Five rigid links of each finger, the palm's edges and two braces, each with its range over sampled shapes,
        mm."""
        first, second = self.get_buffer("_bones")
        return BoneRanges(first, second, self.get_buffer("_shortest"), self.get_buffer("_longest"))

    def collisions(self) -> PointPairs:
        """All 690 pairs of points of two fingers, or of a finger and the palm."""
        return PointPairs(*self.get_buffer("_pairs"))

    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        """`count` poses and shapes, float32: independent standard normal numbers, clipped to the options' limits.

        So poses have the covariance of MANO's training poses, apart from the clipping, but no limits of angles: some
        hands intersect themselves.
        """
        draw = torch.randn(count, self.config.components + SHAPES, generator=generator, device=generator.device)
        pose, shape = draw.split([self.config.components, SHAPES], dim=1)
        limit, width = self.config.pose_limit, self.config.shape_limit
        return PoseSample(torch.nn.functional.pad(pose.clamp(-limit, limit), (6, 0)), shape.clamp(-width, width))

    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        """(N, 41, 3) mm of poses (N, 6 + components) and shapes (N, 10).

        They follow the skeleton: the skin's pose blend shapes don't move them.
        """
        anchors = self.skinning.shaped(shape)
        posed = self.skinning.skeleton(pose[:, :3], pose[:, 3:6], self._angles(pose), anchors)
        placed = self.skinning.placed(posed, anchors)
        return (self._placement.to(pose)[:, :, None] * placed[:, None]).sum(2)

    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        """MANO's skin, closed at the wrist by a fan around the centre of its border; vertices (N, V + 1, 3) mm."""
        posed = self.skinning.skeleton(pose[:, :3], pose[:, 3:6], self._angles(pose), self.skinning.shaped(shape))
        return Mesh(self.skinning.skin(posed, shape), self.skinning.faces)

    def _angles(self, pose: Tensor) -> Tensor:
        """Rotation vectors (N, 15, 3) rad of all joints except the wrist."""
        angles = self._mean.to(pose) + (pose[:, 6:, None] * self._axes.to(pose)).sum(1)
        return angles.unflatten(-1, (-1, 3))


def _spanned(
    points: np.ndarray, by_shape: np.ndarray, pairs: np.ndarray, config: ManoConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The shortest and longest distance of each pair over sampled shapes, with a margin: (K,) each.

    Args:
        points: (41, 3), points of the mean hand with straight joints.
        by_shape: (41, 3, 10).
        pairs: (K, 2), pairs with constant distance in all poses.
        config: has the limits of the shapes.
    """
    limit = config.shape_limit
    shapes = np.random.default_rng(0).standard_normal((_MEASURED, SHAPES)).clip(-limit, limit)
    apart, changed = (values[pairs[:, 0]] - values[pairs[:, 1]] for values in (points, by_shape))
    length = np.linalg.norm(apart + np.einsum("kcs,ns->nkc", changed, shapes), axis=2)
    room = _ROOM * np.ptp(length, axis=0) + 1e-5  # m
    return length.min(axis=0) - room, length.max(axis=0) + room


def build(config: ManoConfig, build: Build) -> Mano:
    """Build the hand from a recipe's options."""
    return Mano(config, read(config.path))


SPEC = PluginSpec(
    kind="hand",
    name="mano",
    config=ManoConfig,
    factory=build,
    summary="MANO with 41 spheres, from your own converted file; 10 shape parameters.",
    source="Romero, Tzionas & Black, SIGGRAPH Asia 2017; skinning as in Loper et al., SIGGRAPH Asia 2015",
    interface=(2, 0),
)


@hookimpl
def hpf_hands():
    """The plugins of this package."""
    return (SPEC,)
