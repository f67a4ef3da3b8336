"""The pretraining that rows share: made once for all rows in which all that it depends on is the same.

A row's run takes it over as if it had made it itself: the weights at its stages' ends and its lines of metrics. On the
CPU the row is bit for bit the run that `hpf run` makes of the row's recipe.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpf_core import recipe as recipes
from hpf_core.files.cache import bytes_key, content_key, write_atomic
from hpf_core.inference.build import shipped_weights
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved
from hpf_core.runs.folder import INIT, RunFolder

_FREE = ("name", "log", "runtime", "observers")
"""What of a recipe its weights don't depend on."""


@dataclass(frozen=True)
class Shared:
    """A pretraining.

    Attributes:
        key: the same for all that is the same in all that it depends on.
        resolved: its recipe.
    """

    key: str
    resolved: Resolved

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, in order."""
        return tuple(plan.name for plan in self.resolved.stages)


def pretraining(resolved: Resolved, host: PluginHost) -> Shared | None:
    """What a recipe does before it first draws a real frame or trains a control; None where that is nothing.

    It depends on the seed, the hand, the renderer, the network, the grid, the synthetic dataset, the transforms, the
    stages with their terms, the weights to start from, and the versions of the packages.
    """
    plans = []
    for plan in resolved.stages:
        if plan.draw_real or plan.control_of is not None:
            break
        plans.append(plan)
    if not plans:
        return None
    document = resolved.document()
    used = {term.name for plan in plans for term in plan.terms}
    document |= {
        "name": "pretraining",
        "data": {"real": None, "synthetic": document["data"]["synthetic"]},
        "observers": [],
        "stages": {plan.name: document["stages"][plan.name] for plan in plans},
        "terms": {name: term for name, term in document["terms"].items() if name in used},
        "evaluate": None,
    }
    part = recipes.from_document(document, "pretraining", host)
    content = {name: value for name, value in part.document().items() if name not in _FREE}
    if part.recipe.init is not None:
        weights = shipped_weights(part) if part.recipe.init == "shipped" else Path(part.recipe.init)
        content["init"] = bytes_key(weights.read_bytes())
    return Shared(content_key(content)[:16], part)


def is_done(folder: Path) -> bool:
    """Whether the pretraining in this folder has come to its end."""
    return RunFolder(folder).ended() is not None


def is_taken_over(shared: Shared, run: Path) -> bool:
    """Whether a run has this pretraining already, taken over or made by itself."""
    return RunFolder(run).stage_weights(shared.stages[-1]).is_file()


def take_over(resolved: Resolved, shared: Shared, source: Path, run: Path) -> None:
    """Begin a run with the pretraining done, or give it to one that was begun before.

    Args:
        resolved: the run's recipe.
        shared: its pretraining.
        source: the folder in which it was made.
        run: the run's folder.

    Raises:
        InputError: the folder holds another run, or can't be written.
        RunError: it can't be written.
    """
    folder, made = RunFolder(run), RunFolder(source)
    folder.check(resolved, resume=folder.recipe.is_file())
    folder.begin(resolved, starts=False)
    # The weights last, and the last stage's after all others: they say that it is done.
    if made.metrics.is_file() and not folder.metrics.is_file():
        _copy(made.metrics, folder.metrics)
    for stage in (INIT, *shared.stages):
        _copy(made.stage_weights(stage), folder.stage_weights(stage))


def _copy(source: Path, target: Path) -> None:
    write_atomic(target, lambda path: _copied(source, path))


def _copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
