"""What layouts of one recorded sequence share: its last frames are the split `test`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpf_core.data.layouts.base import Layout
from hpf_core.errors import DataError

MM = 1000.0
FARTHEST_M = 20.0
"""Largest distance from the master camera, and of a joint; more means millimetres."""


class SequenceLayout(Layout):
    """A sequence whose frames are numbered from 0. A subclass calls `_split` when it knows their number."""

    test_share: float
    _ends: dict[str, tuple[int, int]]

    def _split(self, total: int, test_share: float) -> None:
        """Divide `total` frames: the last `test_share` of them are the split `test`."""
        self.test_share = test_share
        cut = total - round(total * test_share)
        ends = {"train": (0, cut), "test": (cut, total)}
        self._ends = {split: each for split, each in ends.items() if each[1] > each[0]}

    def splits(self) -> tuple[str, ...]:
        return tuple(self._ends)

    def frames(self, split: str) -> int:
        first, end = self._ends[split]
        return end - first

    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint(), "test_share": self.test_share}


def read_yaml(path: Path, dataset: str) -> dict[str, Any]:
    """The keys of a YAML file.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} has no keys, but those of {dataset} were expected.")
    return found


def read_poses(path: Path, serials: tuple[str, ...], dataset: str) -> np.ndarray:
    """(V, 4, 4) mm, from each camera to the master camera, from 12 numbers by rows, metres, under `extrinsics`.

    Raises:
        DataError: a camera is missing, or its numbers aren't metres.
    """
    try:
        found = {str(key): value for key, value in read_yaml(path, dataset)["extrinsics"].items()}
        rows = np.array([found[serial] for serial in serials], dtype=np.float64).reshape(len(serials), 3, 4)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} needs 12 numbers for each camera under `extrinsics`: {error!r}.") from error
    if np.abs(rows[:, :, 3]).max(initial=0) > FARTHEST_M:
        raise DataError(f"{path}: cameras lie {np.abs(rows[:, :, 3]).max():.0f} m apart. Metres were expected, not mm.")
    poses = np.tile(np.eye(4), (len(serials), 1, 1))
    poses[:, :3] = rows
    poses[:, :3, 3] *= MM
    return poses
