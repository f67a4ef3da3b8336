"""Finds the plugins that a recipe uses and checks their options by their own models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpf_core.documents.errors import Problem, problem_at
from hpf_core.documents.tree import Node, Path_
from hpf_core.errors import PluginError
from hpf_core.interfaces import Config, Kind
from hpf_core.recipe.models import Recipe, TermUse, Use
from hpf_core.recipe.resolved import Host, Offer, Part, TermPart
from hpf_core.recipe.validation import validate

TERM_KINDS: tuple[Kind, ...] = ("data_term", "prior")


@dataclass(frozen=True)
class Parts:
    """The plugins of a recipe but for its terms. One that it should have and that is None is among the problems."""

    hand: Part | None
    renderer: Part | None
    backbone: Part | None
    real: Part | None
    synthetic: Part | None
    transforms: tuple[Part, ...]
    observers: tuple[Part, ...]
    refiners: tuple[Part, ...]

    def all(self) -> list[Part]:
        """Those that are there."""
        single = (self.hand, self.renderer, self.backbone, self.real, self.synthetic)
        return [*(part for part in single if part is not None), *self.transforms, *self.observers, *self.refiners]


def find_parts(recipe: Recipe, tree: Node, host: Host, problems: list[Problem]) -> Parts:
    """The plugins that a recipe uses but for its terms; `problems` grows by what is wrong."""

    def one(kind: Kind, use: Use | None, *path: str) -> Part | None:
        return None if use is None else resolve_use(kind, use, tree, path, host, problems)

    def several(kind: Kind, uses: Sequence[Use], *path: str) -> tuple[Part, ...]:
        return resolve_uses(kind, uses, tree, path, host, problems)

    return Parts(
        hand=one("hand", recipe.hand, "hand"),
        renderer=one("renderer", recipe.renderer, "renderer"),
        backbone=one("backbone", recipe.backbone, "backbone"),
        real=one("dataset", recipe.data.real, "data", "real"),
        synthetic=one("dataset", recipe.data.synthetic, "data", "synthetic"),
        transforms=several("transform", recipe.transforms, "transforms"),
        observers=several("observer", recipe.observers, "observers"),
        refiners=several("refiner", recipe.evaluate.refiners, "evaluate", "refiners") if recipe.evaluate else (),
    )


def resolve_use(kind: Kind, use: Use, tree: Node, path: Path_, host: Host, problems: list[Problem]) -> Part | None:
    """The plugin at a path of the recipe with its options, or None and the problems."""
    node = node_at(tree, path)
    found = _get(kind, use.use, node.entries.get("use", node), path, host, problems)
    if found is None:
        return None
    config = _config(found, use.options, node, path, problems)
    return None if config is None else Part(found.spec.name, found.spec, config, found.package, found.version)


def resolve_uses(
    kind: Kind, uses: Sequence[Use], tree: Node, path: Path_, host: Host, problems: list[Problem]
) -> tuple[Part, ...]:
    """The plugins of a list, in its order; those with problems are left out."""
    parts = (resolve_use(kind, use, tree, (*path, i), host, problems) for i, use in enumerate(uses))
    return tuple(part for part in parts if part is not None)


def resolve_term(
    name: str, use: TermUse, node: Node, path: Path_, host: Host, problems: list[Problem]
) -> TermPart | None:
    """A term with its options and weight, or None and the problems.

    Args:
        name: what the recipe calls it; the plugin's name unless `use` has one.
        use: its entry under `terms`, or an empty one.
        node: where it is written: its entry, or the item of the first stage's list that names it.
        path: where that stands.
        host: where plugins are found.
        problems: grows by what is wrong.
    """
    found = _get(TERM_KINDS, use.use or name, node.entries.get("use", node), path, host, problems)
    if found is None:
        return None
    config = _config(found, use.options, node, path, problems, extra=("use", "weight"))
    if config is None:
        return None
    weight = found.spec.default_weight if use.weight is None else use.weight
    return TermPart(name, found.spec, config, float(weight), found.package, found.version)


def is_term(name: str, host: Host) -> bool:
    """Whether there is such a term that works."""
    try:
        host.get(TERM_KINDS, name)
    except PluginError:
        return False
    return True


def node_at(tree: Node, path: Path_) -> Node:
    """The node at a path, or the deepest on the way where a default stands for the rest."""
    for token in path:
        child = tree.child(token)
        if child is None:
            break
        tree = child
    return tree


def _get(
    kind: Kind | tuple[Kind, ...], name: str, node: Node, path: Path_, host: Host, problems: list[Problem]
) -> Offer | None:
    try:
        return host.get(kind, name)
    except PluginError as error:
        problems.append(problem_at(node, path, str(error)))
        return None


def _config(
    found: Offer,
    options: Mapping[str, Any],
    node: Node,
    path: Path_,
    problems: list[Problem],
    extra: tuple[str, ...] = ("use",),
) -> Config | None:
    spec = found.spec
    owner = f"{spec.name} (plugin of {found.package} {found.version})"
    return validate(spec.config, {**found.preset, **options}, node, path, problems, owner, "Options", extra)
