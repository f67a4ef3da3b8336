"""Reads a run's folder, finished or not. Reading is lenient, because results of a killed run are useful too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from hpf_core.errors import DataError, InputError
from hpf_core.inference import shown_frames
from hpf_core.runs import checkpoint as files
from hpf_core.runs.documents import About, EvaluationDocument, Summary, read_json, read_recipe
from hpf_core.runs.folder import INIT, RunFolder
from hpf_core.runs.lineage import Lineage
from hpf_core.runs.predictions import read_joints


@dataclass(frozen=True)
class StageAbout:
    """A stage of the recipe; seconds and rate are None until the stage is done."""

    name: str
    steps: int | None
    control_of: str | None
    seconds: float | None
    images_per_second: float | None


@dataclass(frozen=True)
class Material:
    """The data of a report.

    Attributes:
        root: the run's folder.
        name: name of the recipe.
        recipe: text of the resolved recipe.
        about: run.json, empty if missing.
        stages: in the recipe's order.
        metrics: rows of metrics.jsonl.
        evaluations: by stage, in the order of evaluation, as in `summary.json`.
        errors: by stage, (F, K) mm, of the evaluations with readable predictions.
        frames: frames from best to worst (`hpf_core.inference.shown_frames`), of the last stage that has any.
        synthetic: whether the evaluation uses synthetic samples.
        finished: whether the run is finished.
        unread: existing but unreadable files of the run: the report lacks their content.
    """

    root: Path
    name: str
    recipe: str
    about: Mapping[str, Any]
    stages: tuple[StageAbout, ...]
    metrics: list[dict[str, Any]]
    evaluations: dict[str, dict[str, Any]]
    errors: dict[str, np.ndarray]
    frames: files.Checkpoint | None
    synthetic: bool
    finished: bool
    unread: tuple[Path, ...]

    @property
    def lineage(self) -> Lineage:
        """The comparisons between stages."""
        return Lineage.of(self.evaluations, ((stage.name, stage.control_of) for stage in self.stages))

    @property
    def simulated(self) -> bool:
        """Whether the evaluated data are simulated."""
        return any(bool(e.get("simulated")) for e in self.evaluations.values())


def read_run(root: Path) -> Material:
    """Read a run's folder.

    Raises:
        InputError: the folder holds no run.
        DataError: the run's recipe is damaged.
    """
    folder = RunFolder(root)
    if not folder.recipe.is_file():
        raise InputError(
            f"{root} is not the folder of a run: it has no recipe.yaml. Give one such as runs/quickstart-1"
        )
    recipe = read_recipe(folder.recipe)
    text = folder.recipe.read_text(encoding="utf-8-sig")
    tensors = _Tensors()
    stages, evaluate = _stages(folder, recipe, tensors), recipe.get("evaluate")
    evaluations = {}
    for name in [INIT, *(stage.name for stage in stages)]:
        document = folder.evaluated(name)
        if document is not None:
            evaluations[name] = document
    chain = [INIT, *(s.name for s in stages if s.control_of is None and s.name in evaluations)]
    errors = {name: found for name in evaluations if (found := _errors(folder, name, tensors)) is not None}
    frames = _frames(folder, chain, tensors)
    return Material(
        root=root,
        name=str(recipe.get("name") or "run"),
        recipe=text,
        about=folder.read_about(),
        stages=stages,
        metrics=folder.read_metrics(),
        evaluations=evaluations,
        errors=errors,
        frames=frames,
        synthetic=isinstance(evaluate, dict) and evaluate.get("data") == "synthetic",
        finished=folder.ended() is not None,
        unread=(*_damaged_texts(folder, [INIT, *(stage.name for stage in stages)]), *tensors.damaged),
    )


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


class _Tensors:
    """Reads each tensor file of a run once.

    Attributes:
        damaged: existing files that are unreadable.
    """

    def __init__(self) -> None:
        self.damaged: list[Path] = []

    def read(self, path: Path) -> files.Checkpoint | None:
        """Return a file's content, or None if the file is missing or damaged."""
        if not path.is_file():
            return None
        try:
            return files.read(path)
        except DataError:
            self.damaged.append(path)
            return None


def _damaged_texts(folder: RunFolder, stages: list[str]) -> list[Path]:
    """The existing but damaged files among the documents and the metrics."""
    models: list[tuple[Path, type[BaseModel]]] = [(folder.about, About), (folder.summary, Summary)]
    models += [(folder.evaluation(name), EvaluationDocument) for name in stages]
    damaged = [path for path, model in models if path.exists() and not _fits(path, model)]
    # A kill may cut off the end of the metrics. Damage before the end has another cause.
    lines = (
        folder.metrics.read_text(encoding="utf-8", errors="replace").splitlines() if folder.metrics.is_file() else []
    )
    if len(lines) > len(folder.read_metrics()) + 1:
        damaged.append(folder.metrics)
    return damaged


def _stages(folder: RunFolder, recipe: Mapping[str, Any], tensors: _Tensors) -> tuple[StageAbout, ...]:
    plans = recipe.get("stages")
    found = []
    for name, plan in (plans if isinstance(plans, dict) else {}).items():
        plan = plan if isinstance(plan, dict) else {}
        weights = tensors.read(folder.stage_weights(str(name)))
        about: Mapping[str, object] = {} if weights is None else weights.about
        partner = plans.get(plan.get("control_of")) if isinstance(plans, dict) else None
        steps = plan.get("steps", partner.get("steps") if isinstance(partner, dict) else None)
        found.append(
            StageAbout(
                name=str(name),
                steps=steps if isinstance(steps, int) else None,
                control_of=str(plan["control_of"]) if plan.get("control_of") is not None else None,
                seconds=number(about.get("seconds")),
                images_per_second=number(about.get("images_per_second")),
            )
        )
    return tuple(found)


def _errors(folder: RunFolder, stage: str, tensors: _Tensors) -> np.ndarray | None:
    path = folder.predictions(stage)
    if not path.is_file():
        return None
    try:
        joints, truth = read_joints(path)
    except DataError:
        tensors.damaged.append(path)
        return None
    return (joints - truth).norm(dim=-1).double().numpy()


def _frames(folder: RunFolder, chain: list[str], tensors: _Tensors) -> files.Checkpoint | None:
    for path in (folder.frames(stage) for stage in reversed(chain)):
        kept = tensors.read(path)
        try:
            if kept is not None:
                shown_frames.check(kept, path)
                return kept
        except DataError:
            tensors.damaged.append(path)
    return None


def _fits(path: Path, model: type[BaseModel]) -> bool:
    try:
        read_json(path, model)
    except DataError:
        return False
    return True
