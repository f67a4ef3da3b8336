"""The cache of a capture: its calibration, its centres, and the crops made with them (`captures.py` reads the crops).

`captures/<capture>/<split>/` holds the fixed results from labels and images:

- `calibration.json`, from the rig's file, the hands or the annotation (`calibration.py`);
- `centres-annotated.npy` or `centres-start.npy` (F, V, 3) mm, the crop centre of each image: the annotated palm, or a
  label-free centre (`hand_centre.py`);
- `crops-<key>/`, memory-mapped arrays with a key of all inputs. The maps are wider by a quarter of the cube on every
  side, so that crops can move later (`recentring.py`). The folder also lists the unusable frames.

With a complete cache, only an evaluation reads labels. `hpf data prepare` fills the cache in advance. Other commands
fill in the missing parts.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.data.calibration import Calibration, HandCalibrator, Method, calibrate
from hpf_core.data.cameras import Volume
from hpf_core.data.hand_centre import Centring
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.base import Annotation, Layout, annotation_of, select
from hpf_core.data.prepared.cropping import CropPlan, make_chunks
from hpf_core.data.prepared.recentring import wider
from hpf_core.data.prepared.store import FORMAT, CropStore, StoreFiles
from hpf_core.data.prepared.store_writer import StoreWriter, WrittenChunk, kept_so_far, partial_folder
from hpf_core.data.sidecar import Segment
from hpf_core.errors import DataError, RunError
from hpf_core.files.cache import bytes_key, content_key, write_atomic
from hpf_core.files.locks.file_lock import FileLock
from hpf_core.grid import Grid
from hpf_core.progress import Progress


class CaptureWarning(UserWarning):
    """A part of a capture is damaged: HPF remakes damaged cache files, and skips damaged frames."""


def _warn_of_labels(path: Path, error: Exception) -> None:
    """Warn about a remake, because it reads the annotation again: this must be visible to the user."""
    warnings.warn(f"{path} is damaged and is regenerated from the dataset ({error})", CaptureWarning, stacklevel=3)


SCORED = tuple(nyu.JOINTS[joint] for joint in nyu.EVALUATED)
"""Names of the evaluated joints by default: NYU's fourteen."""


@dataclass(frozen=True)
class CaptureSource:
    """A capture, and the selection of its frames and views.

    Attributes:
        layout: reads the capture.
        name: the capture's name in errors.
        views: the used views, counted from 0. The first view is evaluated, and its camera gives the rig's frame.
        segments: for each split, the person in each stretch of frames; other frames have sequence 0 and subject 0.
        subject_names: name of each subject number.
        rate_hz: frames a second, or None if unknown.
        limit: largest number of frames of each split, evenly spaced; None for all.
        simulated: whether the capture is simulated.
        annotation: key of `HandModel.annotations` of the evaluated joints.
        scored: names of the evaluated joints in the labels, in the order of the annotation.
        calibration: source of the calibration.
        calibrator: finds poses from hands; required if `calibration` is "hand" and there are several views.
    """

    layout: Layout
    name: str
    views: tuple[int, ...]
    segments: Mapping[str, Sequence[Segment]]
    subject_names: Mapping[int, str]
    rate_hz: float | None = None
    limit: int | None = None
    simulated: bool = False
    annotation: str = ""
    scored: tuple[str, ...] = SCORED
    calibration: Method = "annotated"
    calibrator: HandCalibrator | None = None

    @property
    def root(self) -> Path:
        """The capture's folder."""
        return self.layout.root


@dataclass(frozen=True)
class CropOptions:
    """Options of cropping.

    Attributes:
        grid: size of the crops.
        centring: "annotated" on the palm's centre; "mass", without labels; or "refined", which starts like "mass" and
            allows `Capture.recentre` to move the crops.
        turned: whether a crop's z points along the ray through its centre.
    """

    grid: Grid
    centring: Centring
    turned: bool

    @property
    def start(self) -> str:
        """Kind of the crops' centres: "annotated", or "start" for label-free centres."""
        return "annotated" if self.centring == "annotated" else "start"

    @property
    def margin(self) -> int:
        """Extra pixels of the stored maps on each side, a quarter of the cube, so that crops can move."""
        return self.grid.size // 4


