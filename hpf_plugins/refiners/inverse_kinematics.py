"""Points of a valid hand: the pose and shape of the hand model nearest to the network's points.

The paper notes that its priors can't guarantee bones of fixed length and angles within their range (Wan et al., CVPR
2019, Sec. 4.2, page 10859, after Tompson et al. 2014 and Ye et al. 2016). This refiner does.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import Build, Config, HandModel, PluginSpec, Refiner
from hpf_core.progress import Progress, no_progress
from hpf_plugins.refiners.fitting import Fitted, Room, fit, room_of

_SEED = 0  # limits and starts are the same in every run


class InverseKinematicsConfig(Config):
    """Settings of the fit."""

    iterations: int = Field(10, ge=1, le=1000, description="steps of Levenberg-Marquardt for every frame")
    robust_mm: float = Field(
        20.0, gt=0, le=10_000, description="scale of the robust loss, mm: residuals beyond it have little weight"
    )
    fit_shape: bool = Field(
        True, description="fit each frame's shape (bone lengths, size) too; else that of the nearest sampled hand stays"
    )
    samples: int = Field(
        4096, ge=16, le=1_000_000, description="hands that are sampled: their range is the limits, fits start from them"
    )
    widen: float = Field(
        0.05,
        ge=0,
        le=1,
        description="limits of angles and shape: the range of sampled hands, each side wider by this share of it",
    )


class InverseKinematics(Refiner):
    """Replaces points by those of the nearest hand of the model.

    Points of the model within its limits stay unchanged, up to 0.01 mm.
    """

    def __init__(self, config: InverseKinematicsConfig, hand: HandModel) -> None:
        super().__init__()
        self.config = config
        self._hand = (hand,)  # the tuple hides the hand from this module's submodules: it belongs to the run
        self._fields = tuple(f"_{name}" for name in Room._fields)
        for name in self._fields:
            self.register_buffer(name, None, persistent=False)
        # Without a named palm, the start is aligned to all points.
        palm = [part == "palm" for part in hand.parts]
        self.rigid: Tensor
        self.register_buffer("rigid", torch.tensor(palm if sum(palm) >= 3 else [True] * len(palm)), persistent=False)

    def prepare(self, progress: Progress = no_progress) -> None:
        """Sample hands for the limits and the starts of the fits. Takes about a second."""
        if getattr(self, self._fields[0]) is not None:
            return
        hand = copy.deepcopy(self._hand[0]).cpu()
        room = room_of(hand, self.config.samples, self.config.widen, torch.Generator().manual_seed(_SEED))
        for name, values in zip(self._fields, room, strict=True):
            setattr(self, name, values.to(self.rigid.device))

    def forward(self, points: Tensor) -> Tensor:
        """(N, J, 3) mm in the crop's frame, in float32 or the input's own greater precision.

        Raises:
            RunError: `prepare` wasn't called.
        """
        return self.fit(points).points.to(at_least_float32(points).dtype)

    def fit(self, points: Tensor) -> Fitted:
        """Pose, shape, points and residual of the hands nearest to points (N, J, 3) mm.

        Raises:
            RunError: `prepare` wasn't called.
        """
        if getattr(self, self._fields[0]) is None:
            raise RunError("The inverse kinematics aren't prepared: call its prepare() before the first use.")
        room = Room(*(getattr(self, name) for name in self._fields))
        c = self.config
        return fit(
            self._hand[0],
            room,
            points,
            self.rigid,
            iterations=c.iterations,
            robust_mm=c.robust_mm,
            shape=c.fit_shape,
        )


def _make(config: InverseKinematicsConfig, build: Build) -> InverseKinematics:
    return InverseKinematics(config, build.need_hand())


SPEC = PluginSpec(
    kind="refiner",
    name="inverse_kinematics",
    config=InverseKinematicsConfig,
    factory=_make,
    summary="the hand model's pose and shape nearest to the points",
    source="Wan et al., CVPR 2019, Sec. 4.2, page 10859, suggests it; own solver (Levenberg-Marquardt)",
)
