"""The work of preparing a capture: images are decoded, cropped and written chunk by chunk, on all cores.

Each process decodes an image at a time and writes a chunk of frames straight into the store's files, so that memory
doesn't grow with the number of frames. What a frame becomes depends on nothing but that frame: neither the number of
processes nor an interruption changes a byte.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpf_core.data import png
from hpf_core.data.crop import crop
from hpf_core.data.hand_centre import fuse, in_cameras, in_rig, mass_centre
from hpf_core.data.layouts import nyu
from hpf_core.data.prepared.store import PER_MM, StoreFiles
from hpf_core.data.prepared.store_writer import WrittenChunk
from hpf_core.errors import DataError
from hpf_core.frames import State
from hpf_core.grid import Grid

_WORTH_PROCESSES = 1000  # images: to start processes takes as long as some 300 images


class CroppingWarning(UserWarning):
    """The work goes on, but not as it was meant to."""


@dataclass(frozen=True)
class CropPlan:
    """What frames are cropped, and how.

    Attributes:
        folder: of the split's images.
        views: the views used, counted from 0.
        numbers: (F,) int64, the frame of each row, counted from 0.
        to_rig: (V, 4, 4) float64, from each camera's frame to the rig's, mm.
        known: (F, V, 3) mm in each camera's frame, where to crop; None where the nearest thing's centre is to be found.
        grid: of the kept maps.
        cube_mm: side of the cube in which a centre of mass is looked for.
        turned: whether a crop's z runs along the ray through its centre.
        files: the store that is filled.
    """

    folder: Path
    views: tuple[int, ...]
    numbers: np.ndarray
    to_rig: np.ndarray
    known: np.ndarray | None
    grid: Grid
    cube_mm: float
    turned: bool
    files: StoreFiles

    def make(self, chunk: int) -> WrittenChunk:
        """Crop a chunk's frames and write them. Frames that can't be used are listed with the reason.

        Raises:
            OSError: the store can't be written.
        """
        rows = self.files.rows(chunk)
        values = {name: np.zeros((len(rows), *shape[1:]), kind) for name, (shape, kind) in self.files.shapes.items()}
        values["state"][:] = State.UNKNOWN
        values["centres"][:] = np.nan
        left_out = []
        for place, row in enumerate(rows):
            try:
                self._frame(row, place, values)
            except DataError as error:
                left_out.append((row, str(error)))
        return WrittenChunk(chunk, self.files.write(chunk, values), left_out)

    def _frame(self, row: int, place: int, values: dict[str, np.ndarray]) -> None:
        """Crop the frame of a row into `place` of the values; nothing is changed where it raises DataError."""
        paths = [nyu.image_path(self.folder, view, int(self.numbers[row])) for view in self.views]
        images = [nyu.read_depth(path) for path in paths]
        returned = [nyu.returned(image) for image in images]
        centres = self.known[row] if self.known is not None else self._start(images, returned)
        for path, centre in zip(paths, centres, strict=True):
            if not np.isfinite(centre).all() or centre[2] <= 1.0:
                raise DataError(f"{path} has no centre to crop around: {self._why_no_centre()}.")
        for view, centre in enumerate(centres):
            made = crop(images[view], returned[view], nyu.CAMERA, centre, self.grid, self.turned)
            values["depth"][place, view] = np.rint(made.depth * PER_MM)
            values["state"][place, view] = made.state
            values["to_rig"][place, view] = self.to_rig[view] @ made.to_camera
            if view == 0:
                values["to_camera"][place] = made.to_camera
        values["centres"][place] = centres

    def _why_no_centre(self) -> str:
        if self.known is None:
            return "nothing that it shows is taken for a hand"
        joint = nyu.JOINTS[nyu.PALM_CENTRE]
        return f"{nyu.LABELS_FILE} has no {joint} for it that is finite and before the camera"

    def _start(self, images: list[np.ndarray], returned: list[np.ndarray]) -> np.ndarray:
        """(V, 3) mm in each camera's frame, where all views together have the hand; NaN for views that see nothing."""
        found = [
            mass_centre(depth, there, nyu.CAMERA, self.cube_mm) for depth, there in zip(images, returned, strict=True)
        ]
        each = np.stack([np.full(3, np.nan) if centre is None else centre for centre in found])
        together = in_cameras(fuse(in_rig(each, self.to_rig)), self.to_rig)
        return np.where(np.isfinite(each), together, np.nan)


