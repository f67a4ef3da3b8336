"""Multi-view captures in NYU's raw layout as a dataset: calibrated, cropped, cached, and read back by number.

With the cache in place (`capture_cache.py`) no label is read again but by `labels`, for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from hpf_core.errors import DataError
from hpf_core.frames import Labels, RealFrames, State, ViewIndex
from hpf_core.interfaces import EvaluationProtocol, Progress, RealDataset, no_progress
from hpf_core.synthesis import nyu_layout
from hpf_core.synthesis.calibration import Calibration
from hpf_core.synthesis.capture_cache import CaptureCache, CaptureSource, CropOptions
from hpf_core.synthesis.recentring import Shifts, cut
from hpf_core.synthesis.sidecar import Segment
from hpf_core.synthesis.store import CropStore


class Capture(RealDataset):
    """A capture in NYU's raw layout.

    Frames of which an image is missing or damaged are left out, and listed by `left_out`.
    """

    def __init__(
        self,
        source: CaptureSource,
        options: CropOptions,
        cache: Path,
        make: Callable[[Progress], None] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: what to read.
            options: how to crop it.
            cache: the cache's folder.
            make: for simulated data, what `prepare` calls first so that the capture is there; None for real data.
        """
        self.source, self.options = source, options
        self.simulated = source.simulated or make is not None
        self.recentres = options.centring == "refined"
        self._make_capture = make
        scored = nyu_layout.EVALUATED
        tips = tuple(k for k, joint in enumerate(scored) if nyu_layout.JOINTS[joint].endswith("KNU3_A"))
        self.protocol = EvaluationProtocol(annotation="nyu14", view=0, fingertips=tips, centre=options.centring)
        self._cache = CaptureCache(source, options, cache / "captures")
        self._stores: dict[str, CropStore] = {}
        self._shifts: dict[str, Shifts] = {}

    # ------------------------------------------------------------------------------------------------ the interface

    def prepare(self, progress: Progress = no_progress) -> None:
        """Calibrate, crop and cache every split that isn't cached yet.

        Raises:
            DataError: the capture is missing or unusable.
            RunError: the cache can't be written.
        """
        if self._stores:
            return
        if self._make_capture is not None:
            self._make_capture(progress)
        self._stores = {
            split: self._cache.open(split, folder, progress) for split, folder in self._split_folders().items()
        }

    def splits(self) -> Mapping[str, int]:
        self.prepare()
        return {split: len(store.kept) for split, store in self._stores.items()}

    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        store = self._store(split)
        indices = np.asarray(indices, dtype=np.int64)
        rows = store.kept[indices]
        present = self._present(split, indices)
        shifts = self._shifts_of(split).take(indices)
        depth, state = cut(store, rows, shifts, self.options.grid, self.options.margin)
        to_rig = shifts.apply(store.to_rig[rows], self.options.grid).astype(np.float32)
        state[~present] = State.UNKNOWN
        depth[~present] = self.options.grid.far_mm
        to_rig[~present] = np.eye(4, dtype=np.float32)
        numbers = store.numbers[rows]
        sequence, _ = self._recorded(split, numbers)
        rate = self.source.rate_hz or 1.0
        return RealFrames(
            depth=torch.from_numpy(depth),
            state=torch.from_numpy(state),
            present=torch.from_numpy(present),
            to_rig=torch.from_numpy(to_rig),
            views=ViewIndex.of(present),
            sequence=torch.from_numpy(sequence),
            time=torch.from_numpy(numbers / rate),
            index=torch.from_numpy(indices.copy()),
            cube_mm=self.options.grid.cube_mm,
        )

    def labels(self, split: str) -> Labels:
        store = self._store(split)
        numbers = store.numbers[store.kept]
        annotation = nyu_layout.read_annotation(self.source.root / split)
        view = self.source.views[0]
        if view >= len(annotation.xyz) or numbers.max(initial=-1) >= annotation.xyz.shape[1]:
            raise DataError(
                f"{self.source.root / split / nyu_layout.LABELS_FILE} annotates {annotation.xyz.shape[1]} frames of "
                f"{len(annotation.xyz)} views, but frame {numbers.max(initial=-1) + 1} of view {view + 1} is needed."
            )
        scored = list(nyu_layout.EVALUATED)
        _, subject = self._recorded(split, numbers)
        names = {number: self.source.subject_names[number] for number in sorted(set(subject.tolist()))}
        return Labels(
            joints=annotation.xyz[view][numbers][:, scored],
            names=tuple(nyu_layout.JOINTS[joint] for joint in scored),
            subject=subject,
            subject_names=names,
        )

    def to_camera(self, split: str) -> np.ndarray:
        store, shifts = self._store(split), self._shifts_of(split)
        return shifts.first_view().apply(store.to_camera[store.kept][:, None], self.options.grid)[:, 0]

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        store = self._store(split)
        frames = len(store.kept)
        if not self.recentres:
            return super().recentre(split, centres)
        if centres is None:
            shifts = Shifts.none(frames, len(self.source.views))
        elif centres.shape == (frames, 3):
            present = self._present(split, np.arange(frames))
            to_rig = store.to_rig[store.kept]
            shifts = Shifts.towards(centres, to_rig, present, self.options.grid, self.options.margin)
        else:
            raise ValueError(f"centres are {centres.shape}, but the split '{split}' has {frames} frames")
        self._shifts[split] = shifts
        return shifts.moved.copy()

    # --------------------------------------------------------------------------------------------- beyond the interface

    def left_out(self, split: str) -> list[str]:
        """The frames of a split that aren't used, each with the reason."""
        return list(self._store(split).left_out)

    def calibration(self, split: str) -> Calibration:
        """Where the cameras stood when the split was captured."""
        self._store(split)
        return Calibration.load(self._cache.place(split, self.source.root / split) / "calibration.json")

    # ------------------------------------------------------------------------------------------------------ inside

    def _store(self, split: str) -> CropStore:
        self.prepare()
        if split not in self._stores:
            raise DataError(f"{self.source.name} has no split '{split}'. Known: {', '.join(self._stores)}.")
        return self._stores[split]

    def _shifts_of(self, split: str) -> Shifts:
        if split not in self._shifts:
            self._shifts[split] = Shifts.none(len(self._store(split).kept), len(self.source.views))
        return self._shifts[split]

    def _present(self, split: str, indices: np.ndarray) -> np.ndarray:
        """(B, V) bool, the views that these frames have."""
        present = np.ones((len(indices), len(self.source.views)), dtype=bool)
        if split == "train":
            present[self._is_single(indices), 1:] = False
        return present

    def _split_folders(self) -> dict[str, Path]:
        folders = {name: self.source.root / name for name in ("train", "validation", "test")}
        found = {name: folder for name, folder in folders.items() if folder.is_dir()}
        if not found:
            raise DataError(
                f"{self.source.name}: {self.source.root} has neither a folder 'train' nor 'test'. NYU's layout has "
                "depth_1_0000001.png, ... and joint_data.mat in each."
            )
        return found

    def _is_single(self, indices: np.ndarray) -> np.ndarray:
        """Frames with one view: of every run of frames, as near to the share as whole numbers allow."""
        share = self.options.single_view_share
        return np.floor((indices + 1) * share + 1e-9) > np.floor(indices * share + 1e-9)

    def _recorded(self, split: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The recording and the subject of each frame, int64."""
        parts = list(self.source.segments.get(split, ())) or [Segment(0, 0, 0, 0)]
        place = np.searchsorted([part.first for part in parts], numbers, side="right") - 1
        sequence, subject = np.array([(part.sequence, part.subject) for part in parts], dtype=np.int64).T
        return sequence[place], subject[place]
