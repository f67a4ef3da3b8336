"""Recipes, runs and their evaluation as functions: what `hpf run` and `hpf eval` do, without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpf_core import recipe as recipes
from hpf_core.comparison.compare import compare
from hpf_core.engine.run import Run
from hpf_core.errors import InputError
from hpf_core.evaluation.protocols import text_protocol
from hpf_core.interfaces import Observer
from hpf_core.plugins import PluginHost
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved
from hpf_core.report import run_and_report
from hpf_core.runs.documents import read_summary


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done.

    Attributes:
        folder: where it lies.
        summary: what its summary.json holds.
    """

    folder: Path
    summary: dict[str, Any]


def load_recipe(
    path: Path | str,
    *,
    sets: Sequence[str] = (),
    with_terms: Sequence[str] = (),
    without_terms: Sequence[str] = (),
    stages: Sequence[str] | None = None,
    seed: int | None = None,
    host: PluginHost | None = None,
) -> Resolved:
    """Read a recipe, with changes as `hpf run` takes them; nothing is built or started.

    Args:
        path: the recipe, a YAML file.
        sets: changes such as "terms.m2d.weight=0.5", values in YAML.
        with_terms, without_terms: terms to add, or to switch off, in every stage.
        stages: only these stages; None for all.
        seed: another seed than the recipe's.
        host: where plugins are found; by default all that are installed.

    Raises:
        RecipeError: the recipe or a change is wrong; the message says where.
    """
    return recipes.load(
        path,
        sets=sets,
        with_terms=with_terms,
        without_terms=without_terms,
        stages=stages,
        seed=seed,
        host=host or PluginHost.load(),
    )


def run(
    recipe: Resolved | Path | str,
    out: Path | str | None = None,
    *,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> FinishedRun:
    """Run all stages of a recipe, evaluate, and write figures and the report.

    Args:
        recipe: from `load_recipe`, or a recipe's file.
        out: the run's folder; None for runs/NAME-1, -2, ..., or the last of them with `resume`.
        resume: continue the run in that folder.
        observers: observers beside those of the recipe.
        progress: called during work outside of the stages (caches, priors, evaluation), and after each step.
        cache: folder of what is made once; by default the user's.

    Raises:
        InputError: something that was given is wrong; nothing was started.
        RunError: the run failed; its last checkpoint can be resumed.
    """
    resolved = recipe if isinstance(recipe, Resolved) else load_recipe(recipe)
    made = Run(
        resolved, None if out is None else Path(out), resume=resume, observers=observers, progress=progress, cache=cache
    )
    summary = run_and_report(made)
    assert made.out is not None, "a run that ended has a folder"
    return FinishedRun(made.out, summary)


def evaluate(
    predictions: Path | str | Sequence[Path | str],
    labels: Path | str | None = None,
    *,
    protocol: str = "nyu",
    after: str | None = None,
) -> list[dict[str, Any]]:
    """What runs measured, or runs and files of predictions against a file of labels.

    Args:
        predictions: folders of runs and, with `labels`, files in the community's formats.
        labels: a file of labels in the protocol's format.
        protocol: "nyu", "icvl" or "msra15".
        after: of runs, only this stage.

    Returns:
        One document for each evaluation, in mm, as `hpf eval --json` lists them.

    Raises:
        InputError: a file is missing, damaged or of other frames; or files are given without labels.
    """
    given = [predictions] if isinstance(predictions, str | Path) else predictions
    paths = [Path(path) for path in given]
    if labels is not None:
        return compare(paths, Path(labels), text_protocol(protocol), after).documents
    files = [path for path in paths if not path.is_dir()]
    if files:
        raise InputError(f"{files[0]} is not the folder of a run. Files of predictions need `labels`.")
    documents = [{**document, "run": str(path)} for path in paths for document in read_summary(path)["evaluation"]]
    return [document for document in documents if after in (None, document["after"])]
