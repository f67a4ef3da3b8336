"""Fills a store of crops in a hidden folder beside its place, chunk by chunk, so that work can continue after a kill.

The folder's `journal.jsonl` has one line for each finished chunk, with checksums and skipped frames. At the end, the
writer reads everything back and compares it. Then the folder moves to its place in one step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from hpf_core.data.prepared.store import FORMAT, META, StoreFiles
from hpf_core.errors import InputError
from hpf_core.files.disk_space import need_room
from hpf_core.progress import Progress

_JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class WrittenChunk:
    """A finished chunk of the arrays.

    Attributes:
        chunk: number of the chunk.
        checksums: of the chunk's rows, in the order of the arrays.
        left_out: row and reason of each frame without crops.
        empty: row and view, in the store's counting, of each crop without a hand.
    """

    chunk: int
    checksums: list[int]
    left_out: list[tuple[int, str]]
    empty: list[tuple[int, int]] = field(default_factory=list)


class StoreWriter:
    """The finished part of an unfinished store.

    Attributes:
        files: the arrays in the hidden folder, for writing chunks.

    Args:
        place: the files of the finished store.
        made_of: a key of all inputs. Unfinished work with another key is deleted.

    Raises:
        OSError: the folder can't be written.
    """

    def __init__(self, place: StoreFiles, made_of: str) -> None:
        self._place = place
        self.files = replace(place, folder=partial_folder(place.folder))
        self._about: dict[str, object] = {"format": FORMAT, "made_of": made_of}
        self._about |= {"frames": place.frames, "views": place.views, "size": place.size}
        self._done: dict[int, WrittenChunk] = {}
        if not self._resume():
            shutil.rmtree(self.files.folder, ignore_errors=True)
            self.files.folder.mkdir(parents=True)
            self.files.create()
            self._rewrite()

    @property
    def missing(self) -> list[int]:
        """The missing chunks."""
        return [chunk for chunk in range(self.files.chunks) if chunk not in self._done]

    @property
    def frames_done(self) -> int:
        """Number of frames in the finished chunks."""
        return sum(len(self.files.rows(chunk)) for chunk in self._done)

    def note(self, written: WrittenChunk) -> None:
        """Record a finished chunk."""
        self._done[written.chunk] = written
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(written)) + "\n")

    def need_room(self) -> None:
        """Check that the disk has enough space for the missing chunks.

        Raises:
            InputError: the disk has less. Then a folder without chunks is removed.
        """
        done, folder = self.frames_done, self._place.folder
        count = round(self.files.bytes * (1 - done / self.files.frames))
        otherwise = "Choose another disk (--out, or HPF_CACHE_DIR), or choose smaller crops."
        if done:
            otherwise = f"Free some space on it. {kept_so_far(folder)}"
        try:
            need_room(folder.parent, count, "The cache", otherwise)
        except InputError:
            if not done:
                shutil.rmtree(self.files.folder, ignore_errors=True)
            raise

    def forget_damaged(self, progress: Progress) -> bool:
        """Read everything back from the disk. Chunks with other content count as missing again.

        Returns:
            Whether there are such chunks.
        """
        for name in self.files.shapes:
            with self.files.path(name).open("r+b") as file:
                os.fsync(file.fileno())
                if hasattr(os, "posix_fadvise"):  # so that the data come from the disk, not from memory
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        checksums = [self._done[chunk].checksums for chunk in range(self.files.chunks)]
        damaged = self.files.damaged(checksums, self.files.shapes, progress)
        for chunk in damaged:
            del self._done[chunk]
        if damaged:
            self._rewrite()
        return bool(damaged)

    def finish(self, numbers: np.ndarray, beyond: Sequence[str] = ()) -> None:
        """Write the store's index after all chunks are finished, and move the store to its place.

        Args:
            numbers: (F,) each row's frame in the capture, counted from 0.
            beyond: why further frames, which have no row, were skipped.
        """
        chunks = [self._done[chunk] for chunk in range(self.files.chunks)]
        left_out = dict(one for chunk in chunks for one in chunk.left_out)
        meta = {
            "frames": self.files.frames,
            "left_out": [*(left_out[row] for row in sorted(left_out)), *beyond],
            "numbers": [int(number) for number in numbers],
            "kept": [row for row in range(self.files.frames) if row not in left_out],
            "empty": sorted(one for chunk in chunks for one in chunk.empty),
            "checksums": [chunk.checksums for chunk in chunks],
        }
        with (self.files.folder / META).open("w", encoding="utf-8") as file:
            file.write(_one_key_a_line(meta))
            file.flush()
            os.fsync(file.fileno())
        self._journal.unlink()
        shutil.rmtree(self._place.folder, ignore_errors=True)  # the files there are incomplete
        self.files.folder.replace(self._place.folder)

    @property
    def _journal(self) -> Path:
        return self.files.folder / _JOURNAL

    def _resume(self) -> bool:
        """Load the finished part; False if there is none, or if it has other inputs."""
        try:
            about, *lines = self._journal.read_text(encoding="utf-8").splitlines()
            if json.loads(about) != self._about or not self.files.are_there():
                return False
        except (OSError, ValueError):
            return False
        for line in lines:
            try:
                found = json.loads(line)
                left_out = [(int(row), str(reason)) for row, reason in found["left_out"]]
                empty = [(int(row), int(view)) for row, view in found["empty"]]
                self._done[found["chunk"]] = WrittenChunk(found["chunk"], found["checksums"], left_out, empty)
            except (ValueError, KeyError, TypeError):  # the last line before a kill is incomplete
                break
        self._rewrite()
        return True

    def _rewrite(self) -> None:
        """Rewrite the journal from memory, atomically."""
        lines = [self._about, *(asdict(self._done[chunk]) for chunk in sorted(self._done))]
        fresh = self._journal.with_suffix(".new")
        fresh.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        fresh.replace(self._journal)


def partial_folder(folder: Path) -> Path:
    """Folder of an unfinished store."""
    return folder.with_name(f".{folder.name}-partial")


def kept_so_far(folder: Path) -> str:
    """Tell the user where the unfinished store of `folder` lies; empty if there is none."""
    partial = partial_folder(folder)
    if not partial.is_dir():
        return ""
    return f"The complete part is kept in {partial}: repeat the command to resume."


def _one_key_a_line(content: dict[str, object]) -> str:
    """Readable JSON: one line for each key, and for each skipped frame."""
    lines = []
    for key, value in content.items():
        indent = 1 if key == "left_out" else None
        lines.append(f"{json.dumps(key)}: {json.dumps(value, indent=indent)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
