"""Shared pretraining: variants with equal dependencies share one pretraining.

A variant's run copies the weights at its stages' ends and its lines of metrics, as if the run had trained them itself.
On the CPU the run equals the run of `hpf run` with the variant's recipe, bit for bit.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpf_core import recipe as recipes
from hpf_core.files.cache import bytes_key, content_key, write_atomic
from hpf_core.inference.build import initial_weights
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved
from hpf_core.runs.folder import INIT, RunFolder

_FREE = ("name", "log", "runtime", "observers")
"""Parts of a recipe that don't affect the weights."""


@dataclass(frozen=True)
class Shared:
    """A shared pretraining.

    Attributes:
        key: hash of all dependencies: equal dependencies give equal keys.
        resolved: recipe of the pretraining.
    """

    key: str
    resolved: Resolved

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the pretraining's stages, in order."""
        return tuple(plan.name for plan in self.resolved.stages)


def pretraining(resolved: Resolved, host: PluginHost) -> Shared | None:
    """Return the stages before the first stage with real frames or a control; None if no such stage exists.

    The pretraining depends on the seed, the hand, the renderer, the network, the grid, the synthetic dataset, the
    transforms, the stages with their terms, the initial weights, and the versions of the packages.
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
    if (weights := initial_weights(part)) is not None:
        content["init"] = bytes_key(weights.read_bytes())
    return Shared(content_key(content)[:16], part)


def is_done(folder: Path) -> bool:
    """Whether the pretraining in this folder is finished."""
    return RunFolder(folder).ended() is not None


def is_taken_over(shared: Shared, run: Path) -> bool:
    """Whether a run already contains this pretraining, copied or trained by itself."""
    return RunFolder(run).stage_weights(shared.stages[-1]).is_file()


def take_over(resolved: Resolved, shared: Shared, source: Path, run: Path) -> None:
    """Copy the pretraining into a new run, or into a run that has started before.

    Args:
        resolved: the run's recipe.
        shared: the run's pretraining.
        source: folder of the trained pretraining.
        run: the run's folder.

    Raises:
        InputError: the folder holds another run, or can't be written.
        RunError: a file can't be written.
    """
    folder, made = RunFolder(run), RunFolder(source)
    folder.check(resolved, resume=folder.recipe.is_file())
    folder.begin(resolved, starts=False)
    # Copy weights last, and the last stage's after all others: their presence marks the copy as complete.
    if made.metrics.is_file() and not folder.metrics.is_file():
        _copy(made.metrics, folder.metrics)
    for stage in (INIT, *shared.stages):
        _copy(made.stage_weights(stage), folder.stage_weights(stage))


def _copy(source: Path, target: Path) -> None:
    write_atomic(target, lambda path: _copied(source, path))


def _copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
