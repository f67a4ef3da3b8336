"""A plugin and the parts that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from hpf_core.interfaces import HandModel, Kind, PluginSpec, Renderer


@dataclass(frozen=True)
class Built:
    """A plugin and the parts that it uses; for a hand or a renderer, `plugin` is one of them."""

    spec: PluginSpec
    hand: HandModel
    renderer: Renderer
    plugin: Any

    @property
    def kind(self) -> Kind:
        """The plugin's kind."""
        return self.spec.kind

    @property
    def needs(self) -> frozenset[str]:
        """The required inputs of a term: by its specification, and with its present options."""
        needs: frozenset[str] = self.spec.needs | self.plugin.needs
        return needs

    def to(self, device: str) -> Built:
        """Move all tensors to another device."""
        for part in (self.hand, self.renderer, self.plugin):
            if isinstance(part, nn.Module):
                part.to(device)
        return self
