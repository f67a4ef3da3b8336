"""The hand model of a command that has no recipe. Heavy imports belong inside the function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpf_core.interfaces import HandModel


def build_hand(name: str | None = None, blocked: Sequence[str] = ()) -> HandModel:
    """The hand model of this name at its defaults; by default the one of recipes that name none.

    Raises:
        PluginError: there is no such hand model, or it is broken.
    """
    from hpf_core.files.cache import cache_folder
    from hpf_core.grid import Grid
    from hpf_core.interfaces import Build, HandModel
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.building import build_plugin

    host = PluginHost.load(blocked=blocked)
    found = host.get("hand", name) if name else host.default("hand")
    options = found.spec.config(**found.preset)
    return build_plugin(found.spec, options, Build(Grid(), 0, cache_folder()), HandModel)
