"""Simulate a multi-view capture and write it in NYU's layout or HPF's own: rig, people, motion, sensor, annotation.

The seed determines everything. Every image draws from its own generator with the key (seed, split, frame, view). So the
number of threads, the order of work and interruptions change no byte. `capture.json` beside the splits states that the
data are simulated, which person each frame shows, and all options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hpf_core.data.images import is_whole
from hpf_core.data.sidecar import Segment, Sidecar
from hpf_core.errors import InputError
from hpf_core.files.worker_pools import threaded
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.interfaces import Config, HandModel, Mesh
from hpf_core.progress import Progress, no_progress
from hpf_core.simulation import rigs
from hpf_core.simulation.motion import Motion, random_motion
from hpf_core.simulation.people import NEW, SECOND, SUBJECT_NAMES, TRAINING, Actor, cast
from hpf_core.simulation.scene import Scene
from hpf_core.simulation.sensor import Sensor
from hpf_core.simulation.surroundings import (
    SceneKind,
    held_object,
    other_hand,
    person_without_hands,
    second_person,
    table,
    with_surroundings,
)
from hpf_core.simulation.unfinished import Unfinished
from hpf_core.simulation.writers import LayoutName, writer_of

VERSION = 2
"""Version of `simulate`'s output; increase it when the same options give another capture."""

RATE_HZ = 10.0
BYTES_PER_IMAGE = 175_000
"""Upper bound of the bytes of a simulated image on disk (measured: 160 to 171 thousand)."""

_CHUNK = 32  # number of moments whose meshes are in memory at once
_CAST = {"train": (TRAINING, SECOND), "validation": (SECOND, TRAINING), "test": (TRAINING, NEW)}
"""The person in the first and in the second half of each split. NYU's test split also has two people."""


class CaptureConfig(Config):
    """What a simulated capture holds.

    With the defaults, 95 % of the hands turn their palm by less than 33 degrees away from the first camera and by less
    than 57 from the others, rolled by less than 29: synthetic samples up to 70 and 45 degrees cover all of them.
    """

    train: int = Field(400, ge=1, le=9_999_999, description="Frames in the train split.")
    validation: int = Field(100, ge=1, le=9_999_999, description="Frames in the validation split.")
    test: int = Field(100, ge=1, le=9_999_999, description="Frames in the test split.")
    views: int = Field(3, ge=1, le=9, description="Calibrated cameras; the first is in the middle.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Determines the whole capture.")
    distance_mm: float = Field(850.0, ge=500, le=2000, description="Distance of the hand from each camera, mm.")
    spread_deg: float = Field(
        30.0, ge=0, le=150, description="Angle of the outermost cameras from the middle one, degrees."
    )
    cone_deg: float = Field(
        35.0, ge=0, le=180, description="How far the palm turns away from the first camera at most, degrees."
    )
    roll_deg: float = Field(30.0, ge=0, le=180, description="How far the hand is turned in the image at most, degrees.")
    frames_per_pose: int = Field(3, ge=1, description="Frames from one key pose to the next.")
    reach_mm: float = Field(50.0, ge=0, le=200, description="How far the hand wanders from its place, mm.")
    sensor: Sensor = Field(Sensor(), description="The depth sensor's errors.")
    scene: SceneKind = Field(
        "plain",
        description="What else is seen: nothing; a `table` whose edge is nearer than the hand; a `second_person` "
        "before the first; `two_hands`, of which the right one is annotated; an `object` in the hand; or `empty`, "
        "a person without a hand in view, whose annotation is NaN.",
    )


def segments_of(config: CaptureConfig) -> dict[str, tuple[Segment, ...]]:
    """The person of each part of each split."""
    plan, sequence = {}, 0
    for split, (one, other) in _CAST.items():
        frames = getattr(config, split)
        half = (frames + 1) // 2
        parts = [Segment(0, half, sequence, one), Segment(half, frames - half, sequence + 1, other)]
        plan[split] = tuple(part for part in parts if part.frames)
        sequence += 2
    return plan


def sidecar_of(hand: HandModel, config: CaptureConfig, layout: LayoutName = "nyu") -> Sidecar:
    """Return the `capture.json` of such a capture. Two captures have equal sidecars only if every byte is equal."""
    return Sidecar(
        simulated=True,
        rate_hz=RATE_HZ,
        subject_names=SUBJECT_NAMES,
        segments=segments_of(config),
        made={"version": VERSION, "hand": hand.fingerprint(), "config": _config_document(config)}
        | ({} if layout == "nyu" else {"layout": layout}),
    )


def _config_document(config: CaptureConfig) -> dict[str, Any]:
    """The options that determine a capture. The document omits a plain scene, as the documents of old captures do."""
    document = config.model_dump(mode="json")
    if document["scene"] == "plain":
        del document["scene"]
    return document


