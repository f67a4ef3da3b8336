"""Recipes: from a file to the resolved recipe of a run. `docs/recipes.md` is the reference.

read (YAML into trees) -> merge (`extends`, variants, `--set`) -> models, validate (permitted content) -> plugins
(lookup and options) -> stages (planning) -> resolved (all defaults). Each step turns a tree into a tree, or raises
errors that point into the file (`hpf_core.documents`).
"""

from hpf_core.documents.errors import InvalidRecipe, Problem
from hpf_core.recipe.models import Recipe
from hpf_core.recipe.plugins import Host, Part, TermPart, is_term
from hpf_core.recipe.resolved import Resolved, from_document, load
from hpf_core.recipe.stages import StagePlan

__all__ = [
    "Host",
    "InvalidRecipe",
    "Part",
    "Problem",
    "Recipe",
    "Resolved",
    "StagePlan",
    "TermPart",
    "from_document",
    "is_term",
    "load",
]
