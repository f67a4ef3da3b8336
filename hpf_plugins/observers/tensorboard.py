"""Scalars and pictures of a run for TensorBoard (https://github.com/tensorflow/tensorboard)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import Field

from hpf_core.errors import PluginError
from hpf_core.interfaces import Build, Config, Observer, PluginSpec

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"
FIGURES = "figures"
SCALARS = ("loss", "gradient_norm", "lr", "images_per_second", "peak", "unseen_mm")
OF_A_TERM = ("raw", "weighted", "gradient")


class TensorBoardConfig(Config):
    """Options of `tensorboard`."""

    pictures: bool = Field(True, description="Whether to keep the steps' pictures and the run's figures, too.")


class TensorBoard(Observer):
    """Writes RUN/tensorboard. Each stage is a line in every chart, so that charts compare a stage with its control.

    Charts are `loss`, `raw/TERM`, `weighted/TERM` and `gradient/TERM` (the norm of a term's gradient on the points),
    `gradient_norm`, `lr`, `images_per_second`, `peak`, `unseen_mm`, and `evaluation/...` at a stage's last step. A
    resumed run purges the steps after its checkpoint.

    Args:
        pictures: whether to keep pictures as well.

    Raises:
        PluginError: the package tensorboard isn't installed.
    """

    def __init__(self, pictures: bool) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise PluginError(
                "the observer 'tensorboard' needs the package tensorboard, which can't be imported "
                f"({error}). Install it with pip install 'hand-pose-fitting[tensorboard]', or take it out of the "
                "recipe's observers"
            ) from error
        self._make = SummaryWriter
        self._pictures = pictures
        self._folder = Path()
        self._steps: dict[str, int] = {}
        self._writers: dict[str, SummaryWriter] = {}

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Remember the run's folder and the lengths of the stages."""
        self._folder = folder / FOLDER
        self._steps = {name: stage["steps"] for name, stage in recipe["stages"].items()}

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """Hide steps after the checkpoint of a resumed run."""
        self._close(stage)
        written = [path.name for path in (self._folder / stage).glob("events.out.tfevents.*")]
        if written:
            _wait_for_a_name_after(max(written))
        self._writers[stage] = self._make(str(self._folder / stage), purge_step=done + 1 if written else None)

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Add a point to each chart."""
        found = {name: metrics.get(name) for name in SCALARS}
        for kind in OF_A_TERM:
            found |= {f"{kind}/{term}": value for term, value in metrics.get(kind, {}).items()}
        self._add(stage, step, found)

    def picture_drawn(self, stage: str, step: int, path: Path) -> None:
        """Add the picture of a step."""
        if self._pictures:
            self._writer(stage).add_image("steps", _pixels(path), step, dataformats="HWC")

    def checkpoint_written(self, stage: str, step: int, path: Path) -> None:
        """Flush to disk all data before the checkpoint: a resumed run relies on them."""
        self._writer(stage).flush()

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """Add errors in mm and shares of frames at a stage's last step, and close the file of the finished stage."""
        found = {name: value for name, value in result.items() if name.endswith("_mm")}
        found |= {f"frames_within_{mm}_mm": share for mm, share in result.get("success", {}).items()}
        self._add(stage, self._steps.get(stage, 0), {f"evaluation/{name}": value for name, value in found.items()})
        self._close(stage)

    def run_ended(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """Write the run's figures."""
        if self._pictures:
            for path in sorted((folder / "figures").glob("*.png")):
                self._writer(FIGURES).add_image(path.stem, _pixels(path), 0, dataformats="HWC")
        self._close(*self._writers)

    def run_failed(self, folder: Path, error: BaseException) -> None:
        """Close the file and keep its contents."""
        self._close(*self._writers)

    def _writer(self, stage: str) -> SummaryWriter:
        if stage not in self._writers:
            self._writers[stage] = self._make(str(self._folder / stage))
        return self._writers[stage]

    def _add(self, stage: str, step: int, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._writer(stage).add_scalar(name, value, step)

    def _close(self, *stages: str) -> None:
        for stage in stages:
            if stage in self._writers:
                self._writers.pop(stage).close()


def _wait_for_a_name_after(name: str) -> None:
    """Wait for a name that sorts last: TensorBoard reads files by name, and a resumed run's file must purge older ones.

    A name begins with the second of its creation. Within one second, process numbers as text decide the order. So this
    function waits for the next second.
    """
    second = name.removeprefix("events.out.tfevents.").partition(".")[0]
    ahead = int(second) + 1 - time.time() if second.isdecimal() else 0.0
    if 0 < ahead <= 1:
        time.sleep(ahead)


def _pixels(path: Path) -> np.ndarray:
    """(H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def build(config: TensorBoardConfig, build: Build) -> TensorBoard:
    """Build the observer from a recipe's options."""
    return TensorBoard(config.pictures)


SPEC = PluginSpec(
    kind="observer",
    name="tensorboard",
    config=TensorBoardConfig,
    factory=build,
    summary="Scalars and pictures for TensorBoard in the run's folder; needs the extra `tensorboard`.",
    source="own work",
)
