"""Published results of the paper and other methods: reads `published.yaml` into records with sources.

HPF measured none of these figures. Figures that this project measured belong in a run's summary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from hpf_core.errors import InputError, nearest
from hpf_core.evaluation.protocols import NYU


class _Record(BaseModel):
    """Unknown keys and figures out of range are errors: the file is part of the package."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OtherFigure(_Record):
    """A second figure for the same quantity in the same paper.

    Attributes:
        mean_error_mm: mm over all joints and frames.
        fingertip_error_mm: mm over the fingertips, or None.
        where: place in the paper, and the difference.
    """

    mean_error_mm: float = Field(gt=0)
    fingertip_error_mm: float | None = Field(None, gt=0)
    where: str = Field(min_length=1)


class PublishedRow(_Record):
    """One experiment of the paper, on NYU's 14 joints.

    Attributes:
        name: name of the file in `recipes/rows/`; `full` is `recipes/paper.yaml` itself.
        label: the name in tables.
        mean_error_mm: mm over all joints and frames, or None if the paper describes the experiment without a figure.
        success_20: share of frames with all joints within 20 mm, in [0, 1], or None if the text has none.
        source: the citation.
        where: table, section or page in the source.
        also: contradicting figures for the same experiment elsewhere in the paper.
    """

    name: str
    label: str = Field(min_length=1)
    mean_error_mm: float | None = Field(None, gt=0)
    success_20: float | None = Field(None, ge=0, le=1)
    source: str = Field(min_length=1)
    where: str = Field(min_length=1)
    also: tuple[OtherFigure, ...] = ()


class PublishedMethod(_Record):
    """One method's published result on one dataset's test set.

    Attributes:
        name: name of the method.
        year: year of publication.
        labels: the labels of real frames in its training: "all", "none" or a number.
        dataset: name of the text protocol.
        mean_error_mm: mm over all joints and frames, or None if the paper only has a curve.
        success: share of frames with all joints within each number of mm, if known.
        origin: "printed" in a paper; "recomputed" by us from the public prediction file; or "copied" from the table of
            a collection of such files.
        source: the citation.
        where: the origin of the figure within the source.
    """

    name: str = Field(min_length=1)
    year: int = Field(ge=2000, le=2100)
    labels: str = Field(pattern="^(all|none|[0-9]+)$")
    dataset: str
    mean_error_mm: float | None = Field(None, gt=0)
    success: dict[int, float] = Field(default_factory=dict)
    origin: Literal["printed", "recomputed", "copied"] = "printed"
    source: str = Field(min_length=1)
    where: str = Field(min_length=1)


def rows() -> dict[str, PublishedRow]:
    """The paper's experiments by name, in the order of the tables."""
    return dict(_read()[0])


def comparable(document: Mapping[str, Any]) -> bool:
    """Whether an entry of `summary.json` is comparable with the paper's figures.

    The paper's figures use 14 joints on all real test frames of NYU, without exception.
    """
    return (
        document.get("data") == NYU.name
        and document.get("split") == "test"
        and not document.get("simulated")
        and document.get("joints") == len(NYU.joints)
        and document.get("frames") == NYU.frames
    )


def methods(dataset: str) -> list[PublishedMethod]:
    """Return published results on a dataset ("nyu", "icvl", "msra"), the most accurate first, those without error last.

    Raises:
        InputError: no results exist for that dataset.
    """
    found = [method for method in _read()[1] if method.dataset == dataset]
    if not found:
        known = dict.fromkeys(method.dataset for method in _read()[1])
        raise InputError(f"No published figures are known for {dataset!r}. {nearest(dataset, known)}")
    return sorted(found, key=lambda method: (method.mean_error_mm or math.inf, method.name))


@cache
def _read() -> tuple[Mapping[str, PublishedRow], tuple[PublishedMethod, ...]]:
    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    document = YAML(typ="safe").load(text)
    sources = document["sources"]
    by_name = {
        name: PublishedRow(name=name, **entry | {"source": sources[entry["source"]]})
        for name, entry in document["rows"].items()
    }
    every = tuple(PublishedMethod(**entry | {"source": sources[entry["source"]]}) for entry in document["methods"])
    return MappingProxyType(by_name), every
