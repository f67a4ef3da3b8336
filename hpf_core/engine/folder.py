"""A run's folder: what lies where, and how it is written."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import hpf_core
from hpf_core.cache import write_atomic
from hpf_core.errors import InputError, RunError
from hpf_core.recipe import Part, Resolved, TermPart


class RunFolder:
    """Paths in a run's folder, and atomic writes to them.

    recipe.yaml (resolved, can be run again), run.json (versions, machine, command-line changes), metrics.jsonl,
    checkpoints/STAGE/, stages/STAGE.safetensors, evaluation/STAGE.json, figures/, weights.safetensors, summary.json.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "recipe.yaml"
        self.about = root / "run.json"
        self.metrics = root / "metrics.jsonl"
        self.figures = root / "figures"
        self.weights = root / "weights.safetensors"
        self.summary = root / "summary.json"

    def stage_weights(self, stage: str) -> Path:
        """Weights at the end of a stage; the stage is done when this file stands."""
        return self.root / "stages" / f"{stage}.safetensors"

    def initial_weights(self) -> Path:
        """Weights before the first stage."""
        return self.stage_weights("init")

    def evaluation(self, stage: str) -> Path:
        """Result of the evaluation after a stage."""
        return self.root / "evaluation" / f"{stage}.json"

    def predictions(self, stage: str) -> Path:
        """Joints that were predicted after a stage."""
        return self.root / "evaluation" / f"{stage}.safetensors"

    def checkpoints(self, stage: str) -> list[Path]:
        """A stage's checkpoints, oldest first."""
        return sorted((self.root / "checkpoints" / stage).glob("*.safetensors"))

    def checkpoint(self, stage: str, step: int) -> Path:
        """The checkpoint after `step` steps of a stage."""
        return self.root / "checkpoints" / stage / f"{step:08d}.safetensors"

    def begin(self, resolved: Resolved, resume: bool) -> None:
        """Make the folder, or check that it is this recipe's where the run resumes.

        Raises:
            InputError: the folder isn't empty and `resume` is off, can't be written, or holds another recipe's run.
        """
        text = resolved.to_yaml()
        if resume:
            if not self.recipe.is_file():
                raise InputError(f"{self.root} holds no run to resume (no recipe.yaml in it)")
            if _comparable(self.recipe.read_text(encoding="utf-8")) != _comparable(text):
                raise InputError(
                    f"{self.root} holds a run of another recipe than the one that is to be resumed; compare "
                    f"{self.recipe} with `hpf recipe show` of yours, or give another --out"
                )
            return
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root} is a file; --out needs a folder")
        if self.root.exists() and any(self.root.iterdir()):
            hint = "add --resume to continue the run in it, or " if self.recipe.is_file() else ""
            raise InputError(f"{self.root} isn't empty: {hint}give another --out")
        try:
            write_atomic(self.recipe, lambda p: _write(p, text))
        except RunError as error:
            raise InputError(str(error)) from error
        self.write_json(self.about, _about(resolved))

    def write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        """One JSON document, whole or not at all."""
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_atomic(path, lambda p: _write(p, text))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """One line more in metrics.jsonl."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunError(f"Can't write {self.metrics}: {error.strerror or error}.") from error

    def cut_metrics(self, stage: str, step: int) -> None:
        """Forget what was logged after a checkpoint that the run resumes from."""
        rows = self.read_metrics()
        order = list(dict.fromkeys(r["stage"] for r in rows))
        later = set(order[order.index(stage) + 1 :]) if stage in order else set()
        kept = [r for r in rows if r["stage"] not in later and (r["stage"] != stage or r["step"] <= step)]
        if len(kept) != len(rows):
            write_atomic(self.metrics, lambda p: _write(p, "".join(json.dumps(r) + "\n" for r in kept)))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows; a last line that a kill cut off is left out."""
        rows = []
        if self.metrics.is_file():
            for line in self.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _comparable(yaml_text: str) -> dict[str, Any]:
    """A resolved recipe without what may change when a run resumes: how often to log, and the machine."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(yaml_text)
    return {k: v for k, v in document.items() if k not in ("log", "runtime", "observers")}


def _about(resolved: Resolved) -> dict[str, Any]:
    parts: list[Part | TermPart | None] = [resolved.hand, resolved.renderer, resolved.backbone]
    parts += [resolved.real, resolved.synthetic, *resolved.transforms, *resolved.refiners, *resolved.observers]
    parts += [term for stage in resolved.stages for term in stage.terms]
    used = {f"{p.spec.kind}:{p.spec.name}": f"{p.package} {p.version}" for p in parts if p is not None}
    return {
        "hpf": hpf_core.__version__,
        "seed": resolved.recipe.seed,
        "changes": list(resolved.changes),
        "plugins": used,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "pluggy", "pydantic", "safetensors")},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "threads": torch.get_num_threads()},
        "command": sys.argv[1:],
    }
