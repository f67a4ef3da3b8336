"""Clauses for observers."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save

from hpf_core.errors import nearest
from hpf_core.interfaces import Observer
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import Broken, need
from hpf_core.testing.subject import Subject

EVENTS = tuple(name for name, value in vars(Observer).items() if inspect.isfunction(value) and not name.startswith("_"))
"""The events that an observer receives."""


@clause("events", "it handles at least one event, with the right name and arguments", "observer")
def events(subject: Subject) -> None:
    observer = subject.built.plugin
    own = {n for n in dir(observer) if not n.startswith("_") and callable(getattr(observer, n))} - set(dir(Observer))
    heard = [name for name in EVENTS if getattr(type(observer), name) is not getattr(Observer, name)]
    words = " ".join(f"{name!r} is no event. {nearest(name, EVENTS)}" for name in sorted(own))
    need(heard, f"it overrides no event of Observer. {words}".strip())
    for name in heard:
        wanted = [p for p in inspect.signature(getattr(Observer, name)).parameters if p != "self"]
        try:
            inspect.signature(getattr(observer, name)).bind(*wanted)
        except TypeError as error:
            raise Broken(f"{name}() must take ({', '.join(wanted)}): {error}") from error


@clause(
    "a whole run",
    "it observes a complete and a failed run, raises nothing, and changes neither its arguments nor the run's files",
    "observer",
)
def whole_run(subject: Subject) -> None:
    for fails in (False, True):
        folder = subject.folder / ("failed-run" if fails else "run")
        folder.mkdir(parents=True, exist_ok=True)
        observer = subject.fresh().plugin
        try:
            told = story(folder, fails)
            written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for name, details in told:
                kept = copy.deepcopy([d for d in details if isinstance(d, dict)])
                with subject.settings.kept():
                    _tell(observer, name, details)
                need(not subject.settings.changed, f"{name}() changes {', '.join(subject.settings.changed)}")
                need(
                    kept == [d for d in details if isinstance(d, dict)],
                    f"{name}() changes the document that it is given",
                )
                for path, content in written.items():
                    need(
                        path.is_file() and path.read_bytes() == content,
                        f"{name}() removes or changes {path.relative_to(folder)} of the run's folder",
                    )
        finally:
            for path in folder.glob("*.safetensors"):
                path.unlink()


def story(folder: Path, fails: bool) -> list[tuple[str, tuple[Any, ...]]]:
    """The events of a small run, in order, with arguments; the files that they name exist."""
    stage = {"draw": {"real": 2, "synthetic": 1}, "steps": 2, "terms": ["labels", "surface"], "control_of": None}
    recipe = {"name": "small", "seed": 0, "stages": {"fit": stage}, "log": {"every": 1}}
    picture = folder / "figures" / "steps" / "fit-0000002.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (200, 100, 50)).save(picture)
    first, second = (
        _row(1) | {"gradient": {"labels": None, "surface": 0.3}, "peak": 0.02},
        _row(2) | {"unseen_mm": 14.0},
    )
    rows = [first] if fails else [first, second]
    _write(folder / "recipe.yaml", json.dumps(recipe))  # JSON is valid YAML
    _write(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    begun: list[tuple[str, tuple[Any, ...]]] = [
        ("run_started", (folder, recipe)),
        ("stage_started", ("fit", 2, 0)),
        ("step_done", ("fit", 1, first)),
    ]
    if fails:
        return [*begun, ("run_failed", (folder, RuntimeError("the loss isn't finite")))]
    evaluated = {
        "after": "fit",
        "data": "real",
        "simulated": True,
        "split": "test",
        "centre": "mass",
        "frames": 4,
        "joints": 14,
        "mean_error_mm": 12.0,
        "median_error_mm": 11.0,
        "fingertip_error_mm": None,
        "success": {"20": 0.25, "30": 0.5, "40": 1.0},
    }
    summary = {"recipe": "small", "seed": 0, "stages": [], "evaluation": [evaluated]}
    checkpoint, weights = folder / "checkpoints" / "fit" / "00000002.safetensors", folder / "stages" / "fit.safetensors"
    for path in (checkpoint, weights):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(save({"weight": torch.zeros(1)}))
    _write(folder / "evaluation" / "fit.json", json.dumps(evaluated))
    _write(folder / "summary.json", json.dumps(summary))
    return [
        *begun,
        ("step_done", ("fit", 2, second)),
        ("picture_drawn", ("fit", 2, picture)),
        ("checkpoint_written", ("fit", 2, checkpoint)),
        ("stage_ended", ("fit", 2, weights)),
        ("evaluation_started", ("fit",)),
        ("evaluated", ("fit", evaluated)),
        ("run_ended", (folder, summary)),
    ]


def _row(step: int) -> dict[str, Any]:
    """A step's metrics; the term `surface` counts only in the first step."""
    raw = {"labels": 2.0, "surface": 15.0} if step == 1 else {"labels": 1.5}
    weighted = {name: value * {"labels": 1.0, "surface": 0.1}[name] for name, value in raw.items()}
    rates = {"gradient_norm": 40.0, "lr": 1e-4, "images_per_second": 100.0, "images": 3 * step}
    return {"stage": "fit", "step": step, "loss": sum(weighted.values()), "raw": raw, "weighted": weighted, **rates}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")


def _tell(observer: Observer, name: str, details: tuple[Any, ...]) -> None:
    try:
        getattr(observer, name)(*details)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Broken(f"{name}() raises {type(error).__name__}: {error}") from error


CLAUSES = (events, whole_run)
