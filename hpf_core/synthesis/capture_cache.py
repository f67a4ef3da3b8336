"""What a capture keeps in the cache: its calibration, its centres, and crops made with them (`captures.py` reads them).

In `captures/<capture>/<split>/` lies what follows from labels and images once and for all:

- `calibration.json`, from the annotation (`calibration.py`);
- `centres-annotated.npy` or `centres-start.npy` (F, V, 3) mm, where each image is cropped: on the annotated palm, or
  without a label (`centres.py`);
- `crops-<key>/`, memory-mapped arrays made with them, keyed by all that they depend on; wider than the crop where
  centres are refined later (`recentring.py`).

With these in place nothing but an evaluation reads a label.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.cache import content_key, write_atomic
from hpf_core.errors import DataError, RunError
from hpf_core.geometry import Grid
from hpf_core.interfaces import Progress
from hpf_core.synthesis import nyu_layout
from hpf_core.synthesis.calibration import Calibration, calibrate
from hpf_core.synthesis.centres import Centring, fuse, in_cameras, in_rig, mass_centre
from hpf_core.synthesis.crops import Crop, crop
from hpf_core.synthesis.recentring import wider
from hpf_core.synthesis.sidecar import Segment
from hpf_core.synthesis.simulate import workers
from hpf_core.synthesis.store import FORMAT, CropStore, StoreWriter


class CaptureWarning(UserWarning):
    """Something of a capture is damaged: of its cache, which is made anew, or frames, which are left out."""


def _warn_of_labels(path: Path, error: Exception) -> None:
    """What is made anew reads the annotation again: that must not happen unseen."""
    warnings.warn(f"{path} is damaged and is made anew from the dataset ({error})", CaptureWarning, stacklevel=3)


@dataclass(frozen=True)
class CaptureSource:
    """Which capture, and what of it.

    Attributes:
        root: folder with one folder per split.
        name: what errors call it.
        views: the views used, counted from 0; the first one is evaluated and its camera is the rig's frame.
        segments: for each split, who is seen when; frames that none covers are of sequence 0 and subject 0.
        subject_names: name of each subject number.
        rate_hz: frames a second, or None where it isn't known.
        limit: at most so many frames of each split, spread over it; None for all.
        simulated: whether software made it.
    """

    root: Path
    name: str
    views: tuple[int, ...]
    segments: Mapping[str, Sequence[Segment]]
    subject_names: Mapping[int, str]
    rate_hz: float | None = None
    limit: int | None = None
    simulated: bool = False


@dataclass(frozen=True)
class CropOptions:
    """How images are cropped.

    Attributes:
        grid: size of the crops.
        centring: "annotated" on the palm's centre; "mass", which needs no label; or "refined", which begins there and
            can be moved by `Capture.recentre`.
        turned: whether a crop's z runs along the ray through its centre.
        single_view_share: share of the train split's frames, spread evenly, of which only the first view is used.
    """

    grid: Grid
    centring: Centring
    turned: bool
    single_view_share: float = 0.0

    @property
    def start(self) -> str:
        """Where the crops are made: "annotated", or "start" where no label says it."""
        return "annotated" if self.centring == "annotated" else "start"

    @property
    def margin(self) -> int:
        """Pixels by which the kept maps are wider on each side, so that crops can be moved: a quarter of the cube."""
        return self.grid.size // 4 if self.centring == "refined" else 0


@dataclass(frozen=True)
class CaptureCache:
    """The cached crops of a capture's splits.

    Attributes:
        source: the capture.
        options: how it is cropped.
        root: the folder of all captures in the cache.
    """

    source: CaptureSource
    options: CropOptions
    root: Path

    def place(self, split: str, folder: Path) -> Path:
        """Where this split's files live in the cache: by its place on disk and the number of its images."""
        count = nyu_layout.count_frames(folder, self.source.views)
        key = content_key({"root": str(self.source.root.resolve()), "views": list(self.source.views), "frames": count})
        return self.root / key[:16] / split

    def open(self, split: str, folder: Path, progress: Progress) -> CropStore:
        """A split's crops, made if they aren't there.

        Raises:
            DataError: the split is missing or unusable.
            RunError: the cache can't be written.
        """
        place = self.place(split, folder)
        grid, kept = self.options.grid, wider(self.options.grid, self.options.margin)
        key = content_key(
            {
                "format": FORMAT,
                "size": grid.size,
                "cube_mm": grid.cube_mm,
                "centring": self.options.start,
                "margin": self.options.margin,
                "turned": self.options.turned,
                "limit": self.source.limit,
            }
        )
        made = place / f"crops-{key[:16]}"
        store = CropStore.open(made, len(self.source.views), kept.size)
        if store is None:
            self._make(split, folder, place, made, progress)
            store = CropStore.open(made, len(self.source.views), kept.size)
        if store is None:
            raise RunError(f"The cache {made} can't be read back right after it was written. Is the disk full?")
        if not len(store.kept):
            reasons = "; ".join(store.left_out[:3])
            raise DataError(f"{self.source.name}: no frame of {folder} can be used. {reasons}")
        if store.left_out:
            few, more = store.left_out[:3], len(store.left_out) - 3
            said = " ".join(few) + (f" And {more} more." if more > 0 else "")
            count = f"{len(store.left_out)} of {len(store.numbers)} frames of {folder}"
            warnings.warn(f"{count} can't be used and are left out. {said}", CaptureWarning, stacklevel=3)
        return store

    def _make(self, split: str, folder: Path, place: Path, made: Path, progress: Progress) -> None:
        total = nyu_layout.count_frames(folder, self.source.views)
        if not total:
            names = ", ".join(nyu_layout.image_path(folder, view, 0).name for view in self.source.views)
            raise DataError(f"{self.source.name}: {folder} has no depth images; expected {names}, and so on.")
        calibration = self._calibration(folder, place)
        known = self._centres(folder, place, total)
        numbers = np.arange(total)
        if self.source.limit is not None and self.source.limit < total:
            numbers = np.linspace(0, total - 1, self.source.limit).round().astype(np.int64)
        views, grid = len(self.source.views), wider(self.options.grid, self.options.margin)
        found = np.full((len(numbers), views, 3), np.nan)

        def one(job: int) -> tuple[list[Crop], str]:
            """The frame's crops, or why it is left out."""
            frame = int(numbers[job])
            paths = [nyu_layout.image_path(folder, view, frame) for view in self.source.views]
            try:
                images = [nyu_layout.read_depth(path) for path in paths]
            except DataError as error:
                return [], str(error)
            seen = [(depth, nyu_layout.returned(depth)) for depth in images]
            centres = known[frame] if known is not None else self._start(seen, calibration)
            for path, centre in zip(paths, centres, strict=True):
                if not np.isfinite(centre).all() or centre[2] <= 1.0:
                    return [], f"{path} has no centre to crop around."
            found[job] = centres
            turned = self.options.turned
            return [
                crop(depth, returned, nyu_layout.CAMERA, centre, grid, turned)
                for (depth, returned), centre in zip(seen, centres, strict=True)
            ], ""

        with StoreWriter(made, len(numbers), views, grid.size) as writer, ThreadPoolExecutor(workers()) as pool:
            for job, (crops, reason) in enumerate(pool.map(one, range(len(numbers)))):
                if reason:
                    writer.left_out.append(reason)
                else:
                    writer.put(job, crops, calibration)
                progress(job + 1, len(numbers), f"cropping {self.source.name} {split}")
            writer.finish(numbers)
        if known is None:
            centres = np.full((total, views, 3), np.nan)
            centres[numbers] = found
            if self.source.limit is None:
                _save_array(place / f"centres-{self.options.start}.npy", centres)

    def _start(self, seen: Sequence[tuple[np.ndarray, np.ndarray]], calibration: Calibration) -> np.ndarray:
        """(V, 3) mm in each camera's frame, where all views together have the hand; NaN for views that see nothing."""
        cube_mm = self.options.grid.cube_mm
        found = [mass_centre(depth, returned, nyu_layout.CAMERA, cube_mm) for depth, returned in seen]
        each = np.stack([np.full(3, np.nan) if centre is None else centre for centre in found])
        together = in_cameras(fuse(in_rig(each, calibration.to_rig)), calibration.to_rig)
        return np.where(np.isfinite(each), together, np.nan)

    def _calibration(self, folder: Path, place: Path) -> Calibration:
        path = place / "calibration.json"
        if path.exists():
            try:
                calibration = Calibration.load(path)
                if calibration.views == self.source.views:
                    return calibration
            except DataError as error:
                _warn_of_labels(path, error)
        made = calibrate(nyu_layout.read_annotation(folder).xyz, self.source.views)
        made.save(path)
        return made

    def _centres(self, folder: Path, place: Path, total: int) -> np.ndarray | None:
        """Centres (N, V, 3) of all frames as they were fixed before, or as annotated; None where they must be found."""
        path = place / f"centres-{self.options.start}.npy"
        if path.exists():
            try:
                centres = np.load(path)
                if centres.shape == (total, len(self.source.views), 3):
                    return centres
            except (OSError, ValueError, EOFError) as error:
                _warn_of_labels(path, error)
        if self.options.start != "annotated":
            return None
        xyz = nyu_layout.read_annotation(folder).xyz
        centres = np.full((total, len(self.source.views), 3), np.nan)
        annotated = min(total, xyz.shape[1])
        for k, view in enumerate(self.source.views):
            centres[:annotated, k] = xyz[view, :annotated, nyu_layout.PALM_CENTRE]
        _save_array(path, centres)
        return centres


def _save_array(path: Path, values: np.ndarray) -> None:
    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.save(stream, values)

    write_atomic(path, write)
