"""Prepares a capture: decodes, crops and writes images chunk by chunk, on all cores.

Each process decodes one image at a time and writes a chunk of frames directly into the store's files. So memory doesn't
grow with the number of frames. A frame's crop depends on this frame only: the number of processes and interruptions
change no byte.

We measured threads instead of processes. On 2 cores, for 2,220 images of a simulated capture, one process took 20.1 s,
two processes 13.1 s, and two threads 15.1 to 16.4 s. More cores were not measured.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch

from hpf_core.data.cameras import Volume
from hpf_core.data.crop import crop, inside_volume
from hpf_core.data.hand_centre import fuse, in_cameras, in_rig, mass_centre
from hpf_core.data.layouts.base import Layout
from hpf_core.data.prepared.store import PER_MM, StoreFiles
from hpf_core.data.prepared.store_writer import WrittenChunk
from hpf_core.errors import DataError
from hpf_core.frames import State
from hpf_core.grid import Grid

LEAST_SURFACE_MM2 = 1000.0
"""A crop with less visible surface than this, mm^2 from the front, shows no hand (our choice: 3 x 3 cm)."""

_WORTH_PROCESSES = 1000  # images: starting processes takes as long as about 300 images


class CroppingWarning(UserWarning):
    """The work continues, but not in the requested way."""


@dataclass(frozen=True)
class CropPlan:
    """The frames to crop, and the options of cropping.

    Attributes:
        layout: reads the images.
        split: name of the split.
        views: the used views, counted from 0.
        numbers: (F,) int64, the frame of each row, counted from 0.
        to_rig: (V, 4, 4) float64, from each camera's frame to the rig's, mm.
        known: (F, V, 3) mm in each camera's frame, crop centres; None to use the nearest object's centre.
        grid: of the stored maps.
        cube_mm: side of the cube in the search for a centre of mass.
        turned: whether a crop's z points along the ray through its centre.
        files: the store to fill.
        volume_mm: a box in the rig's frame; surfaces outside the box count as no return.
    """

    layout: Layout
    split: str
    views: tuple[int, ...]
    numbers: np.ndarray
    to_rig: np.ndarray
    known: np.ndarray | None
    grid: Grid
    cube_mm: float
    turned: bool
    files: StoreFiles
    volume_mm: Volume | None = None

    def make(self, chunk: int) -> WrittenChunk:
        """Crop a chunk's frames and write them. The result lists unusable frames with the reason.

        Raises:
            OSError: the store can't be written.
        """
        rows = self.files.rows(chunk)
        values = {name: np.zeros((len(rows), *shape[1:]), kind) for name, (shape, kind) in self.files.shapes.items()}
        values["state"][:] = State.UNKNOWN
        values["centres"][:] = np.nan
        left_out, empty = [], []
        for place, row in enumerate(rows):
            try:
                self._frame(row, place, values)
            except DataError as error:
                left_out.append((row, str(error)))
                continue
            empty += [(row, view) for view in self._without_hand(values["state"][place], values["centres"][place])]
        return WrittenChunk(chunk, self.files.write(chunk, values), left_out, empty)

    def _frame(self, row: int, place: int, values: dict[str, np.ndarray]) -> None:
        """Crop a row's frame into `place` of the values. On DataError, the values stay unchanged.

        Missing views keep the centre NaN.
        """
        layout, number = self.layout, int(self.numbers[row])
        paths = {k: path for k, view in enumerate(self.views) if (path := layout.path(self.split, view, number))}
        if 0 not in paths:
            first = layout.rig.names[self.views[0]]
            raise DataError(f"{layout.frame_name(self.split, number)} has no image of the first camera, '{first}'.")
        images = {k: self._image(k, number) for k in paths}
        returned = {k: image > 0 for k, image in images.items()}
        centres = self.known[row] if self.known is not None else self._start(images, returned)
        for k, path in paths.items():
            if not np.isfinite(centres[k]).all() or centres[k][2] <= 1.0:
                raise DataError(f"{path} has no centre to crop around: {self._why_no_centre()}.")
        for k, image in images.items():
            camera = layout.rig.cameras[self.views[k]]
            made = crop(image, returned[k], camera, centres[k], self.grid, self.turned)
            values["depth"][place, k] = np.rint(made.depth * PER_MM)
            values["state"][place, k] = made.state
            values["to_rig"][place, k] = self.to_rig[k] @ made.to_camera
            values["centres"][place, k] = centres[k]
            if k == 0:
                values["to_camera"][place] = made.to_camera

    def _image(self, k: int, number: int) -> np.ndarray:
        """Depth (H, W) mm of a used view; 0 at pixels without return and outside the rig's volume."""
        view = self.views[k]
        depth = self.layout.read_depth(self.split, view, number)
        if self.volume_mm is not None:
            inside = inside_volume(depth, self.layout.rig.cameras[view], self.to_rig[k], self.volume_mm)
            depth = np.where(inside, depth, np.zeros((), depth.dtype))
        return depth

    def _why_no_centre(self) -> str:
        if self.known is None:
            return "HPF found no hand in it"
        labels = self.layout.labels_path(self.split)
        name = labels.name if labels else "its annotation"
        return f"{name} has no {self.layout.palm} for it that is finite and before the camera"

    def _start(self, images: Mapping[int, np.ndarray], returned: Mapping[int, np.ndarray]) -> np.ndarray:
        """(V, 3) mm in each camera's frame: the hand's place from all views together; NaN for views without surface."""
        each = np.full((len(self.views), 3), np.nan)
        for k, image in images.items():
            centre = mass_centre(image, returned[k], self.layout.rig.cameras[self.views[k]], self.cube_mm)
            if centre is not None:
                each[k] = centre
        together = in_cameras(fuse(in_rig(each, self.to_rig)), self.to_rig)
        return np.where(np.isfinite(each), together, np.nan)

    def _without_hand(self, state: np.ndarray, centres: np.ndarray) -> list[int]:
        """The views whose crop (V, H, W), without the margin, shows less surface than any hand."""
        margin = self.grid.size // 2 - round(self.grid.size * self.cube_mm / self.grid.cube_mm) // 2
        inner = slice(margin, self.grid.size - margin)
        seen = (state[:, inner, inner] == State.HIT).sum(axis=(1, 2)) * self.grid.pixel_mm**2
        return [int(k) for k in np.flatnonzero(np.isfinite(centres).all(axis=-1) & (seen < LEAST_SURFACE_MM2))]