def simulate(
    folder: Path,
    hand: HandModel,
    config: CaptureConfig,
    progress: Progress = no_progress,
    layout: LayoutName = "nyu",
) -> bool:
    """Make a capture in `folder`, which must not exist or be empty. The folder appears complete or not at all.

    The hidden folder `.NAME-partial` beside it holds the unfinished capture. After an interruption, a call with the
    same options continues there. The result is the same to the byte.

    Returns:
        True if images were made; False if `folder` already holds exactly this capture.

    Raises:
        InputError: the folder holds something else, can't be written, or the disk is too small; an unfinished capture
            of other options is in the way; or the hand model has no annotation `nyu36`. Nothing was changed.
        RunError: the disk filled up during the work. The finished images stay for the next call.
    """
    if "nyu36" not in hand.annotations:
        raise InputError(
            f"A simulated capture needs a hand model with the annotation 'nyu36'; this one has "
            f"{', '.join(sorted(hand.annotations)) or 'none'}."
        )
    with Unfinished(folder, sidecar_of(hand, config, layout), progress) as place:
        if place.finished:
            return False
        studio = _Studio(place.path, hand, config, layout)
        place.need_room(studio.missing() * BYTES_PER_IMAGE)
        studio.shoot(progress)
        place.finish()
    return True


class _Studio:
    """Makes the missing images of a capture in `folder`."""

    def __init__(self, folder: Path, hand: HandModel, config: CaptureConfig, layout: LayoutName) -> None:
        self._hand, self._config = hand, config
        self._rig = rigs.arc(config.views, config.distance_mm, config.spread_deg)
        self._writer = writer_of(layout, folder, self._rig)
        self._plan = segments_of(config)
        self._frames = sum(part.frames for parts in self._plan.values() for part in parts)

    def missing(self) -> int:
        """Number of missing images."""
        there = sum(1 for path in self._writer.root.rglob("*.png") if not path.name.startswith("."))
        return self._frames * self._config.views - there

    def _missing(self, split: str, frame: int) -> list[int]:
        """The views whose image of a frame is missing or incomplete."""
        paths = (self._writer.path(split, view, frame) for view in range(self._config.views))
        return [view for view, path in enumerate(paths) if not is_whole(path)]

    def shoot(self, progress: Progress) -> None:
        """Make every missing image, and the annotation of each split."""
        people = cast(self._hand, generator_of(self._config.seed, 1))
        scene = Scene(self._rig, self._config.distance_mm, self._config.sensor)
        matrix = torch.as_tensor(self._hand.annotations["nyu36"][1])
        done = 0
        for number, (name, parts) in enumerate(self._plan.items()):
            joints = []
            self._writer.prepare(name)
            for part in parts:
                for first, points, surface in self._performed(people, part):
                    seen = matrix.to(points) @ points
                    joints.append(torch.full_like(seen, torch.nan) if self._config.scene == "empty" else seen)

                    def image(
                        k: int,
                        split: str = name,
                        number: int = number,
                        first: int = first,
                        points: Tensor = points,
                        surface: Mesh = surface,
                    ) -> None:
                        for view in self._missing(split, first + k):
                            generator = generator_of(self._config.seed, 3, number, first + k, view)
                            depth = scene.image(surface.vertices[k], surface.faces, points[k], view, generator)
                            self._writer.write(self._writer.path(split, view, first + k), depth)

                    for _ in threaded(image, range(len(points))):
                        done += 1
                        progress(done, self._frames, "simulating the capture")
            in_rig = torch.cat(joints).double()
            xyz = np.stack([apply_rigid(pose, in_rig).numpy() for pose in torch.from_numpy(self._rig.from_rig)])
            self._writer.annotate(name, xyz)

    def _performed(self, people: Mapping[int, Actor], part: Segment) -> Iterator[tuple[int, Tensor, Mesh]]:
        """Yield the recording in chunks: first frame's number, points (F, J, 3) mm and surfaces in the rig's frame."""
        actor = people[part.subject]
        motion = self._motion(part, 2)
        for first in range(0, part.frames, _CHUNK):
            some = motion.moments(first, first + _CHUNK)
            points, surface = actor.perform(some)
            yield part.first + first, points, self._surrounded(people, part, first, some, points, surface)

    def _surrounded(
        self, people: Mapping[int, Actor], part: Segment, first: int, motion: Motion, points: Tensor, surface: Mesh
    ) -> Mesh:
        """Return the surfaces of some moments of a recording, including the scene's other objects."""
        config = self._config
        middle = motion.body.new_tensor([0.0, 0.0, config.distance_mm])
        if config.scene == "table":
            return with_surroundings(surface, table(len(points), middle))
        if config.scene == "second_person":
            other = people[NEW if part.subject != NEW else TRAINING]
            return with_surroundings(surface, second_person(other.body, motion.body))
        if config.scene == "two_hands":
            others = self._motion(part, 4).moments(first, first + _CHUNK)
            _, performed = people[part.subject].perform(others, body=False)
            return with_surroundings(surface, other_hand(performed, middle))
        if config.scene == "object":
            return with_surroundings(
                surface, held_object(self._hand, points, generator_of(config.seed, 5, part.sequence))
            )
        if config.scene == "empty":
            return person_without_hands(people[part.subject].body, motion.body)
        return surface

    def _motion(self, part: Segment, key: int) -> Motion:
        """Return the motion of a recording's hand; another key gives another hand's motion."""
        config = self._config
        return random_motion(
            self._hand,
            part.frames,
            generator_of(config.seed, key, part.sequence),
            frames_per_pose=config.frames_per_pose,
            cone_deg=config.cone_deg,
            roll_deg=config.roll_deg,
            target_mm=torch.tensor([0.0, 0.0, config.distance_mm]),
            reach_mm=config.reach_mm,
        )


def generator_of(*key: int) -> torch.Generator:
    """Create a generator on the host, a separate one for each key."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))
