"""Which of a run's evaluated networks are compared: stages in sequence, and their controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lineage:
    """The evaluated networks of a run.

    Attributes:
        measured: the start ("init") and stages, in the order of evaluation.
        controls: for each control, evaluated or not, its stage.
    """

    measured: tuple[str, ...]
    controls: Mapping[str, str]

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Lineage:
        """The lineage from a run's summary.json."""
        stages = ((stage["name"], stage.get("control_of")) for stage in summary["stages"])
        return cls.of((entry["after"] for entry in summary["evaluation"]), stages)

    @classmethod
    def of(cls, measured: Iterable[str], stages: Iterable[tuple[str, str | None]]) -> Lineage:
        """The lineage of evaluated networks, from each stage's name and, for controls, its stage."""
        return cls(tuple(measured), {name: stage for name, stage in stages if stage is not None})

    @property
    def chain(self) -> list[str]:
        """The networks in sequence, from the start to the fitted network; controls aren't part of it."""
        return [name for name in self.measured if name not in self.controls]

    def before(self, stage: str) -> str | None:
        """The evaluated network of the chain from which a stage starts."""
        position = self.chain.index(stage)
        return self.chain[position - 1] if position else None

    def control(self, stage: str) -> str | None:
        """The evaluated control of a stage."""
        return next((c for c, of in self.controls.items() if of == stage and c in self.measured), None)
