"""Keeps heatmaps of real images small by their mean square (authors' code; the paper doesn't mention this term).

No label constrains the peak of a real heatmap, and a constant offset leaves the softmax of Eq. 1-2 unchanged. This term
keeps real maps within the range of the synthetic samples' labels.
"""

from __future__ import annotations

import torch

from hpf_core.errors import InputError
from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import Build, Config, DataTerm, PluginSpec, StepData, TermValue


class HeatmapMagnitudeConfig(Config):
    """No options."""


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
                "heatmap_magnitude: the backbone has no heatmaps; choose one that provides them, or disable the term"
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
