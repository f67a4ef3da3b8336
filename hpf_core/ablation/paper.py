"""The paper's figures for the variants, and the variants in each of them (Wan et al., CVPR 2019, pages 6-7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpf_core.evaluation import published
from hpf_core.evaluation.published import PublishedRow

__all__ = ["FIGURES", "PaperFigure", "PublishedRow", "published_rows"]


@dataclass(frozen=True)
class PaperFigure:
    """A figure of success curves.

    Attributes:
        number: the number in the paper.
        title: the first sentence of the paper's caption.
        rows: our variants' names in its legend, in the legend's order.
    """

    number: int
    title: str
    rows: Mapping[str, str]


FIGURES = (
    PaperFigure(
        5,
        "Impact of training data",
        {
            "full": "real training set",
            "half_multiview": "50 % real training set",
            "train_on_test": "testing set",
            "train_on_train_and_test": "training set + testing set",
            "synth_noise": "synth (aug. with noise)",
            "synth": "synth",
            "synth_on_synth": "synth (test on synth)",
        },
    ),
    PaperFigure(
        6,
        "Impact of multi-view supervision",
        {
            "full": "100 % multi-view",
            "single_view": "100 % single view",
            "half_multi_half_single": "50 % multi-view + 50 % single view",
            "half_multiview": "50 % multi-view",
        },
    ),
    PaperFigure(
        7,
        "Impact of prior terms",
        {
            "full": "ours",
            "no_vae": "without vae loss",
            "no_bone_length": "without bone length loss",
            "no_collision": "without collision loss",
        },
    ),
)


def published_rows() -> Mapping[str, PublishedRow]:
    """The paper's figures by our variants' names."""
    return published.rows()
