"""Which terms of a recipe are on, which are off, and what each one is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hpf_core.documents.errors import Problem, fail, problem_at
from hpf_core.documents.tree import Node, Path_, canonical
from hpf_core.errors import nearest
from hpf_core.recipe.files import constant
from hpf_core.recipe.models import Recipe, TermUse
from hpf_core.recipe.overrides import term_names
from hpf_core.recipe.parts import is_term, node_at, resolve_term
from hpf_core.recipe.resolved import Host, TermPart
from hpf_core.recipe.stages import Selection


@dataclass(frozen=True)
class TermTable:
    """The terms of a recipe by name.

    Attributes:
        on: those that are on and without problems.
        off: the names of those that are switched off, by the recipe or by `--without`. Their plugins are not even
            looked for: a term that is broken can be switched off.
        uses: every term's entry.
    """

    on: Mapping[str, TermPart]
    off: frozenset[str]
    uses: Mapping[str, TermUse]

    @staticmethod
    def of(tree: Node, recipe: Recipe, selection: Selection, host: Host, problems: list[Problem]) -> TermTable:
        """The terms of a checked recipe.

        Args:
            tree: where everything is written.
            recipe: the checked recipe.
            selection: what `--with` and `--without` ask for.
            host: where plugins are found.
            problems: grows by what is wrong.

        Raises:
            InvalidRecipe: `--without` names what is no term of this recipe.
        """
        names = term_names(tree)
        for name in selection.without_terms:
            if name not in names:
                fail(f"--without {name}: the recipe has no such term", hint=nearest(name, names))
        uses = {name: recipe.terms.get(name, TermUse()) for name in names}
        for name in selection.with_terms:
            use = uses.get(name, TermUse())
            uses[name] = use.model_copy(update={"weight": None}) if use.off else use
        off = {name for name, use in uses.items() if use.off or name in selection.without_terms}
        places = _places(recipe)
        on: dict[str, TermPart] = {}
        for name, use in uses.items():
            path: Path_ = ("terms", name) if name in recipe.terms else places.get(name, ())
            node = node_at(tree, path) if path else constant(name, f"--with {name}")
            if name not in off:
                part = resolve_term(name, use, node, path, host, problems)
                if part is not None:
                    on[name] = part
            elif name not in places and not is_term(use.use or name, host):
                # Nothing says that this is a term at all: more likely it is misspelt, and the one meant is still on.
                message = f"{use.use or name!r} is switched off, and there is no such term"
                problems.append(problem_at(node, path, message, nearest(name, places), key=True))
        return TermTable(on, frozenset(off), uses)

    def switched_off(self, host: Host) -> dict[str, Any]:
        """What a saved recipe says of the terms that are off; nothing of those whose plugin cannot be found."""
        said: dict[str, Any] = {}
        for name in sorted(self.off):
            plugin = self.uses[name].use
            if is_term(plugin or name, host):
                said[name] = "off" if plugin is None else {"use": plugin, "weight": 0.0}
        return said

    def idle(self, recipe: Recipe, resting: Collection[str] = ()) -> list[str]:
        """A note for each term that has options and is in no stage's list, nor `resting` in one that is off."""
        places = _places(recipe)
        return [
            f"terms.{name}: is in no stage's list and does nothing"
            for name in recipe.terms
            if name in self.on and name not in places and name not in resting
        ]


def _places(recipe: Recipe) -> dict[str, Path_]:
    """Where each term first stands in a stage's list."""
    places: dict[str, Path_] = {}
    for stage_name, stage in recipe.stages.items():
        for index, term in enumerate(stage.terms):
            places.setdefault(canonical(term), ("stages", stage_name, "terms", index))
    return places
