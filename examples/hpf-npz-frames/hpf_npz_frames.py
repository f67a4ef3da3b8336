"""The dataset `npz_frames` for HPF: depth maps of several cameras from NumPy files, with or without labels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from hpf.plugin import (
    Build,
    Camera,
    Config,
    DataError,
    EvaluationProtocol,
    Grid,
    HandModel,
    Labels,
    PluginSpec,
    Progress,
    RealDataset,
    RealFrames,
    State,
    ViewIndex,
    bytes_key,
    crop,
    fuse_centres,
    hookimpl,
    in_cameras,
    in_rig,
    mass_centre,
    nearest,
    no_progress,
    write_atomic,
)

SPLITS = ("train", "validation", "test")


class NpzFramesConfig(Config):
    """Options of `npz_frames`."""

    root: str = Field(description="Folder with cameras.json and the splits.")
    annotation: str | None = Field(
        None, description="Annotation of the hand model that `joints` has, such as nyu14; null without labels."
    )


class NpzFrames(RealDataset):
    """Crops of all frames, made once and then read from the cache.

    Args:
        config: the options.
        grid: pixels and cube of a crop.
        hand: hand model with the annotation.
        cache: folder for the crops.

    Raises:
        DataError: `cameras.json` is missing or wrong, or the hand model lacks the annotation.
    """

    def __init__(self, config: NpzFramesConfig, grid: Grid, hand: HandModel, cache: Path) -> None:
        self.root, self.grid = Path(config.root), grid
        self.cameras, self.to_rig = read_cameras(self.root / "cameras.json")
        self.names: tuple[str, ...] = ()
        if config.annotation is not None:
            if config.annotation not in hand.annotations:
                raise DataError(
                    f"annotation is '{config.annotation}'. {nearest(config.annotation, list(hand.annotations))}"
                )
            self.names = hand.annotations[config.annotation][0]
        self.protocol = EvaluationProtocol(config.annotation, view=0, fingertips=(), centre="mass")
        self.files = {split: sorted((self.root / split).glob("*/*.npz")) for split in SPLITS}
        if not any(self.files.values()):
            raise DataError(f"{self.root} has no frames such as train/SEQUENCE/000000.npz")
        self.cache = cache / "npz_frames"
        self._crops: dict[str, dict[str, np.ndarray]] = {}

    def prepare(self, progress: Progress = no_progress) -> None:
        """Crop the frames of every split, unless the cache has these crops."""
        for split, files in self.files.items():
            if not files or split in self._crops:
                continue
            path = self.cache / f"{self._key(files)}.npz"
            if not path.is_file():
                made = self._crop_all(split, files, progress)
                write_atomic(path, lambda new, made=made: np.savez(new, **made))  # type: ignore[misc]
            with np.load(path, allow_pickle=False) as stored:
                self._crops[split] = {name: stored[name] for name in stored.files}

    def splits(self) -> Mapping[str, int]:
        """Number of usable frames of each split."""
        self.prepare()
        return {split: len(stored["time"]) for split, stored in self._crops.items()}

    def left_out(self, split: str) -> Sequence[str]:
        """Why frames can't be used."""
        self.prepare()
        return tuple(str(reason) for reason in self._crops[split]["left_out"])

    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        """The frames with these numbers, on the host."""
        self.prepare()
        stored, numbers = self._crops[split], np.asarray(indices, dtype=np.int64)
        present = stored["present"][numbers]
        return RealFrames(
            depth=torch.from_numpy(stored["depth"][numbers]),
            state=torch.from_numpy(stored["state"][numbers]),
            present=torch.from_numpy(present),
            to_rig=torch.from_numpy(stored["to_rig"][numbers].astype(np.float32)),
            views=ViewIndex.of(present),
            sequence=torch.from_numpy(stored["sequence"][numbers]),
            time=torch.from_numpy(stored["time"][numbers]),
            index=torch.from_numpy(numbers),
            cube_mm=self.grid.cube_mm,
        )

    def labels(self, split: str) -> Labels | None:
        """The joints of all frames in the first camera's frame, which is the rig's. Only evaluation calls this."""
        self.prepare()
        if not self.names or "joints" not in self._crops[split]:
            return None
        joints = self._crops[split]["joints"]
        return Labels(joints, self.names, np.zeros(len(joints), dtype=np.int64), {0: "subject"})

    def to_camera(self, split: str) -> np.ndarray:
        """(F, 4, 4), from the first view's crop to its camera, which is the rig."""
        self.prepare()
        return self._crops[split]["to_rig"][:, 0]

    def _key(self, files: Sequence[Path]) -> str:
        """A key that changes with everything that the crops depend on."""
        about = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        cameras = (self.root / "cameras.json").read_text(encoding="utf-8")
        return bytes_key("\n".join([repr(self.grid), repr(self.names), cameras, *about]).encode())

    def _crop_all(self, split: str, files: Sequence[Path], progress: Progress) -> dict[str, np.ndarray]:
        rows: list[dict[str, Any]] = []
        left_out: list[str] = []
        sequences = sorted({path.parent.name for path in files})
        for done, path in enumerate(files):
            progress(done, len(files), f"cropping {split}")
            try:
                row = self._crop(path)
            except DataError as error:
                left_out.append(str(error))
            else:
                rows.append(row | {"sequence": np.int64(sequences.index(path.parent.name))})
        progress(len(files), len(files), f"cropping {split}")
        if not rows:
            raise DataError(f"the split {split} has no usable frame. The first reason: {left_out[0]}")
        common = set.intersection(*(set(row) for row in rows))  # without joints if a frame lacks them
        stacked = {name: np.stack([row[name] for row in rows]) for name in sorted(common)}
        return stacked | {"left_out": np.array(left_out, dtype=np.str_)}

    def _crop(self, path: Path) -> dict[str, Any]:
        """One frame: each view cropped around the hand's centre, which all views estimate together.

        Raises:
            DataError: the file is damaged, or no view shows a hand.
        """
        found = read_frame(path, len(self.cameras), len(self.names))
        images = list(zip(found["depth"], self.cameras, strict=True))
        guesses = [mass_centre(depth, depth > 0, camera, self.grid.cube_mm) for depth, camera in images]
        missing = np.full(3, np.nan)
        each = in_rig(np.stack([missing if guess is None else guess for guess in guesses]), self.to_rig)
        centre = fuse_centres(each)
        if not np.isfinite(centre).all():
            raise DataError(f"{path}: no view has a surface near the camera")
        size = self.grid.size
        row: dict[str, Any] = {
            "depth": np.full((len(images), size, size), self.grid.far_mm, dtype=np.float32),
            "state": np.full((len(images), size, size), int(State.EMPTY), dtype=np.uint8),
            "present": np.zeros(len(images), dtype=bool),
            "to_rig": np.tile(np.eye(4), (len(images), 1, 1)),
            "time": np.float64(found["time"]),
        }
        for view, place in enumerate(in_cameras(centre, self.to_rig)):
            depth, camera = images[view]
            if guesses[view] is None:
                continue
            cut = crop(depth, depth > 0, camera, place, self.grid, turned=False)
            row["depth"][view], row["state"][view], row["present"][view] = cut.depth, cut.state, True
            row["to_rig"][view] = self.to_rig[view] @ cut.to_camera
        return row | ({"joints": found["joints"].astype(np.float64)} if "joints" in found else {})


