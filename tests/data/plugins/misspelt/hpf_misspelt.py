"""A plugin with one hook that exists and one that does not."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Config, PluginSpec, Refiner


class NoConfig(Config):
    pass


class Identity(Refiner):
    def forward(self, points: Tensor) -> Tensor:
        return points


def spec(name: str, **changes: Any) -> PluginSpec:
    """A refiner that is right, but for the changes."""
    whole: dict[str, Any] = {
        "kind": "refiner",
        "config": NoConfig,
        "factory": lambda config, build: Identity(),
        "summary": "Gives points back as they are.",
        "source": "own work",
        "interface": (2, 0),
    }
    return PluginSpec(name=name, **(whole | changes))


@hookimpl
def hpf_refiners() -> Iterator[PluginSpec]:
    yield spec("left-out")


@hookimpl
def hpf_refinerz() -> Iterator[PluginSpec]:
    yield spec("never-seen")
