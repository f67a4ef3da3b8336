"""Recipes: strict YAML with places, `extends`, changes from the command line, plugins' options checked by their models.

`load` reads one; `docs/recipes.md` says what may stand in it.
"""

from hpf_core.documents.errors import InvalidRecipe, Problem
from hpf_core.recipe.models import Recipe
from hpf_core.recipe.resolve import from_document, load
from hpf_core.recipe.resolved import Part, Resolved, StagePlan, TermPart

__all__ = ["InvalidRecipe", "Part", "Problem", "Recipe", "Resolved", "StagePlan", "TermPart", "from_document", "load"]