def make_chunks(plan: CropPlan, chunks: Iterable[int], jobs: int | None, done: Callable[[WrittenChunk], None]) -> None:
    """Make chunks of a plan, in any order.

    Args:
        plan: what is made.
        chunks: the numbers of the chunks that are wanted.
        jobs: number of processes; None for as many as this process may use cores.
        done: called in this process with each chunk that stands.

    Raises:
        OSError: the store can't be written.
    """
    left = list(chunks)
    images = sum(len(plan.files.rows(chunk)) for chunk in left) * len(plan.views)
    processes = min(cores() if jobs is None else jobs, len(left))
    if processes > 1 and (images >= _WORTH_PROCESSES or jobs is not None):
        png.compile_kernel()  # once, for all of them
        left = _in_processes(plan, left, processes, done)
    for chunk in left:
        done(plan.make(chunk))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(plan: CropPlan, chunks: list[int], processes: int, done: Callable[[WrittenChunk], None]) -> list[int]:
    """Make chunks in other processes. Returns those that are left where processes can't be had, or die.

    Whatever ends it before its time, Ctrl-C among it, ends them at once: a chunk counts only when `done` has it.
    """
    # Not by a plain fork: this process may have threads. A fork server imports what is heavy once for all.
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    ahead, standing, others = iter(chunks), set(), set(multiprocessing.active_children())
    with _script_left_alone():
        if "forkserver" in ways:
            _serve_forks(context)
        with ProcessPoolExecutor(processes, context, _begin, (plan,)) as pool:
            try:
                # Two for each process: enough to keep it busy.
                waiting = _submitted(pool, islice(ahead, 2 * processes))
                while waiting:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        written = future.result()
                        done(written)
                        standing.add(written.chunk)
                    waiting |= _submitted(pool, islice(ahead, len(ready)))
            except (BrokenProcessPool, EOFError):  # the second, of a fork server
                warnings.warn(
                    "A process that cropped images ended before its time (is memory short?); the rest is done by one.",
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
    """Have a fork server that is ready: processes then start in no time. Ctrl-C is heard while it imports; it itself
    and its processes never hear it, for a terminal gives it to all of them, and they would die where they stand."""

    def begin() -> None:
        context.set_forkserver_preload([__name__])
        resource_tracker.ensure_running()  # beforehand: it leaves the signal let through
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread, and of what it starts
        with suppress(EOFError, OSError):  # it was ended
            forkserver.ensure_running()
            first = context.Process(target=int)  # type: ignore[attr-defined]
            first.start()
            first.join()

    beginning = threading.Thread(target=begin, daemon=True)
    beginning.start()
    try:
        beginning.join()
    except BaseException:
        # It would end with this process too, but only when it has imported all. Nothing public tells its number.
        server = getattr(forkserver, "_forkserver", None)
        if (number := getattr(server, "_forkserver_pid", None)) is not None:
            os.kill(number, signal.SIGKILL)
        raise


def _submitted(pool: ProcessPoolExecutor, chunks: Iterable[int]) -> set[Future[WrittenChunk]]:
    """Chunks as work for the pool. A process that it starts for them is whole before Ctrl-C acts."""
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
    """Processes that are started don't import the script that runs here. One that prepares data outside of `if __name__
    == "__main__"` would do so in each of them, and wait for this process, which waits for them."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


_plan: CropPlan | None = None  # of a process of the pool


def _begin(plan: CropPlan) -> None:
    global _plan
    _plan = plan
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there is no fork server
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed process can't tell those of its pool to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _make(chunk: int) -> WrittenChunk:
    assert _plan is not None
    return _plan.make(chunk)
