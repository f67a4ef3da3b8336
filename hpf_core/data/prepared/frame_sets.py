"""Frames by number, out of one or several stores: a split as it is on disk, or what a network is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpf_core.data.prepared.store import CropStore
from hpf_core.errors import DataError


@dataclass(frozen=True)
class TrainingSet:
    """Which frames a network is trained on, and with how many views.

    Attributes:
        on: the splits whose frames make it up, in this order.
        multi_view_share: the first share of these frames, used with all views.
        single_view_share: the next share, used with the first view alone. What is left over isn't used.
    """

    on: tuple[str, ...] = ("train",)
    multi_view_share: float = 1.0
    single_view_share: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError where the shares can't be of one whole, or a split is named twice."""
        if len(set(self.on)) < len(self.on):
            raise ValueError(f"train_on names a split twice: {', '.join(self.on)}")
        together = self.multi_view_share + self.single_view_share
        if not 0 < together <= 1 + 1e-9:
            raise ValueError(
                f"multi_view_share {self.multi_view_share:g} and single_view_share {self.single_view_share:g} are "
                f"shares of the training frames: together above 0 and at most 1, but they make {together:g}"
            )


@dataclass(frozen=True)
class FrameSet:
    """Frames of stores, one store after the other.

    Attributes:
        splits: the splits on disk, with their stores.
        part: (F,) int64, which of the splits each frame is of.
        row: (F,) int64, its row there.
        single: (F,) bool, whether only its first view is used.
    """

    splits: tuple[tuple[str, CropStore], ...]
    part: np.ndarray
    row: np.ndarray
    single: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def of_split(split: str, store: CropStore) -> FrameSet:
        """All frames of a split with all of their views."""
        count = len(store.kept)
        return FrameSet(((split, store),), np.zeros(count, np.int64), store.kept, np.zeros(count, bool))

    @staticmethod
    def for_training(stores: Mapping[str, CropStore], training: TrainingSet) -> FrameSet:
        """The frames that are trained on.

        Raises:
            DataError: one of the splits isn't there.
        """
        for split in training.on:
            if split not in stores:
                raise DataError(
                    f"train_on names the split '{split}', but the dataset has only {', '.join(stores)}. Leave it out "
                    "of train_on, or put its folder beside the others."
                )
        splits = tuple((split, stores[split]) for split in training.on)
        part = np.concatenate([np.full(len(store.kept), k, np.int64) for k, (_, store) in enumerate(splits)])
        row = np.concatenate([store.kept for _, store in splits])
        several = round(training.multi_view_share * len(row))
        used = min(len(row), round((training.multi_view_share + training.single_view_share) * len(row)))
        return FrameSet(splits, part[:used], row[:used], np.arange(used) >= several)

    @property
    def numbers(self) -> np.ndarray:
        """(F,) int64, each frame's number in its split on disk, counted from 0."""
        return self.gather(lambda store, rows: store.numbers[rows])

    @property
    def left_out(self) -> list[str]:
        """Why frames of these splits hold nothing."""
        return [reason for _, store in self.splits for reason in store.left_out]

    def take(self, indices: np.ndarray) -> FrameSet:
        """Some of the frames."""
        return FrameSet(self.splits, self.part[indices], self.row[indices], self.single[indices])

    def by_split(self) -> Iterator[tuple[str, CropStore, np.ndarray]]:
        """Each split that frames are of: its name, its store, and which of the frames (K,)."""
        for k, (split, store) in enumerate(self.splits):
            which = np.flatnonzero(self.part == k)
            if len(which) or (k == 0 and not len(self)):
                yield split, store, which

    def gather(self, read: Callable[[CropStore, np.ndarray], np.ndarray]) -> np.ndarray:
        """(F, ...) what `read` finds in each store at rows (K,), in the order of the frames."""
        return self.join([read(store, self.row[which]) for _, store, which in self.by_split()])

    def join(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """(F, ...) of what was found for each split that frames are of, in the order of `by_split`."""
        if len(found) == 1:
            return found[0]
        joined = np.concatenate(found)
        order = np.argsort(self.part, kind="stable")
        result = np.empty_like(joined)
        result[order] = joined
        return result

    def present(self, views: int) -> np.ndarray:
        """(F, V) bool, the views that are used of each frame."""
        present = np.ones((len(self), views), dtype=bool)
        present[self.single, 1:] = False
        return present
