"""A split's crops on disk: memory-mapped arrays that appear complete or not at all. Opening checks them.

The frames lie in chunks. Each chunk has a checksum in every array. `StoreFiles` locates, writes and reads the arrays'
chunks. `store_writer.py` fills a new store, and `CropStore` is a finished store.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.progress import Progress, no_progress

FORMAT = 4  # version of the arrays; increase it when their content changes
PER_MM = 10  # depth is stored in tenths of a millimetre
CHUNK = 16  # frames
META = "meta.json"
_CHECKED_BYTES = 64 * 2**20  # opening verifies the checksums of maps up to this size
_MAPS = ("depth", "state")


@dataclass(frozen=True)
class StoreFiles:
    """The arrays of a store's folder.

    Attributes:
        folder: folder of the arrays.
        frames, views, size: F, V, and H = W.
    """

    folder: Path
    frames: int
    views: int
    size: int

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of each array."""
        frames, views, size = self.frames, self.views, self.size
        return {
            "depth": ((frames, views, size, size), np.dtype(np.int16)),
            "state": ((frames, views, size, size), np.dtype(np.uint8)),
            "to_rig": ((frames, views, 4, 4), np.dtype(np.float64)),
            "to_camera": ((frames, 4, 4), np.dtype(np.float64)),
            "centres": ((frames, views, 3), np.dtype(np.float64)),
        }

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.frames // CHUNK)

    @property
    def bytes(self) -> int:
        """Size of all arrays."""
        return sum(int(np.prod(shape)) * kind.itemsize for shape, kind in self.shapes.values())

    def rows(self, chunk: int) -> range:
        """Rows of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.frames))

    def path(self, name: str) -> Path:
        """File of an array."""
        return self.folder / f"{name}.npy"

    def create(self) -> None:
        """Create the files in full length, without content: they take disk space as chunks arrive."""
        for name, (shape, kind) in self.shapes.items():
            with self.path(name).open("wb") as file:
                file.write(_header(shape, kind))
                file.truncate(file.tell() + int(np.prod(shape)) * kind.itemsize)

    def are_there(self) -> bool:
        """Whether every file exists in full length."""
        try:
            return all(
                self.path(name).stat().st_size == len(_header(shape, kind)) + int(np.prod(shape)) * kind.itemsize
                for name, (shape, kind) in self.shapes.items()
            )
        except OSError:
            return False

    def write(self, chunk: int, values: Mapping[str, np.ndarray]) -> list[int]:
        """Write the rows of a chunk. Returns their checksums, in the order of `shapes`.

        This writes and doesn't map: mapped pages would count as this process's memory.
        """
        checksums = []
        for name, (shape, kind) in self.shapes.items():
            rows = np.ascontiguousarray(values[name], dtype=kind)
            assert rows.shape == (len(self.rows(chunk)), *shape[1:]), name
            with self.path(name).open("r+b", buffering=0) as file:
                file.seek(self._place(name, chunk))
                content = memoryview(rows.reshape(-1).view(np.uint8).data)
                while len(content):
                    content = content[file.write(content) :]
            checksums.append(zlib.crc32(rows.data))
        return checksums

    def is_right(self, chunk: int, checksums: list[int], names: Iterable[str]) -> bool:
        """Whether the named arrays hold the written values in this chunk."""
        expected = dict(zip(self.shapes, checksums, strict=True))
        for name in names:
            shape, kind = self.shapes[name]
            count = len(self.rows(chunk)) * int(np.prod(shape[1:])) * kind.itemsize
            with self.path(name).open("rb", buffering=0) as file:
                file.seek(self._place(name, chunk))
                if zlib.crc32(file.read(count)) != expected[name]:
                    return False
        return True

    def damaged(self, checksums: list[list[int]], names: Iterable[str], progress: Progress = no_progress) -> list[int]:
        """The chunks whose content differs from the written values."""
        names, found = tuple(names), []
        for chunk, expected in enumerate(checksums):
            if not self.is_right(chunk, expected, names):
                found.append(chunk)
            progress(self.rows(chunk).stop, self.frames, "checking what was written")
        return found

    def _place(self, name: str, chunk: int) -> int:
        """Byte offset of a chunk in an array's file."""
        shape, kind = self.shapes[name]
        return len(_header(shape, kind)) + chunk * CHUNK * int(np.prod(shape[1:])) * kind.itemsize


def _header(shape: tuple[int, ...], kind: np.dtype) -> bytes:
    """The header of a file in NumPy's format."""
    packed = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(packed, about)
    return packed.getvalue()


@dataclass(frozen=True)
class CropStore:
    """A split's arrays.

    Attributes:
        depth: (F, V, H, W) int16, tenths of a millimetre, memory-mapped.
        state: (F, V, H, W) uint8, `State`, memory-mapped.
        to_rig: (F, V, 4, 4) float64, from each crop's frame to the rig's, mm.
        to_camera: (F, 4, 4) float64, from the first view's crop to its camera.
        centres: (F, V, 3) float64 mm, crop centre of each camera's image, in the camera's frame.
        numbers: (F,) int64, each row's frame in the capture, counted from 0.
        kept: (K,) int64, the rows with a frame.
        left_out: why the other rows hold no frame, and why frames without a row were skipped.
        empty: (E, 2) int64, row and view of each crop without a hand.
        files: location of the arrays.
        checksums: of each chunk, in the order of the arrays.
    """

    depth: np.ndarray
    state: np.ndarray
    to_rig: np.ndarray
    to_camera: np.ndarray
    centres: np.ndarray
    numbers: np.ndarray
    kept: np.ndarray
    left_out: tuple[str, ...]
    empty: np.ndarray
    files: StoreFiles
    checksums: list[list[int]]

    @staticmethod
    def open(folder: Path, views: int, size: int) -> CropStore | None:
        """Open the store in a folder, or return None if it is incomplete or damaged."""
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            files = StoreFiles(folder, int(meta["frames"]), views, size)
            checksums = [[int(one) for one in chunk] for chunk in meta["checksums"]]
            arrays = {name: np.load(files.path(name), mmap_mode="r") for name in files.shapes}
            if len(checksums) != files.chunks or any(
                arrays[name].shape != shape or arrays[name].dtype != kind
                for name, (shape, kind) in files.shapes.items()
            ):
                return None
            small = {name: np.array(arrays[name]) for name in files.shapes if name not in _MAPS}
            listed = {name: np.array(meta[name], dtype=np.int64) for name in ("numbers", "kept")}
            if listed["numbers"].shape != (files.frames,):
                return None
            if files.damaged(checksums, files.shapes if arrays["depth"].nbytes <= _CHECKED_BYTES else small):
                return None
            return CropStore(
                depth=arrays["depth"],
                state=arrays["state"],
                **small,
                **listed,
                left_out=tuple(meta["left_out"]),
                empty=np.array(meta["empty"], dtype=np.int64).reshape(-1, 2),
                files=files,
                checksums=checksums,
            )
        except (OSError, ValueError, EOFError, KeyError, TypeError):
            return None

    def is_whole(self, progress: Progress = no_progress) -> bool:
        """Whether every byte is as written. This reads all data; opening checks large maps by their size only."""
        return not self.files.damaged(self.checksums, self.files.shapes, progress)
