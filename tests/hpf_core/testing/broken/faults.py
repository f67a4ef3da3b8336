"""The sound plugin of `hpf plugins new` for a kind, and the faulty ones that derive from it."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hpf_core.interfaces import Build, Config, Kind, PluginSpec
from hpf_core.plugins.scaffold import new_package

Factory = Callable[[Any, Build], Any]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A plugin with one fault, the clause that finds the fault, and parts of the message, of which one appears."""

    name: str
    spec: PluginSpec
    clause: str
    says: tuple[str, ...]


class Faults:
    """The faults of one kind, in the order of their definitions.

    Args:
        kind: the kind.
        build: builds a class that derives from the sound plugin's, as the sound plugin's factory does.

    Attributes:
        sound: the specification that `hpf plugins new` writes for the kind.
        module: the module with it; `module.Mine` is the plugin's class.
        rows: the faults.
    """

    def __init__(self, kind: Kind, build: Callable[[type, Any, Build], Any]) -> None:
        self.kind, self._build = kind, build
        self.module = _scaffold(kind)
        self.sound: PluginSpec = self.module.SPEC
        self.rows: list[Fault] = []

    def spec(self, plugin: type, **fields: Any) -> PluginSpec:
        """The sound specification with another class, and with other fields."""
        return dataclasses.replace(
            self.sound, factory=lambda config, build: self._build(plugin, config, build), **fields
        )

    def breaks(self, clause: str, *says: str, **fields: Any) -> Callable[[type], type]:
        """Mark a class that breaks a clause; `fields` change its specification."""

        def add(plugin: type) -> type:
            self.rows.append(Fault(plugin.__name__, self.spec(plugin, **fields), clause, says))
            return plugin

        return add

    def breaks_when_built(self, clause: str, *says: str) -> Callable[[Factory], Factory]:
        """Mark a factory that breaks a clause."""

        def add(factory: Factory) -> Factory:
            self.rows.append(Fault(factory.__name__, dataclasses.replace(self.sound, factory=factory), clause, says))
            return factory

        return add

    def breaks_with_options(self, clause: str, *says: str) -> Callable[[type[Config]], type[Config]]:
        """Mark options that break a clause."""

        def add(config: type[Config]) -> type[Config]:
            self.rows.append(Fault(config.__name__, dataclasses.replace(self.sound, config=config), clause, says))
            return config

        return add

    def breaks_with(self, clause: str, *says: str, **fields: Any) -> None:
        """A specification that breaks a clause: the sound one with other fields."""
        spec = dataclasses.replace(self.sound, **fields)
        self.rows.append(Fault(f"{', '.join(fields)} of the specification", spec, clause, says))


def _scaffold(kind: Kind) -> ModuleType:
    """The module that `hpf plugins new` writes for a kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = new_package(kind, "mine", Path(folder))[0]
        module = ModuleType(f"sound_{kind}")
        sys.modules[module.__name__] = module
        exec(compile(path.read_text(encoding="utf-8"), f"sound_{kind}.py", "exec"), module.__dict__)
    return module
