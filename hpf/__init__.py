"""HPF from Python: recipes, runs, evaluation, prediction and cameras. `hpf.plugin` is for authors of plugins.

    import hpf

    run = hpf.run(hpf.load_recipe("recipes/quickstart.yaml"))
    for result in hpf.evaluate(run.folder):
        print(result["after"], result["mean_error_mm"])

Each name is imported when it is first used, so that `import hpf` alone loads neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hpf_core import __version__

if TYPE_CHECKING:
    from hpf.runs import FinishedRun, evaluate, load_recipe, run
    from hpf_core.data.cameras import Camera, Rig
    from hpf_core.inference.hand_network import load_network
    from hpf_core.inference.hands import Hand
    from hpf_core.inference.predictor import HandPredictor
    from hpf_core.inference.tracking import HandTracker

__all__ = [
    "Camera",
    "FinishedRun",
    "Hand",
    "HandPredictor",
    "HandTracker",
    "Rig",
    "__version__",
    "evaluate",
    "load_network",
    "load_recipe",
    "run",
]

_MODULES = {
    "Camera": "hpf_core.data.cameras",
    "FinishedRun": "hpf.runs",
    "Hand": "hpf_core.inference.hands",
    "HandPredictor": "hpf_core.inference.predictor",
    "HandTracker": "hpf_core.inference.tracking",
    "Rig": "hpf_core.data.cameras",
    "evaluate": "hpf.runs",
    "load_network": "hpf_core.inference.hand_network",
    "load_recipe": "hpf.runs",
    "run": "hpf.runs",
}
"""The module of each name that is imported on first use."""


def __getattr__(name: str) -> Any:
    if name in ("plugin", "testing"):
        return importlib.import_module(f"hpf.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'hpf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
