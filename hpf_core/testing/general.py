"""Clauses for every kind: specification, options, and independence of hidden state."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from hpf_core.hookspecs import HOOKS
from hpf_core.interfaces import KINDS, SyntheticDataset
from hpf_core.plugins import describe_options
from hpf_core.plugins.checks import spec_problem
from hpf_core.testing import scene
from hpf_core.testing.built import Built
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import Broken, need
from hpf_core.testing.subject import INTERFACES, Subject
from hpf_core.testing.trees import same


@clause(
    "specification", "the host accepts the specification: names, texts, aliases, needs and provides are valid", *KINDS
)
def specification(subject: Subject) -> None:
    hook = next(hook for hook, kind in HOOKS.items() if kind == subject.spec.kind)
    problem = spec_problem(subject.spec, subject.spec.kind, hook)
    need(problem is None, str(problem))


@clause(
    "options", "it refuses unknown options, each option has a description, and HPF can read a saved recipe back", *KINDS
)
def options(subject: Subject) -> None:
    config = subject.config
    model = subject.spec.config
    try:
        model.model_validate({**subject.options, "an_option_that_nobody_has": 1})
    except ValidationError as error:
        others = [e["msg"] for e in error.errors() if e["loc"] != ("an_option_that_nobody_has",)]
        need(not others, f"an unknown option causes errors about other options: {'; '.join(others)}")
    else:
        raise Broken(f"{model.__name__} accepts an unknown option: derive it from `hpf.plugin.Config`")
    for option in describe_options(model):
        need(option.meaning, f"option {option.name!r} has no description: write Field(..., description=...)")
    need(model.model_config.get("frozen"), f"{model.__name__} isn't frozen: options never change")
    saved = config.model_dump(mode="json", by_alias=True, round_trip=True)
    try:
        again = model.model_validate(saved)
    except ValidationError as error:
        raise Broken(f"a saved recipe's options {saved} are refused: {error.errors()[0]['msg']}") from error
    need(_same_options(again, config), f"its options change when they are saved and read again: {saved}")


@clause(
    "interface", "the factory builds an object of the kind's interface, with all abstract methods implemented", *KINDS
)
def interface(subject: Subject) -> None:
    expected = INTERFACES[subject.spec.kind]
    expected = expected if isinstance(expected, tuple) else (expected,)
    try:
        plugin = subject.built.plugin
    except TypeError as error:
        raise Broken(f"the factory failed: {error}") from error
    names = " or ".join(kind.__name__ for kind in expected)
    need(isinstance(plugin, expected), f"the factory built a {type(plugin).__name__}, not a {names}")


@clause(
    "settings",
    "it does not change global settings: gradient mode, default type, threads, working directory, signals",
    *KINDS,
)
def settings(subject: Subject) -> None:
    built = subject.fresh()
    inputs = None if subject.spec.kind in ("dataset", "observer") else subject.inputs
    with subject.settings.kept():
        subject.run(built, inputs)
    need(not subject.settings.changed, f"it changes {', '.join(dict.fromkeys(subject.settings.changed))}")


@clause(
    "determinism",
    "the same seed gives the same result, and it neither reads nor changes the global random state",
    *KINDS,
)
def determinism(subject: Subject) -> None:
    subject.built  # noqa: B018  what is cached on first use is there
    inputs = None if subject.spec.kind in ("dataset", "observer") else subject.inputs
    empty = Path(tempfile.mkdtemp(dir=subject.folder))

    def outcome(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  the global state is what is looked at
        random.seed(seed)
        before = _global_state()
        if seed == 2:  # in a cache of its own, after one of another seed: nothing but the seed may tell them apart
            subject.fresh(empty, seed=1)
        built = subject.fresh(empty if seed == 2 else None)
        found = subject.run(built, inputs)
        if isinstance(built.plugin, nn.Module):
            found |= {f"weights.{name}": value for name, value in built.plugin.state_dict().items()}
        found |= _drawn(subject, built)
        changed = [name for name, state in _global_state().items() if not state(before[name])]
        need(
            not changed, f"it draws from the global random state of {', '.join(changed)}: use the torch.Generator given"
        )
        return {name: value.detach().clone() for name, value in found.items()}

    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        differs = same(outcome(1), outcome(2), 0, 0)
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        random.setstate(kept[2])
    need(
        not differs,
        f"built twice with the same seed, also with a cache that another seed filled, {differs}",
    )


def _drawn(subject: Subject, built: Built) -> dict[str, Tensor]:
    """Draws with an explicit generator; the generator must determine them."""
    plugin: Any = built.plugin
    draw: Callable[[int], Tensor]
    if subject.spec.kind == "hand":
        draw = lambda seed: torch.cat(plugin.sample(3, scene.generator(seed)), dim=1)  # noqa: E731
    elif isinstance(plugin, SyntheticDataset):
        draw = lambda seed: plugin.sample(3, scene.generator(seed)).points  # noqa: E731
    else:
        return {}
    one, other, again = draw(1), draw(2), draw(1)
    need(torch.equal(one, again), "the same generator gives other samples")
    need(not torch.equal(one, other), "two generators give the same samples: the generator isn't used")
    return {"samples": one}


def _global_state() -> dict[str, Any]:
    """For each source of random numbers, a test whether its state equals the current one."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    class Held:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __call__(self, other: Any) -> bool:
            same_value = self.value == other.value
            return bool(same_value.all()) if isinstance(same_value, Tensor) else bool(same_value)

    return {"torch": Held(torch_state), "numpy": Held(numpy_state), "random": Held(python_state)}


def _same_options(one: BaseModel, other: BaseModel) -> bool:
    return one.model_dump(mode="json") == other.model_dump(mode="json")


CLAUSES = (specification, options, interface, settings, determinism)
