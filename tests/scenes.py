"""Small scenes that several tests share: a hand of a few balls, seen by cameras of a rig."""

from __future__ import annotations

import math

import numpy as np
import reference
import torch
from torch import Tensor

from hpf_core.frames import Estimate, RealFrames, State, ViewIndex
from hpf_core.grid import Grid
from hpf_core.interfaces import BoneRanges, HandModel, Mesh, PointPairs, PoseSample
from hpf_core.objective.fit import Fit
from hpf_core.simulation.tessellate import of_spheres
from hpf_plugins.renderers.spheres import Spheres as SpheresRenderer
from hpf_plugins.renderers.spheres import SpheresConfig


class BallHand(HandModel):
    """As many balls as there are radii; its pose is a translation after the six numbers of any hand."""

    def __init__(self, radii_mm: list[float], wrist: tuple[int, ...] = (0,), palm_centre: int = 1) -> None:
        super().__init__()
        self.names = tuple(f"BALL_{i}" for i in range(len(radii_mm)))
        self.parts, self.links, self.annotations = ("palm",), (), {}
        self.fingertips, self.wrist, self.palm_centre = (), wrist, palm_centre
        self.pose_names, self.shape_names = ("rx", "ry", "rz", "x", "y", "z"), ()
        self.register_buffer("radii", torch.tensor(radii_mm, dtype=torch.float64))

    def bones(self) -> BoneRanges:
        none = torch.zeros(0, dtype=torch.int64)
        return BoneRanges(none, none, self.radii[:0], self.radii[:0])

    def collisions(self) -> PointPairs:
        none = torch.zeros(0, dtype=torch.int64)
        return PointPairs(none, none)

    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        return PoseSample(torch.zeros(count, 6), torch.zeros(count, 0))

    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        row = torch.arange(len(self.names), dtype=pose.dtype)[:, None] * pose.new_tensor([20.0, 0.0, 0.0])
        return row + pose[:, None, 3:6]

    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        return of_spheres(self.points(pose, shape), self.radii.expand(len(pose), -1))


def random_rotation(rng: np.random.Generator, most_deg: float = 180.0) -> np.ndarray:
    """(3, 3): about a random axis by up to `most_deg`."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = math.radians(rng.uniform(-most_deg, most_deg))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(4, 4)"""
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    return transform


def frames_of(
    depth: np.ndarray, state: np.ndarray, present: np.ndarray, to_rig: np.ndarray, cube_mm=300.0
) -> RealFrames:
    """Frames in the arrays' own precision."""
    frames = present.shape[0]
    return RealFrames(
        depth=torch.from_numpy(depth),
        state=torch.from_numpy(state.astype(np.uint8)),
        present=torch.from_numpy(present),
        to_rig=torch.from_numpy(to_rig),
        views=ViewIndex.of(present),
        sequence=torch.zeros(frames, dtype=torch.int64),
        time=torch.arange(frames, dtype=torch.float64),
        index=torch.arange(frames),
        cube_mm=cube_mm,
    )


class Scene:
    """Frames with random balls seen by random cameras, and estimates that are some mm off; all in float64.

    Attributes:
        frames: B x V, with holes in the maps.
        points: (N, J, 3) estimates of the present views.
        variance: (N, J) mm^2.
        truth: (N, J, 3), where the balls are in each present view's crop.
    """

    def __init__(self, present, seed=0, size=20, radii_mm=(24.0, 22.0, 15.0, 11.0), off_mm=8.0, holes=True):
        rng = np.random.default_rng(seed)
        self.present = np.asarray(present, dtype=bool)
        frames, views = self.present.shape
        balls = len(radii_mm)
        self.grid = Grid(size=size, cube_mm=240.0)
        self.hand = BallHand(list(radii_mm))
        self.renderer = SpheresRenderer(self.hand.radii, SpheresConfig())
        depth = np.full((frames, views, size, size), self.grid.far_mm)
        state = np.zeros((frames, views, size, size), dtype=int)
        to_rig = np.tile(np.eye(4), (frames, views, 1, 1))
        truth = []
        for b in range(frames):
            balls_in_rig = rng.uniform(-45, 45, size=(balls, 3)) + np.array([0, 0, 900])
            for v in range(views):
                if not self.present[b, v]:
                    continue
                turn = random_rotation(rng, 60)
                centre = np.array([0, 0, 900.0]) + rng.uniform(-15, 15, size=3)
                to_rig[b, v] = rigid(turn, centre)
                seen = reference.across(balls_in_rig, np.eye(4), to_rig[b, v])
                rendered, hit, _ = reference.render(seen, radii_mm, size, self.grid.cube_mm)
                if holes:
                    unknown = rng.random((size, size)) < 0.05
                    rendered = np.where(unknown, self.grid.far_mm, rendered)
                    hit = np.where(unknown, State.UNKNOWN, hit)
                depth[b, v], state[b, v] = rendered, hit
                truth.append(seen)
        self.frames = frames_of(depth, state, self.present, to_rig, self.grid.cube_mm)
        self.truth = torch.from_numpy(np.array(truth))
        self.points = self.truth + torch.from_numpy(rng.normal(size=self.truth.shape)) * off_mm
        self.variance = torch.from_numpy(rng.uniform(10, 100, size=self.truth.shape[:2]))

    def fit(self, points: Tensor | None = None) -> Fit:
        """A fit of the estimates, or of other points (N, J, 3)."""
        return Fit(
            hand=self.hand,
            renderer=self.renderer,
            grid=self.grid,
            frames=self.frames,
            real=Estimate(self.points if points is None else points, variance=self.variance),
        )

    def pairs(self):
        """Packed rows (source, target) of all pairs, in the order of `ViewIndex`, found by loops."""
        rows = [
            (b, v) for b in range(self.present.shape[0]) for v in range(self.present.shape[1]) if self.present[b, v]
        ]
        own = [(n, n) for n in range(len(rows))]
        others = [(s, t) for s in range(len(rows)) for t in range(len(rows)) if s != t and rows[s][0] == rows[t][0]]
        return rows, own, own + others

    def across(self, source: int, target: int, points: Tensor | None = None) -> np.ndarray:
        """(J, 3): the estimate of packed row `source` in the crop of packed row `target`."""
        rows = self.pairs()[0]
        points = (self.points if points is None else points).detach().numpy()[source]
        if source == target:
            return points
        to_rig = self.frames.to_rig.numpy()
        return reference.across(points, to_rig[rows[source]], to_rig[rows[target]])
