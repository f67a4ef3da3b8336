"""Simulate a multi-view capture and write it in NYU's raw layout: rig, people, motion, sensor, annotation.

Deterministic by seed: every image draws from a generator of its own, keyed by (seed, split, frame, view), so neither
the number of threads nor the order of work changes a byte. `capture.json` beside the splits says that the data are
simulated, who is seen when, and how all of it was made.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import InputError, RunError
from hpf_core.geometry import apply_rigid, invert_rigid
from hpf_core.interfaces import Config, HandModel, Progress, Spheres, no_progress
from hpf_core.synthesis import nyu_layout, rigs
from hpf_core.synthesis.actors import Actor
from hpf_core.synthesis.motion import random_motion
from hpf_core.synthesis.rasterise import perspective
from hpf_core.synthesis.sensor import Sensor
from hpf_core.synthesis.sidecar import Segment, Sidecar

TRAINING, NEW, SECOND = 0, 1, 2
SUBJECT_NAMES = {TRAINING: "training subject", NEW: "new subject", SECOND: "second training subject"}
_MARGIN_PX = 48  # around the hand: wider than any shadow it throws
_ROOM_MM = 1050.0  # from the middle of the workspace to the wall
RATE_HZ = 10.0

_TORSO = (
    *((x, y, 530.0 + 0.5 * abs(x), 130.0) for x in (-90.0, -30.0, 30.0, 90.0) for y in (200.0, 300.0, 400.0, 500.0)),
    *((x, 150.0 + 0.2 * abs(x), 560.0, 75.0) for x in (-220.0, -150.0, -75.0, 0.0, 75.0, 150.0, 220.0)),
    *((0.0, y, 560.0, r) for y, r in ((80.0, 60.0), (-20.0, 85.0), (-70.0, 95.0), (-120.0, 90.0))),
)
"""Chest, shoulders, neck and head of a person behind the hand: x, y, z from the workspace's middle and radius, mm."""

_CAST = {"train": (TRAINING, SECOND), "validation": (SECOND, TRAINING), "test": (TRAINING, NEW)}
"""Who is seen in the first and in the second half of each split, as NYU's test split has two people."""


class CaptureConfig(Config):
    """What a simulated capture holds.

    With the defaults, 95 % of the hands turn their palm by less than 33 degrees away from the first camera and by less
    than 57 from the others, rolled by less than 29: synthetic samples up to 70 and 45 degrees cover all of them.
    """

    train: int = Field(400, ge=1, description="Frames in the train split.")
    validation: int = Field(100, ge=1, description="Frames in the validation split.")
    test: int = Field(100, ge=1, description="Frames in the test split.")
    views: int = Field(3, ge=1, le=9, description="Calibrated cameras; the first stands in the middle.")
    seed: int = Field(0, ge=0, description="Everything in the capture follows from it.")
    distance_mm: float = Field(850.0, ge=500, le=2000, description="Distance of the hand from each camera, mm.")
    spread_deg: float = Field(
        30.0, ge=0, le=60, description="Angle of the outermost cameras from the middle one, degrees."
    )
    cone_deg: float = Field(
        35.0, ge=0, le=180, description="How far the palm turns away from the first camera at most, degrees."
    )
    roll_deg: float = Field(30.0, ge=0, le=180, description="How far the hand is turned in the image at most, degrees.")
    frames_per_pose: int = Field(4, ge=1, description="Frames from one key pose to the next.")
    reach_mm: float = Field(50.0, ge=0, le=200, description="How far the hand wanders from its place, mm.")
    sensor: Sensor = Field(Sensor(), description="The depth sensor's errors.")


def segments_of(config: CaptureConfig) -> dict[str, tuple[Segment, ...]]:
    """Who is seen when, for each split."""
    plan, sequence = {}, 0
    for split, (one, other) in _CAST.items():
        frames = getattr(config, split)
        half = (frames + 1) // 2
        parts = [Segment(0, half, sequence, one), Segment(half, frames - half, sequence + 1, other)]
        plan[split] = tuple(part for part in parts if part.frames)
        sequence += 2
    return plan


