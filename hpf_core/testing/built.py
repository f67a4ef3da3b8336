"""A plugin and what it was built with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from hpf_core.interfaces import HandModel, Kind, PluginSpec, Renderer


@dataclass(frozen=True)
class Built:
    """A plugin and the parts that it was built with; of a hand or a renderer, `plugin` is one of them."""

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
        """What a term asks for: by its specification, and with the options that it was built with."""
        needs: frozenset[str] = self.spec.needs | self.plugin.needs
        return needs

    def to(self, device: str) -> Built:
        """All that holds tensors on another device."""
        for part in (self.hand, self.renderer, self.plugin):
            if isinstance(part, nn.Module):
                part.to(device)
        return self
