"""A plugin for newer interfaces, and an older one."""

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
    yield spec("minor", interface=(2, 99))
    yield spec("major", interface=(3, 0))
    yield spec("older", interface=(0, 9))
    yield spec("odd", interface="1.0")
