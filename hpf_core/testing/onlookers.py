"""Clauses for transforms and observers."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import torch

from hpf_core.errors import nearest
from hpf_core.interfaces import Observer
from hpf_core.testing import scene
from hpf_core.testing.clause import Broken, clause, need
from hpf_core.testing.subject import Subject

EVENTS = tuple(name for name, value in vars(Observer).items() if inspect.isfunction(value) and not name.startswith("_"))
"""What an observer is told of."""


@clause("applies to", "it says which images it changes, and leaves labelled points where they are", "transform")
def applies_to(subject: Subject) -> None:
    transform = subject.built.plugin
    images = transform.applies_to
    right = isinstance(images, frozenset) and images and images <= {"real", "synthetic"}
    need(right, f"applies_to is {images!r}: a frozenset of 'real', 'synthetic' or both")
    if "synthetic" not in images:
        return
    points = subject.inputs["points"]
    with torch.no_grad():
        _, back = transform(subject.inputs["depth"], scene.generator())
        gap = float((back(points) - points).abs().max())
    need(
        gap == 0, f"it moves points by {gap:.3g} mm, and applies to synthetic images, whose labels stay where they are"
    )


@clause("draws", "its draws follow the generator that it is given", "transform")
def draws(subject: Subject) -> None:
    depth = subject.inputs["depth"]
    with torch.no_grad():
        one, other = (subject.built.plugin(depth, scene.generator(3))[0] for _ in range(2))
    need(torch.equal(one, other), "the same generator gives other images")


@clause("events", "it watches at least one event, by its right name, and takes what a run tells it", "observer")
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
    "a whole run", "it sees a run through, also one that fails, without raising or changing what it is told", "observer"
)
def whole_run(subject: Subject) -> None:
    for fails in (False, True):
        folder = subject.folder / ("failed-run" if fails else "run")
        folder.mkdir(parents=True, exist_ok=True)
        observer = subject.fresh().plugin
        try:
            for name, details in story(folder, fails):
                kept = copy.deepcopy([d for d in details if isinstance(d, dict)])
                _tell(observer, name, details)
                need(
                    kept == [d for d in details if isinstance(d, dict)],
                    f"{name}() changes the document that it is given",
                )
        finally:
            for path in folder.glob("*.safetensors"):
                path.unlink()


def story(folder: Path, fails: bool) -> list[tuple[str, tuple[Any, ...]]]:
    """What an observer is told of a small run, in order."""
    metrics = {"loss": 3.5, "lr": 1e-4, "raw.m2d": 3.5, "weighted.m2d": 3.5, "images_per_second": 100.0, "images": 6}
    evaluated = {"after": "fit", "data": "real", "simulated": True, "split": "test", "mean_error_mm": 12.0, "frames": 4}
    checkpoint = folder / "checkpoints" / "fit" / "00000002.safetensors"
    begun: list[tuple[str, tuple[Any, ...]]] = [
        ("run_started", (folder, {"name": "small", "seed": 0, "stages": {"fit": {"steps": 2}}})),
        ("stage_started", ("fit", 2, 0)),
        ("step_done", ("fit", 1, {"stage": "fit", "step": 1, **metrics})),
    ]
    if fails:
        return [*begun, ("run_failed", (folder, RuntimeError("the loss isn't finite")))]
    return [
        *begun,
        ("step_done", ("fit", 2, {"stage": "fit", "step": 2, **metrics})),
        ("checkpoint_written", ("fit", 2, checkpoint)),
        ("evaluated", ("fit", evaluated)),
        ("run_ended", (folder, {"recipe": "small", "seed": 0, "stages": [], "evaluation": [evaluated]})),
    ]


def _tell(observer: Observer, name: str, details: tuple[Any, ...]) -> None:
    try:
        getattr(observer, name)(*details)
    except Exception as error:
        raise Broken(f"{name}() raises {type(error).__name__}: {error}") from error


CLAUSES = (applies_to, draws, events, whole_run)
