"""Which of a run's measured networks is held against which: stages that feed each other, and their controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lineage:
    """The networks that a run measured.

    Attributes:
        measured: the start ("init") and stages, in the order of measuring.
        controls: by control, measured or not, the stage that it is the control of.
    """

    measured: tuple[str, ...]
    controls: Mapping[str, str]

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Lineage:
        """The lineage that a run's summary.json tells."""
        stages = ((stage["name"], stage.get("control_of")) for stage in summary["stages"])
        return cls.of((entry["after"] for entry in summary["evaluation"]), stages)

    @classmethod
    def of(cls, measured: Iterable[str], stages: Iterable[tuple[str, str | None]]) -> Lineage:
        """The lineage of measured networks, with each stage's name and what it is the control of."""
        return cls(tuple(measured), {name: stage for name, stage in stages if stage is not None})

    @property
    def chain(self) -> list[str]:
        """What feeds the next stage, from the start to the fitted network: a control feeds none."""
        return [name for name in self.measured if name not in self.controls]

    def before(self, stage: str) -> str | None:
        """The measured network of the chain that a stage of it began with."""
        position = self.chain.index(stage)
        return self.chain[position - 1] if position else None

    def control(self, stage: str) -> str | None:
        """The measured control of a stage."""
        return next((c for c, of in self.controls.items() if of == stage and c in self.measured), None)