def make_chunks(plan: CropPlan, chunks: Iterable[int], jobs: int | None, done: Callable[[WrittenChunk], None]) -> None:
    """Make chunks of a plan, in any order.

    Args:
        plan: the plan.
        chunks: numbers of the requested chunks.
        jobs: number of processes; None for the number of available cores.
        done: called in this process with each finished chunk.

    Raises:
        OSError: the store can't be written.
    """
    left = list(chunks)
    images = sum(len(plan.files.rows(chunk)) for chunk in left) * len(plan.views)
    processes = min(cores() if jobs is None else jobs, len(left))
    if processes > 1 and (images >= _WORTH_PROCESSES or jobs is not None):
        left = _in_processes(plan, left, processes, done)
    for chunk in left:
        done(plan.make(chunk))


def cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(plan: CropPlan, chunks: list[int], processes: int, done: Callable[[WrittenChunk], None]) -> list[int]:
    """Make chunks in other processes. Returns the remaining chunks if processes are unavailable or die.

    An early end, for example by Ctrl-C, stops all processes at once. A chunk counts only after `done` has received it.
    """
    # Not by a plain fork, because this process may have threads. A fork server imports heavy modules once for all.
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    ahead, standing, others = iter(chunks), set(), set(multiprocessing.active_children())
    with _script_left_alone():
        if "forkserver" in ways:
            _serve_forks(context)
        with ProcessPoolExecutor(processes, context, _begin, (plan,)) as pool:
            try:
                # Two chunks for each process keep it busy.
                waiting = _submitted(pool, islice(ahead, 2 * processes))
                while waiting:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        written = future.result()
                        done(written)
                        standing.add(written.chunk)
                    waiting |= _submitted(pool, islice(ahead, len(ready)))
            except (BrokenProcessPool, EOFError):  # EOFError comes from a fork server
                warnings.warn(
                    "A process that cropped images died (out of memory?). One process crops the rest.",
                    CroppingWarning,
                    stacklevel=4,
                )
            except BaseException:
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
    return [chunk for chunk in chunks if chunk not in standing]


def _serve_forks(context: BaseContext) -> None:
    """Start a fork server in advance, so that processes start quickly. Ctrl-C works during its imports. The server and
    its processes ignore Ctrl-C: a terminal sends it to all of them, and they would die in the middle of their work."""

    def begin() -> None:
        context.set_forkserver_preload([__name__])
        resource_tracker.ensure_running()  # before blocking, because it unblocks the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for this thread and its child processes
        with suppress(EOFError, OSError):  # the server has ended
            forkserver.ensure_running()
            first = context.Process(target=int)  # type: ignore[attr-defined]
            first.start()
            first.join()

    beginning = threading.Thread(target=begin, daemon=True)
    beginning.start()
    try:
        beginning.join()
    except BaseException:
        # The server would end with this process too, but only after all imports. No public function gives its pid.
        server = getattr(forkserver, "_forkserver", None)
        if (number := getattr(server, "_forkserver_pid", None)) is not None:
            os.kill(number, signal.SIGKILL)
        raise


def _submitted(pool: ProcessPoolExecutor, chunks: Iterable[int]) -> set[Future[WrittenChunk]]:
    """Submit chunks to the pool. Ctrl-C acts only after a new process has started completely."""
    heard: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number)) if in_main else None
    try:
        return {pool.submit(_make, chunk) for chunk in chunks}
    finally:
        if in_main:
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if heard:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _script_left_alone() -> Iterator[None]:
    """Prevent new processes from importing the running script. A script that prepares data outside of `if __name__ ==
    "__main__"` would do so in each process, and each would wait for this process, which waits for them."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


_plan: CropPlan | None = None  # the plan in a process of the pool


def _begin(plan: CropPlan) -> None:
    global _plan
    _plan = plan
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # without a fork server
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent: a killed process can't stop the processes of its pool."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _make(chunk: int) -> WrittenChunk:
    assert _plan is not None
    return _plan.make(chunk)