def read_cameras(path: Path) -> tuple[tuple[Camera, ...], np.ndarray]:
    """The cameras of a file, and (V, 4, 4) from each camera's frame to the rig's.

    Raises:
        DataError: the file is missing, or has something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["cameras"]
        cameras = tuple(Camera(**{k: v for k, v in entry.items() if k != "to_rig"}) for entry in entries)
        to_rig = np.array([entry["to_rig"] for entry in entries], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected cameras with width, height, fx, fy, cx, cy and to_rig ({error})") from error
    if to_rig.shape != (len(cameras), 4, 4) or not np.allclose(to_rig[0], np.eye(4)):
        raise DataError(f"{path}: each `to_rig` must be 4 x 4, and the first one the identity")
    return cameras, to_rig


def read_frame(path: Path, views: int, joints: int) -> dict[str, np.ndarray]:
    """The arrays of a frame; `joints` only if the file has them and a number of them is expected.

    Raises:
        DataError: the file is damaged, or an array has another shape.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = ["depth", "time", *(["joints"] if joints and "joints" in archive.files else [])]
            found = {name: archive[name] for name in wanted}
    except Exception as error:  # numpy raises errors of many kinds for damaged files
        raise DataError(f"{path} can't be read: {error}") from error
    if found["depth"].ndim != 3 or len(found["depth"]) != views or found["depth"].dtype != np.uint16:
        shape, kind = found["depth"].shape, found["depth"].dtype
        raise DataError(f"{path}: depth is {kind} {shape}, but uint16 ({views}, H, W) was expected")
    if "joints" in found and found["joints"].shape != (joints, 3):
        raise DataError(f"{path}: joints has the shape {found['joints'].shape}, but ({joints}, 3) was expected")
    return found


def build(config: NpzFramesConfig, build: Build) -> NpzFrames:
    """Make the dataset from the options of a recipe."""
    return NpzFrames(config, build.grid, build.need_hand(), build.cache)


SPEC = PluginSpec(
    kind="dataset",
    name="npz_frames",
    config=NpzFramesConfig,
    factory=build,
    summary="Depth maps of several cameras from NumPy files, with or without labels.",
    source="own work",
    interface=(2, 0),
)


@hookimpl
def hpf_datasets():
    """The plugins of this package."""
    return (SPEC,)
