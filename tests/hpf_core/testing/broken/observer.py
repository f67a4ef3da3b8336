"""Observers that break the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from broken.faults import Faults

OBSERVER = Faults("observer", lambda plugin, config, build: plugin(config.file))
Mine = OBSERVER.module.Mine
breaks = OBSERVER.breaks


@breaks("events", "must take")
class TakesTooLittle(Mine):
    def stage_started(self, stage: str) -> None:
        pass


@breaks("a whole run", "KeyError")
class ReadsWhatIsNotThere(Mine):
    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        result["mean"]


@breaks("a whole run", "changes the document")
class EmptiesTheDocument(Mine):
    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        result.clear()


@breaks("a whole run", "SystemExit: 3")
class EndsTheProcess(Mine):
    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        raise SystemExit(3)


@breaks("a whole run", "evaluated() changes whether gradients are made")
class SwitchesGradientsOff(Mine):
    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        torch.set_grad_enabled(False)


@breaks("a whole run", "removes or changes summary.json")
class RemovesAFile(Mine):
    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        self.path.with_name("summary.json").unlink()