def simulate(folder: Path, hand: HandModel, config: CaptureConfig, progress: Progress = no_progress) -> None:
    """Make a capture in `folder`, which must not exist or be empty. It appears there complete or not at all.

    Raises:
        InputError: the folder holds something, or the hand model has no annotation `nyu36`.
        RunError: the disk is full or the folder can't be written.
    """
    if "nyu36" not in hand.annotations:
        raise InputError(
            f"A capture in NYU's layout needs a hand model with the annotation 'nyu36'; this one has "
            f"{', '.join(sorted(hand.annotations)) or 'none'}."
        )
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} isn't empty. Choose a new folder for the capture.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise RunError(f"Can't write the capture to {folder}: {error.strerror or error}.") from error
    try:
        made.chmod(0o755)
        _write(made, hand, config, progress)
        if folder.exists():
            folder.rmdir()
        made.replace(folder)
    except OSError as error:
        raise RunError(f"Can't write the capture to {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(folder: Path, hand: HandModel, config: CaptureConfig, progress: Progress) -> None:
    rig = rigs.arc(config.views, config.distance_mm, config.spread_deg)
    stage = _Stage(rig, config)
    people = {subject: Actor.random(hand, _generator(config.seed, 1, subject)) for subject in SUBJECT_NAMES}
    plan = segments_of(config)
    total, done = sum(part.frames for parts in plan.values() for part in parts), 0
    for number, (split, parts) in enumerate(plan.items()):
        (folder / split).mkdir()
        joints = []
        for part in parts:
            motion = random_motion(
                hand,
                part.frames,
                _generator(config.seed, 2, part.sequence),
                frames_per_pose=config.frames_per_pose,
                cone_deg=config.cone_deg,
                roll_deg=config.roll_deg,
                target_mm=torch.tensor([0.0, 0.0, config.distance_mm]),
                reach_mm=config.reach_mm,
            )
            points, surface = people[part.subject].perform(motion)
            matrix = torch.as_tensor(hand.annotations["nyu36"][1], dtype=points.dtype)
            joints.append(matrix @ points)

            def shoot(
                frame: int, split: str = split, number: int = number, part: Segment = part, surface: Spheres = surface
            ) -> None:
                for view in range(config.views):
                    generator = _generator(config.seed, 3, number, part.first + frame, view)
                    depth = stage.image(surface.centres[frame], surface.radii[frame], view, generator)
                    nyu_layout.write_depth(nyu_layout.image_path(folder / split, view, part.first + frame), depth)

            with ThreadPoolExecutor(workers()) as pool:
                for _ in pool.map(shoot, range(part.frames)):
                    done += 1
                    progress(done, total, "simulating the capture")
        in_rig = torch.cat(joints).double()
        xyz = np.stack([apply_rigid(pose, in_rig).numpy() for pose in torch.from_numpy(rig.from_rig)])
        nyu_layout.write_annotation(folder / split, nyu_layout.Annotation(xyz, nyu_layout.JOINTS))
    _sidecar(config, plan).save(folder)


def _sidecar(config: CaptureConfig, plan: dict[str, tuple[Segment, ...]]) -> Sidecar:
    return Sidecar(
        simulated=True,
        rate_hz=RATE_HZ,
        subject_names=SUBJECT_NAMES,
        segments=plan,
        made={"config": config.model_dump(mode="json")},
    )


class _Stage:
    """The cameras, what they see behind the hand, and what their sensors make of it."""

    def __init__(self, rig: rigs.Rig, config: CaptureConfig) -> None:
        self.camera, self.sensor = rig.camera, config.sensor
        self.from_rig = invert_rigid(torch.from_numpy(rig.to_rig)).float()
        self.true, self.measured = [], []
        for view, pose in enumerate(torch.from_numpy(rig.to_rig)):
            depth = torch.minimum(_room(rig.camera, pose, config.distance_mm), self._torso(view, config))
            depth[depth >= nyu_layout.NO_RETURN_FROM] = torch.inf  # out of the sensor's range
            self.true.append(depth)
            generator = _generator(config.seed, 4, view)
            self.measured.append(self.sensor.measure(depth[None], self.camera.fx, generator)[0])

    def _torso(self, view: int, config: CaptureConfig) -> Tensor:
        """A person who stands behind the hand: chest, shoulders and head, as spheres, mm in the rig's frame."""
        body = torch.tensor(_TORSO)
        centres = body[:, :3] + torch.tensor([0.0, 0.0, config.distance_mm])
        return perspective(apply_rigid(self.from_rig[view], centres), body[:, 3], self.camera)

    def image(self, centres: Tensor, radii: Tensor, view: int, generator: torch.Generator) -> np.ndarray:
        """(H, W) uint16 mm. Only the hand's surroundings are measured anew; the room behind stands still."""
        hand = perspective(apply_rigid(self.from_rig[view], centres), radii, self.camera)
        image = self.measured[view].clone()
        hit = torch.isfinite(hand)
        rows, columns = hit.any(1).nonzero(), hit.any(0).nonzero()
        if len(rows):
            window = tuple(
                slice(max(0, int(seen[0]) - _MARGIN_PX), int(seen[-1]) + _MARGIN_PX) for seen in (rows, columns)
            )
            scene = torch.minimum(hand[window], self.true[view][window])
            image[window] = self.sensor.measure(scene[None], self.camera.fx, generator)[0]
        return image.round().to(torch.int32).numpy().astype(np.uint16)


def _room(camera: rigs.Camera, to_rig: Tensor, distance_mm: float) -> Tensor:
    """Depth (H, W) mm of a rounded room around the hand, the inside of a sphere: all cameras see it within range."""
    u = (torch.arange(camera.width, dtype=torch.float64) - camera.cx) / camera.fx
    v = (torch.arange(camera.height, dtype=torch.float64) - camera.cy) / camera.fy
    middle = torch.tensor([0.0, 0.0, distance_mm], dtype=torch.float64)
    x, y, z = (to_rig[:3, :3].T @ (middle - to_rig[:3, 3])).tolist()  # in the camera's frame
    a, b = u.square() + v[:, None].square() + 1, u * x + v[:, None] * y + z
    c = x * x + y * y + z * z - _ROOM_MM**2
    return ((b + (b.square() - a * c).clamp(min=0).sqrt()) / a).float()


def _generator(*key: int) -> torch.Generator:
    """A generator on the host, of its own for each key."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


def workers() -> int:
    """Threads for work on images: as many as this process may use cores, 8 at most."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, available)
