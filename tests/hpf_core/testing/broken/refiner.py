"""Refiners that break the contract."""

from __future__ import annotations

import os

from torch import Tensor

from broken.faults import Faults

REFINER = Faults("refiner", lambda plugin, config, build: plugin(build.grid.cube_mm / 2 - config.margin_mm))
Mine = REFINER.module.Mine
breaks = REFINER.breaks

REFINER.breaks_with("specification", "must be lowercase", name="Mine")


@breaks("settings", "working directory")
class ChangesTheWorkingDirectory(Mine):
    def forward(self, points: Tensor) -> Tensor:
        os.chdir("/")
        return super().forward(points)


@breaks("shapes", "(5, 40, 3), not (5, 41, 3)")
class LosesAPoint(Mine):
    def forward(self, points: Tensor) -> Tensor:
        return super().forward(points)[:, 1:]


@breaks("finite", "coincident points")
class DividesByLength(Mine):
    def forward(self, points: Tensor) -> Tensor:
        return points / points.norm(dim=-1, keepdim=True) * 10


@breaks("batch order", "items are mixed up")
class ReversesTheBatch(Mine):
    def forward(self, points: Tensor) -> Tensor:
        return super().forward(points.flip(0))


@breaks("save and load", "can't be loaded into a fresh one")
class KeepsWhatItSaw(Mine):
    def forward(self, points: Tensor) -> Tensor:
        self.register_buffer("kept", points)
        return super().forward(points)


@breaks("hands stay hands", "is where PALM_11 was")
class MixesUpPoints(Mine):
    def forward(self, points: Tensor) -> Tensor:
        return super().forward(points.roll(1, dims=1))


@breaks("hands stay hands", "more than all in one place would be")
class GivesMetres(Mine):
    def forward(self, points: Tensor) -> Tensor:
        return super().forward(points) / 1000
