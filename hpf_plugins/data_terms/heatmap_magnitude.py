"""Heatmaps of real images stay small: their mean square (authors' code; the paper doesn't mention it).

Nothing says how high a real heatmap ought to peak, and the softmax of Eq. 1-2 doesn't change when a constant is added
to a whole map. This keeps maps from growing out of the range that labels of synthetic samples give them.
"""

from __future__ import annotations

import torch

from hpf_core.errors import InputError
from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import Build, Config, DataTerm, PluginSpec, StepData, TermValue


class HeatmapMagnitudeConfig(Config):
    """Nothing to choose."""


class HeatmapMagnitude(DataTerm):
    """Mean square of all pixels of all heatmaps of each real image, dimensionless."""

    needs = frozenset({"heatmaps"})

    def forward(self, step: StepData) -> TermValue:
        """Values (N,) of the present views, all with weight 1.

        Raises:
            InputError: the backbone has no heatmaps.
        """
        heatmaps = step.need_real().heatmaps
        if heatmaps is None:
            raise InputError(
                "heatmap_magnitude: the backbone has no heatmaps; choose one that provides them, or switch the term off"
            )
        values = at_least_float32(heatmaps).square().mean(dim=(1, 2, 3))
        return TermValue(values, torch.ones_like(values), step.views.frame)


def _build(config: HeatmapMagnitudeConfig, build: Build) -> HeatmapMagnitude:
    return HeatmapMagnitude()


SPEC = PluginSpec(
    kind="data_term",
    name="heatmap_magnitude",
    config=HeatmapMagnitudeConfig,
    factory=_build,
    summary="Heatmaps of real images against 0.",
    source="the public code of Wan et al., CVPR 2019",
    needs=frozenset({"real", "heatmaps"}),
    default_weight=0.01,
)
