"""A split's crops on disk: memory-mapped arrays that appear complete or not at all, and are checked when opened."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.errors import RunError
from hpf_core.synthesis.calibration import Calibration
from hpf_core.synthesis.crops import Crop

FORMAT = 1  # of the arrays; raise it when what is in them changes
PER_MM = 10  # depth is kept in tenths of a millimetre
_CHECKED_BYTES = 64 * 2**20  # arrays up to this size are checked against their checksum when they are opened


@dataclass(frozen=True)
class CropStore:
    """A split's arrays.

    Attributes:
        depth: (F, V, H, W) int16, tenths of a millimetre, memory-mapped.
        state: (F, V, H, W) uint8, `State`, memory-mapped.
        to_rig: (F, V, 4, 4) float64, from each crop's frame to the rig's, mm.
        to_camera: (F, 4, 4) float64, from the first view's crop to its camera.
        numbers: (F,) int64, each row's frame in the capture, counted from 0.
        kept: (K,) int64, the rows that hold a frame.
        left_out: why each of the other rows holds none.
    """

    depth: np.ndarray
    state: np.ndarray
    to_rig: np.ndarray
    to_camera: np.ndarray
    numbers: np.ndarray
    kept: np.ndarray
    left_out: tuple[str, ...]

    @staticmethod
    def open(folder: Path, views: int, size: int) -> CropStore | None:
        """What stands in the folder, or None where it isn't complete and whole."""
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            count = int(meta["frames"])
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*_shapes(0, 1, 1), "kept")}
            expected = _shapes(count, views, size)
            if any(
                arrays[name].shape != shape or arrays[name].dtype != kind for name, (shape, kind) in expected.items()
            ):
                return None
            for name, checksum in meta["checksums"].items():
                if checksum is not None and zlib.crc32((folder / f"{name}.npy").read_bytes()) != checksum:
                    return None
            small = {name: np.array(arrays[name]) for name in ("to_rig", "to_camera", "numbers", "kept")}
            return CropStore(depth=arrays["depth"], state=arrays["state"], **small, left_out=tuple(meta["left_out"]))
        except (OSError, ValueError, EOFError, KeyError, TypeError):
            return None


def _shapes(frames: int, views: int, size: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {
        "depth": ((frames, views, size, size), np.dtype(np.int16)),
        "state": ((frames, views, size, size), np.dtype(np.uint8)),
        "to_rig": ((frames, views, 4, 4), np.dtype(np.float64)),
        "to_camera": ((frames, 4, 4), np.dtype(np.float64)),
        "numbers": ((frames,), np.dtype(np.int64)),
    }


class StoreWriter:
    """Fills a folder beside its final place, and moves it there when it is complete."""

    def __init__(self, folder: Path, frames: int, views: int, size: int) -> None:
        self.folder, self.frames = folder, frames
        self.left_out: list[str] = []
        self._kept: list[int] = []
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._made = Path(tempfile.mkdtemp(prefix=".crops-", dir=folder.parent))
            self._made.chmod(0o755)
            self._arrays = {
                name: np.lib.format.open_memmap(self._made / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
                for name, (shape, kind) in _shapes(frames, views, size).items()
            }
        except OSError as error:
            raise RunError(f"Can't write the cache {folder}: {error.strerror or error}.") from error

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._arrays.clear()
        shutil.rmtree(self._made, ignore_errors=True)

    def put(self, row: int, crops: Sequence[Crop], calibration: Calibration) -> None:
        """A frame's crops, in the order of its views."""
        for view, made in enumerate(crops):
            self._arrays["depth"][row, view] = np.rint(made.depth * PER_MM)
            self._arrays["state"][row, view] = made.state
            self._arrays["to_rig"][row, view] = calibration.to_rig[view] @ made.to_camera
        self._arrays["to_camera"][row] = crops[0].to_camera
        self._kept.append(row)

    def finish(self, numbers: np.ndarray) -> None:
        """All rows are in: write what is left and move the folder to its place."""
        self._arrays["numbers"][:] = numbers
        for array in self._arrays.values():
            array.flush()
        try:
            np.save(self._made / "kept.npy", np.array(self._kept, dtype=np.int64))
            meta = {"frames": self.frames, "left_out": self.left_out, "checksums": self._checksums()}
            (self._made / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(self.folder, ignore_errors=True)  # what stands there was found incomplete
            self._made.replace(self.folder)
        except OSError as error:
            raise RunError(f"Can't write the cache {self.folder}: {error.strerror or error}.") from error

    def _checksums(self) -> dict[str, int | None]:
        """CRC-32 of each file; None for those that would take too long to check each time."""
        return {
            path.stem: zlib.crc32(path.read_bytes()) if path.stat().st_size <= _CHECKED_BYTES else None
            for path in sorted(self._made.glob("*.npy"))
        }