@dataclass(frozen=True)
class CaptureCache:
    """The cached crops of a capture's splits.

    Attributes:
        source: the capture.
        options: options of cropping.
        root: the folder of all captures in the cache.
    """

    source: CaptureSource
    options: CropOptions
    root: Path

    def place(self, split: str) -> Path:
        """Folder of this split's files in the cache, by its place on disk, its cameras and its number of frames."""
        source = self.source
        about = {
            "root": str(source.root.resolve()),
            "views": list(source.views),
            "frames": source.layout.frames(split),
            "layout": source.layout.fingerprint(),
            "calibration": source.calibration,
        }
        if source.calibration == "hand" and source.calibrator is not None:
            about["network"] = source.calibrator.key
        return self.root / content_key(about)[:16] / split

    def open(self, split: str, progress: Progress, jobs: int | None = None, check: bool = False) -> CropStore:
        """Open a split's crops, and make them first if they are missing.

        Args:
            split: name of the split.
            progress: receives the number of finished frames.
            jobs: number of cropping processes; None for one on each core.
            check: read everything in the cache and remake damaged parts.

        Raises:
            DataError: the split is missing or unusable.
            InputError: the disk is too small. Nothing new stays on the disk.
            RunError: the cache can't be written.
        """
        place = self.place(split)
        made = place / self._name()
        store = self._there(made, progress, check)
        if store is None:
            try:
                place.mkdir(parents=True, exist_ok=True)
                with FileLock(place / f".{made.name}.lock", "the same crops", progress):
                    store = self._there(made, progress, False)  # another process may have made it in the meantime
                    if store is None:
                        self._make(split, place, made, progress, jobs)
            except OSError as error:
                raise RunError(
                    f"Can't write the cache {made}: {error.strerror or error}. {kept_so_far(made)}".rstrip()
                ) from error
        store = store or self._there(made, progress, False)
        if store is None:
            raise RunError(f"The cache {made} can't be read right after it was written. The disk may be full.")
        try:
            self._tell_left_out(store, split)
            self._tell_empty(store, split)
        except DataError:
            # After the user repairs the images, the same command must read them again.
            shutil.rmtree(made, ignore_errors=True)
            (place / "centres-start.npy").unlink(missing_ok=True)
            raise
        return store

    def unfinished(self, split: str) -> Path | None:
        """The folder of started but unfinished crops; None if there is none."""
        partial = partial_folder(self.place(split) / self._name())
        return partial if partial.is_dir() else None

    def _name(self) -> str:
        """Name of the crops' folder: a key of all inputs beside the calibration and the centres."""
        about = {
            "format": FORMAT,
            "size": self.options.grid.size,
            "cube_mm": self.options.grid.cube_mm,
            "centring": self.options.start,
            "margin": self.options.margin,
            "turned": self.options.turned,
            "limit": self.source.limit,
        }
        return f"crops-{content_key(about)[:16]}"

    def _there(self, made: Path, progress: Progress, check: bool) -> CropStore | None:
        kept = wider(self.options.grid, self.options.margin)
        store = CropStore.open(made, len(self.source.views), kept.size)
        if store is not None and check and not store.is_whole(progress):
            warnings.warn(f"{made} is damaged and is regenerated", CaptureWarning, stacklevel=3)
            (made / "meta.json").unlink()
            return None
        return store

    def _tell_left_out(self, store: CropStore, split: str) -> None:
        """Warn about unusable frames. Raises DataError if no frame is left."""
        folder = self.source.root / split
        if not len(store.kept):
            reasons = "; ".join(store.left_out[:3])
            raise DataError(f"{self.source.name}: no frame of {folder} can be used. {reasons}")
        if store.left_out:
            few, more = store.left_out[:3], len(store.left_out) - 3
            said = " ".join(few) + (f" And {more} more." if more > 0 else "")
            count = f"{len(store.left_out)} of {len(store.kept) + len(store.left_out)} frames of {folder}"
            warnings.warn(f"{count} are unusable and left out. {said}", CaptureWarning, stacklevel=4)

    def _tell_empty(self, store: CropStore, split: str) -> None:
        """Warn about crops without a hand.

        Raises:
            DataError: most crops of the split show no hand.
        """
        if not len(store.empty):
            return
        layout, views = self.source.layout, self.source.views
        crops = int(np.isfinite(store.centres[store.kept]).all(axis=-1).sum())
        counts = np.bincount(store.empty[:, 1], minlength=len(views))
        each = ", ".join(
            f"{count:,} of camera {layout.rig.names[view]}" for view, count in zip(views, counts, strict=True) if count
        )
        few = [layout.frame_name(split, int(store.numbers[row])) for row in np.unique(store.empty[:, 0])[:3]]
        said = (
            f"{len(store.empty):,} of {crops:,} crops of {layout.root / split} show no hand, or no surface at all: "
            f"{each}; first in {', '.join(few)}."
        )
        if len(store.empty) > crops / 2:
            raise DataError(
                f"{self.source.name}: {said} The depth's unit or encoding may be wrong, or the labels belong to other "
                f"cameras: see `hpf data check {layout.root}`."
            )
        warnings.warn(said, CaptureWarning, stacklevel=4)

    def _make(self, split: str, place: Path, made: Path, progress: Progress, jobs: int | None) -> None:
        layout = self.source.layout
        total = layout.frames(split)
        if not total:
            raise DataError(f"{self.source.name}: {layout.root / split} has no depth images; {layout.format}.")
        plan = self._plan(split, place, made, total, progress)
        writer = StoreWriter(StoreFiles(made, len(plan.numbers), len(plan.views), plan.grid.size), _made_of(plan))
        what = f"cropping {self.source.name} {split}"
        writer.need_room()

        def note(written: WrittenChunk) -> None:
            writer.note(written)
            progress(writer.frames_done, writer.files.frames, what)

        for _ in range(2):
            progress(writer.frames_done, writer.files.frames, what)
            make_chunks(plan, writer.missing, jobs, note)
            if not writer.forget_damaged(progress):
                break
        else:
            raise RunError(
                f"The cache {made} has other content when it is read back, twice in a row. The disk may be failing."
            )
        writer.finish(plan.numbers, self._beyond(split, place, total))
        if plan.known is None and self.source.limit is None:
            _save_array(place / f"centres-{self.options.start}.npy", np.load(made / "centres.npy", mmap_mode="r"))

    def _plan(self, split: str, place: Path, made: Path, total: int, progress: Progress) -> CropPlan:
        """Plan the work for a split's `total` frames. The annotation is read once, and only if necessary."""
        calibration = self._fixed_calibration(place)
        known = self._fixed_centres(place, total)
        source = self.source
        if calibration is None and source.calibration == "file":
            calibration = Calibration.of_rig(source.layout.rig, source.views)
            calibration.save(place / "calibration.json")
        if calibration is None and source.calibration == "hand":
            calibration = self._calibration_of_hands(progress)
            calibration.save(place / "calibration.json")
        if calibration is None or (known is None and self.options.start == "annotated"):
            labels = annotation_of(source.layout, split)
            if calibration is None:
                calibration = calibrate(labels.xyz, source.views, str(labels.file))
                calibration.save(place / "calibration.json")
            if known is None and self.options.start == "annotated":
                known = self._palms(labels, total)
                _save_array(place / f"centres-{self.options.start}.npy", known)
        numbers = np.arange(total)
        if self.source.limit is not None and self.source.limit < total:
            numbers = np.linspace(0, total - 1, self.source.limit).round().astype(np.int64)
        grid = wider(self.options.grid, self.options.margin)
        return CropPlan(
            layout=source.layout,
            split=split,
            views=self.source.views,
            numbers=numbers,
            to_rig=calibration.to_rig,
            known=None if known is None else known[numbers],
            grid=grid,
            cube_mm=self.options.grid.cube_mm,
            turned=self.options.turned,
            files=StoreFiles(partial_folder(made), len(numbers), len(self.source.views), grid.size),
            volume_mm=self._volume(),
        )

    def _calibration_of_hands(self, progress: Progress) -> Calibration:
        """The poses from the hands. The capture's first split gives them for all splits, and no label is read."""
        source = self.source
        if len(source.views) == 1:
            unknown = np.full(1, np.nan)
            return Calibration(source.views, np.eye(4)[None], unknown, unknown, ((),), None, "hand")
        for split in source.layout.splits():  # another split of this capture may have them already
            if (found := self._fixed_calibration(self.place(split))) is not None:
                return found
        if source.calibrator is None:
            raise DataError(
                f"{source.name}: `calibration: hand` needs a network, but this program builds the dataset without one. "
                "Use `hpf run` or `hpf data prepare`, or choose `file` or `annotated`."
            )
        try:
            found_by_hands = source.calibrator.calibrate(source.layout, source.views, progress)
        except DataError as error:
            if not any(map(source.layout.has_labels, source.layout.splits())):
                raise
            hint = "This capture has labels: `calibration: annotated` takes the poses from them."
            raise DataError(f"{error} {hint}") from error
        return Calibration.of_hands(found_by_hands, source.views, source.name)

    def _volume(self) -> Volume | None:
        """The rig's box, if the first used camera gives its frame, whatever the source of the poses."""
        rig, views = self.source.layout.rig, self.source.views
        return rig.volume_mm if rig.to_rig is None and views[0] == 0 else rig.take(views).volume_mm

    def _palms(self, labels: Annotation, total: int) -> np.ndarray:
        """(N, V, 3) mm, the annotated palm in each camera's frame; NaN for unannotated frames."""
        palm = select(labels.names, [self.source.layout.palm], labels.file)[0]
        known = np.full((total, len(self.source.views), 3), np.nan)
        annotated = min(total, labels.xyz.shape[1])
        for k, view in enumerate(self.source.views):
            known[:annotated, k] = labels.xyz[view, :annotated, palm]
        return known

    def _beyond(self, split: str, place: Path, total: int) -> list[str]:
        """The reasons for skipping annotated frames after the last image. They don't count in shares of all frames."""
        annotated = Calibration.load(place / "calibration.json").annotated
        if self.source.limit is not None or annotated is None:
            return []
        layout, first = self.source.layout, self.source.views[0]
        labels = layout.labels_path(split)
        name = labels.name if labels else "its annotation"
        return [
            f"{layout.path(split, first, frame)} is missing: {name} has frames after the last image."
            for frame in range(total, annotated)
        ]

    def _fixed_calibration(self, place: Path) -> Calibration | None:
        """The calibration from an earlier preparation."""
        path = place / "calibration.json"
        if path.exists():
            try:
                calibration = Calibration.load(path)
                if calibration.views == self.source.views:
                    return calibration
            except DataError as error:
                _warn_of_labels(path, error)
        return None

    def _fixed_centres(self, place: Path, total: int) -> np.ndarray | None:
        """Centres (N, V, 3) of all frames from an earlier preparation."""
        path = place / f"centres-{self.options.start}.npy"
        if path.exists():
            try:
                centres = np.load(path)
                if centres.shape == (total, len(self.source.views), 3):
                    return centres
            except (OSError, ValueError, EOFError) as error:
                _warn_of_labels(path, error)
        return None


def _made_of(plan: CropPlan) -> str:
    """A key of the crops' inputs beside their folder's name. Unfinished work with another key is discarded."""
    known = b"" if plan.known is None else plan.known.tobytes()
    return bytes_key(plan.to_rig.tobytes() + plan.numbers.tobytes() + known)


def _save_array(path: Path, values: np.ndarray) -> None:
    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.save(stream, values)

    write_atomic(path, write)
