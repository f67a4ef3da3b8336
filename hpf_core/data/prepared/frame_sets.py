"""Frames by number, from one or several stores: a split as on disk, or the training set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpf_core.data.prepared.store import CropStore
from hpf_core.errors import DataError


@dataclass(frozen=True)
class TrainingSet:
    """The frames for training, and their number of views.

    Attributes:
        on: the splits of the training set, in this order.
        multi_view_share: the first share of these frames; training uses all their views.
        single_view_share: the next share; training uses only the first view. The remaining frames aren't used.
    """

    on: tuple[str, ...] = ("train",)
    multi_view_share: float = 1.0
    single_view_share: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError if the shares exceed one, or a split occurs twice."""
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
    """Frames of several stores, one store after the other.

    Attributes:
        splits: the splits on disk, with their stores.
        part: (F,) int64, index of each frame's split.
        row: (F,) int64, each frame's row in its split's store.
        single: (F,) bool, whether only the frame's first view is used.
    """

    splits: tuple[tuple[str, CropStore], ...]
    part: np.ndarray
    row: np.ndarray
    single: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def of_split(split: str, store: CropStore) -> FrameSet:
        """All frames of a split with all their views."""
        count = len(store.kept)
        return FrameSet(((split, store),), np.zeros(count, np.int64), store.kept, np.zeros(count, bool))

    @staticmethod
    def for_training(stores: Mapping[str, CropStore], training: TrainingSet) -> FrameSet:
        """The frames for training.

        Raises:
            DataError: a split is missing.
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
        """The reasons for skipped frames of these splits."""
        return [reason for _, store in self.splits for reason in store.left_out]

    def take(self, indices: np.ndarray) -> FrameSet:
        """Select some of the frames."""
        return FrameSet(self.splits, self.part[indices], self.row[indices], self.single[indices])

    def by_split(self) -> Iterator[tuple[str, CropStore, np.ndarray]]:
        """Yield each split of these frames: its name, its store, and the indices (K,) of its frames."""
        for k, (split, store) in enumerate(self.splits):
            which = np.flatnonzero(self.part == k)
            if len(which) or (k == 0 and not len(self)):
                yield split, store, which

    def gather(self, read: Callable[[CropStore, np.ndarray], np.ndarray]) -> np.ndarray:
        """(F, ...): the values that `read` returns for rows (K,) of each store, in the order of the frames."""
        return self.join([read(store, self.row[which]) for _, store, which in self.by_split()])

    def join(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """(F, ...): join the values of each split's frames, given in the order of `by_split`."""
        if len(found) == 1:
            return found[0]
        joined = np.concatenate(found)
        order = np.argsort(self.part, kind="stable")
        result = np.empty_like(joined)
        result[order] = joined
        return result

    def present(self, views: int) -> np.ndarray:
        """(F, V) bool, the used views of each frame."""
        present = np.ones((len(self), views), dtype=bool)
        present[self.single, 1:] = False
        return present
