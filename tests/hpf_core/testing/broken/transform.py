"""Transforms that break the contract."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from broken.faults import Faults

TRANSFORM = Faults("transform", lambda plugin, config, build: plugin(config.most_mm, build.grid.far_mm))
Mine = TRANSFORM.module.Mine
breaks = TRANSFORM.breaks

Changed = tuple[Tensor, Callable[[Tensor], Tensor]]


# -------------------------------------------------------------------------------------------------------- applies to


@breaks("applies to", "labels stay where they are")
class AppliesToBoth(Mine):
    applies_to = frozenset({"real", "synthetic"})


@breaks("applies to", "applies_to is")
class AppliesToNothingKnown(Mine):
    applies_to = frozenset({"reel"})


@breaks("applies to", "labels stay where they are")
class AppliesToSynthetic(Mine):
    applies_to = frozenset({"synthetic"})


# ------------------------------------------------------------------------------------------------------------- draws


@breaks("draws", "same generator gives other images")
class DrawsFromTheGlobalState(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        return super().forward(depth, torch.default_generator)


@breaks("draws", "generator isn't used")
class DrawsAlwaysTheSame(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        return super().forward(depth, torch.Generator().manual_seed(7))


@breaks("draws", "ways back: points differs")
class DrawsOnTheWayBack(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        return changed, lambda points: back(points) * torch.rand(())


@breaks("meta device", "random numbers on the CPU: add device=generator.device")
class DrawsOnTheHost(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        torch.rand(len(depth), generator=generator)
        return super().forward(depth, generator)


@breaks("meta device", "item")
class ReadsItsDraw(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        torch.rand(1, generator=generator, device=generator.device).item()
        return super().forward(depth, generator)


@breaks("meta device", "numpy")
class DrawBecomesAnArray(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        torch.rand(1, generator=generator, device=generator.device).numpy()
        return super().forward(depth, generator)


# ------------------------------------------------------------------------------------------------------------ images


@breaks("shapes", "not (3, 32, 32)")
class LosesARow(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        return changed[:, 1:], back


@breaks("meta device", "item")
class ReadsAnImage(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        depth.mean().item()
        return super().forward(depth, generator)


@breaks("finite", "empty depth maps")
class DividesByTheHandsDepth(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        in_front = depth.amin((1, 2), keepdim=True) - self.far_mm
        return changed * in_front / in_front, back


@breaks("way back", "mm off the hand's surface")
class PushesTheBackground(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        _, back = super().forward(depth, generator)
        push = -back(depth.new_zeros(len(depth), 1, 3))[..., 2:]
        return (depth + push).clamp(-self.far_mm, self.far_mm), back


@breaks("images apart", "with the other images empty, of image 0 depth differs")
class PushesByTheMeanOfAll(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        return torch.where(depth < self.far_mm, changed + 0.1 * depth.mean(), changed), back


@breaks("images apart", "with the other images empty")
class DrawsForEachPixel(Mine):
    """The number of draws depends on what all images show."""

    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        torch.rand(int((depth < 0).sum()), generator=generator)
        return super().forward(depth, generator)


# ---------------------------------------------------------------------------------------------------------- way back


@breaks("way back", "the map back doesn't undo")
class PushesTwice(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        return changed, lambda points: 2 * points - back(points)


@breaks("way back", "the map back doesn't undo")
class NoWayBack(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, _ = super().forward(depth, generator)
        return changed, lambda points: points


@breaks("images apart", "of image 0 points differs")
class WayBackDependsOnOthers(Mine):
    def forward(self, depth: Tensor, generator: torch.Generator) -> Changed:
        changed, back = super().forward(depth, generator)
        return changed, lambda points: back(points) - points.mean()
