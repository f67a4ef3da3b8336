"""Multi-view captures of any layout as a dataset: calibrated, cropped, cached, and read by frame number.

Training uses the dataset's split `train`, which may combine several splits on disk (`TrainingSet`). The other splits
are
as on disk. With a complete cache (`capture_cache.py`), only `labels` reads labels, for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hpf_core.data.calibration import Calibration
from hpf_core.data.layouts.base import SPLITS, annotation_of, select
from hpf_core.data.prepared.capture_cache import CaptureCache, CaptureSource, CropOptions
from hpf_core.data.prepared.frame_sets import FrameSet, TrainingSet
from hpf_core.data.prepared.recentring import Shifts, cut
from hpf_core.data.prepared.store import CropStore
from hpf_core.data.sidecar import Segment
from hpf_core.errors import DataError
from hpf_core.frames import Labels, RealFrames, State, ViewIndex
from hpf_core.interfaces import EvaluationProtocol, RealDataset
from hpf_core.progress import Progress, no_progress

TRAIN = "train"


@dataclass(frozen=True)
class PreparedSplit:
    """The cached form of a split on disk.

    Attributes:
        split: name of the split.
        folder: folder of the crops.
        frames: number of frames of the split (or of `limit`), including skipped ones.
        left_out: the reason for each skipped frame.
        bytes: size of the crops.
        calibration: the cameras' poses.
        empty: number of crops without a hand in each view.
        palm_off_mm: median distance of the crops' centres from the annotated palms in the first view; None if the
            centres are those palms, or if there are no labels.
    """

    split: str
    folder: Path
    frames: int
    left_out: tuple[str, ...]
    bytes: int
    calibration: Calibration
    empty: tuple[int, ...] = ()
    palm_off_mm: float | None = None


class Capture(RealDataset):
    """A capture on disk, in any layout.

    Frames with a missing or damaged image are skipped; `left_out` lists them.
    """

    def __init__(
        self,
        source: CaptureSource,
        options: CropOptions,
        cache: Path,
        make: Callable[[Progress], None] | None = None,
        training: TrainingSet = TrainingSet(),  # noqa: B008, frozen
    ) -> None:
        """Create the dataset. This reads nothing yet.

        Args:
            source: the capture.
            options: how to crop it.
            cache: the cache's folder.
            make: for simulated data, the function that creates the capture. `prepare` calls it first. None for real
                data.
            training: the frames for training.
        """
        self.source, self.options, self.training = source, options, training
        self.simulated = source.simulated or make is not None
        self.recentres = options.centring == "refined"
        self._make_capture = make
        tips = tuple(k for k, joint in enumerate(source.scored) if joint.endswith(("KNU3_A", "_tip")))
        labelled = make is not None or any(map(source.layout.has_labels, source.layout.splits()))
        self.protocol = EvaluationProtocol(
            annotation=source.annotation if labelled else None,
            view=0,
            fingertips=tips if labelled else (),
            centre=options.centring,
        )
        self._cache = CaptureCache(source, options, cache / "captures")
        self._stores: dict[str, CropStore] = {}
        self._sets: dict[str, FrameSet] = {}
        self._shifts: dict[str, Shifts] = {}

    # ------------------------------------------------------------------------------------------------ the interface

    def prepare(self, progress: Progress = no_progress, jobs: int | None = None, check: bool = False) -> None:
        """Calibrate, crop and cache every uncached split.

        Args:
            progress: receives the number of finished frames.
            jobs: number of cropping processes; None for one on each core.
            check: read everything in the cache and remake damaged parts.

        Raises:
            DataError: the capture is missing or unusable.
            RunError: the cache can't be written.
        """
        if self._sets:
            return
        if self._make_capture is not None:
            self._make_capture(progress)
        stores = {split: self._cache.open(split, progress, jobs, check) for split in self._splits_used()}
        sets = {split: FrameSet.of_split(split, store) for split, store in stores.items() if split != TRAIN}
        # A capture for evaluation only needs no split `train`, but all other named splits must exist.
        if self.training.on != (TRAIN,) or TRAIN in stores:
            sets = {TRAIN: FrameSet.for_training(stores, self.training), **sets}
        self._stores, self._sets = stores, sets

    def splits(self) -> Mapping[str, int]:
        self.prepare()
        return {split: len(frames) for split, frames in self._sets.items()}

    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        indices = np.asarray(indices, dtype=np.int64)
        some = self._set(split).take(indices)
        grid = self.options.grid
        present = self._present(some)
        shifts = self._shifts_of(split).take(indices)
        crops = [
            cut(store, some.row[which], shifts.take(which), grid, self.options.margin)
            for _, store, which in some.by_split()
        ]
        depth, state = (some.join(found) for found in zip(*crops, strict=True))
        to_rig = shifts.apply(some.gather(lambda store, rows: store.to_rig[rows]), grid).astype(np.float32)
        state[~present] = State.UNKNOWN
        depth[~present] = grid.far_mm
        to_rig[~present] = np.eye(4, dtype=np.float32)
        sequence, _ = self._recorded(some)
        rate = self.source.rate_hz or 1.0
        return RealFrames(
            depth=torch.from_numpy(depth),
            state=torch.from_numpy(state),
            present=torch.from_numpy(present),
            to_rig=torch.from_numpy(to_rig),
            views=ViewIndex.of(present),
            sequence=torch.from_numpy(sequence),
            time=torch.from_numpy(some.numbers / rate),
            index=torch.from_numpy(indices.copy()),
            cube_mm=grid.cube_mm,
        )

    def labels(self, split: str) -> Labels | None:
        frames = self._set(split)
        if not all(self.source.layout.has_labels(name) for name, _ in frames.splits):
            return None
        _, subject = self._recorded(frames)
        names = {number: self.source.subject_names[number] for number in sorted(set(subject.tolist()))}
        return Labels(
            joints=frames.join(
                [self._annotated(name, store.numbers[frames.row[which]]) for name, store, which in frames.by_split()]
            ),
            names=self.source.scored,
            subject=subject,
            subject_names=names,
        )

    def to_camera(self, split: str) -> np.ndarray:
        frames, shifts = self._set(split), self._shifts_of(split)
        made = frames.gather(lambda store, rows: store.to_camera[rows])
        return shifts.first_view().apply(made[:, None], self.options.grid)[:, 0]

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        frames = self._set(split)
        views = len(self.source.views)
        if not self.recentres:
            return super().recentre(split, centres)
        if centres is None:
            shifts = Shifts.none(len(frames), views)
        elif centres.shape == (len(frames), 3):
            to_rig = frames.gather(lambda store, rows: store.to_rig[rows])
            shifts = Shifts.towards(centres, to_rig, self._present(frames), self.options.grid, self.options.margin)
        else:
            raise ValueError(f"centres are {centres.shape}, but the split '{split}' has {len(frames)} frames")
        self._shifts[split] = shifts
        return shifts.moved.copy()

    def left_out(self, split: str) -> list[str]:
        """The skipped frames with missing or damaged images, each with the reason."""
        return self._set(split).left_out

    # --------------------------------------------------------------------------------------------- beyond the interface

    def calibration(self, split: str) -> Calibration:
        """The cameras' poses for a split on disk."""
        self.prepare()
        return Calibration.load(self._cache.place(split) / "calibration.json")

    def prepared(self) -> list[PreparedSplit]:
        """The cached form of each split on disk."""
        self.prepare()
        return [
            PreparedSplit(
                split=split,
                folder=store.files.folder,
                frames=len(store.kept) + len(store.left_out),
                left_out=store.left_out,
                bytes=store.files.bytes,
                calibration=self.calibration(split),
                empty=tuple(np.bincount(store.empty[:, 1], minlength=len(self.source.views)).tolist()),
                palm_off_mm=self._palm_off(split, store),
            )
            for split, store in self._stores.items()
        ]

    def unfinished(self) -> list[Path]:
        """The folders of started but unfinished crops."""
        found = (self._cache.unfinished(split) for split in self._splits_used())
        return [folder for folder in found if folder is not None]

    # ------------------------------------------------------------------------------------------------------ inside

    def _set(self, split: str) -> FrameSet:
        self.prepare()
        if split not in self._sets:
            raise DataError(f"{self.source.name} has no split '{split}'. Known: {', '.join(self._sets)}.")
        return self._sets[split]

    def _shifts_of(self, split: str) -> Shifts:
        if split not in self._shifts:
            self._shifts[split] = Shifts.none(len(self._set(split)), len(self.source.views))
        return self._shifts[split]

    def _present(self, frames: FrameSet) -> np.ndarray:
        """(F, V) bool: the present and used views of each frame."""
        has = np.isfinite(frames.gather(lambda store, rows: store.centres[rows])).all(axis=-1)
        return frames.present(len(self.source.views)) & has

    def _palm_off(self, split: str, store: CropStore) -> float | None:
        """Distance of the label-free centres from the annotated palms, mm."""
        layout = self.source.layout
        if self.options.start == "annotated" or not layout.has_labels(split):
            return None
        labels = annotation_of(layout, split)
        palm = labels.xyz[self.source.views[0], :, select(labels.names, [layout.palm], labels.file)[0]]
        rows = store.kept[store.numbers[store.kept] < len(palm)]
        away = np.linalg.norm(store.centres[rows, 0] - palm[store.numbers[rows]], axis=-1)
        return float(np.nanmedian(away)) if np.isfinite(away).any() else None

    def _splits_used(self) -> list[str]:
        """The used splits on disk. The split `train` isn't used if training uses other splits."""
        layout = self.source.layout
        if not layout.splits():
            raise DataError(f"{self.source.name}: {layout.root} has no split {' or '.join(SPLITS)}. {layout.format}.")
        return [name for name in layout.splits() if name != TRAIN or TRAIN in self.training.on]

    def _annotated(self, split: str, numbers: np.ndarray) -> np.ndarray:
        """(F, K, 3) mm: the annotation of a split on disk at frames (F,), in the first view's camera."""
        labels = annotation_of(self.source.layout, split)
        view = self.source.views[0]
        if view >= len(labels.xyz) or numbers.max(initial=-1) >= labels.xyz.shape[1]:
            raise DataError(
                f"{labels.file} annotates {labels.xyz.shape[1]} frames of {len(labels.xyz)} views, but frame "
                f"{numbers.max(initial=-1) + 1} of view {view + 1} is needed."
            )
        scored = select(labels.names, self.source.scored, labels.file)
        return labels.xyz[view][numbers][:, scored]

    def _recorded(self, frames: FrameSet) -> tuple[np.ndarray, np.ndarray]:
        """The recording and the subject of each frame, int64."""
        found = []
        for split, store, which in frames.by_split():
            parts = list(self.source.segments.get(split, ())) or [Segment(0, 0, 0, 0)]
            place = np.searchsorted([p.first for p in parts], store.numbers[frames.row[which]], side="right") - 1
            found.append(np.array([(part.sequence, part.subject) for part in parts], dtype=np.int64)[place])
        sequence, subject = frames.join(found).T
        return np.ascontiguousarray(sequence), np.ascontiguousarray(subject)
