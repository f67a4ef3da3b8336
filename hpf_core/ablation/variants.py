"""The variants of an ablation (its rows): small recipes in `rows/` beside the base, and terms removed or added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpf_core import recipe as recipes
from hpf_core.ablation.scale import scaled
from hpf_core.documents.tree import canonical
from hpf_core.errors import InputError, nearest
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved, is_term

FULL = "full"
"""Name of the base itself, unless a file has this name."""
ALL = "all"
_ON_THE_FLY = ("without", "with")


@dataclass(frozen=True)
class Variant:
    """A variant: the base recipe and what it changes.

    Attributes:
        name: the requested name: a file's name without its suffix, `full`, `without:TERM` or `with:TERM`.
        path: the variant's file, or None.
        with_term, without_term: the added or removed term, or empty.
    """

    name: str
    path: Path | None = None
    with_term: str = ""
    without_term: str = ""

    @property
    def folder(self) -> str:
        """The folder's name: `without-vae` for `without:vae`. Names of variants from files contain no '-'."""
        return self.name.replace(":", "-")


def variants_of(base: Path) -> dict[str, Path]:
    """The files of the folder `rows/` beside the base, by the names of their variants."""
    found = sorted(path for path in (base.parent / "rows").glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    return {canonical(path.stem): path for path in found}


def choose(base: Path, asked: Sequence[str], first: Iterable[str] = ()) -> tuple[Variant, ...]:
    """Return the requested variants, each once, in the given order.

    Args:
        base: the base recipe.
        asked: names, paths of files, or `all`.
        first: the first names of `all`; the others follow in alphabetical order.

    Raises:
        InputError: a variant doesn't exist, or two files have the same name.
    """
    known = variants_of(base)
    chosen: dict[str, Variant] = {}
    for text in asked:
        listed = _all(known, first) if text == ALL else [text]
        for variant in (_variant(name, known) for name in listed):
            other = chosen.setdefault(variant.name, variant)
            if other != variant:
                raise InputError(
                    f"two rows are called '{variant.name}': {other.path} and {variant.path}; rename one of them"
                )
    if not chosen:
        raise InputError("no row is chosen; give --rows NAME,NAME, or leave it out to use all rows")
    return tuple(chosen.values())


def _all(known: dict[str, Path], first: Iterable[str]) -> list[str]:
    names = {FULL, *known}
    ahead = [FULL, *(name for name in first if name in names and name != FULL)]
    return [*ahead, *sorted(names.difference(ahead))]


def _variant(text: str, known: dict[str, Path]) -> Variant:
    kind, colon, term = text.partition(":")
    if colon and kind in _ON_THE_FLY:
        if not term:
            raise InputError(f"the row '{text}' names no term; write {kind}:vae, for example")
        term = canonical(term)
        return Variant(f"{kind}:{term}", **{f"{kind}_term": term})  # type: ignore[arg-type]
    if "/" in text or text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise InputError(f"there is no row's file {path}. {nearest(canonical(path.stem), known)}")
        return Variant(canonical(path.stem), path)
    name = canonical(text)
    if name in known:
        return Variant(name, known[name])
    if name == FULL:
        return Variant(FULL)
    hint = nearest(name, {FULL, *known})
    raise InputError(f"there is no row '{text}'. {hint} Or give a file, without:TERM or with:TERM.")


def resolve(
    variant: Variant, base: Path, *, seed: int | None, sets: Sequence[str], scale: float, host: PluginHost
) -> Resolved:
    """Resolve a variant's recipe: merge the variant into the base, apply the command line's changes, and shorten it.

    Args:
        variant: the variant.
        base: the base recipe.
        seed: seed of the run; None for the recipe's own.
        sets: `path=value` assignments for every variant.
        scale: factor of all training lengths, 1 for full length.
        host: finds plugins.

    Raises:
        RecipeError: the variant can't run on this base.
    """
    without = [variant.without_term] if variant.without_term else []
    if without and _lacks(variant.without_term, base, sets, host):
        without = []
    loaded = recipes.load(
        base,
        over=variant.path,
        sets=sets,
        with_terms=[variant.with_term] if variant.with_term else [],
        without_terms=without,
        seed=seed,
        host=host,
    )
    document = scaled(loaded.document(), scale) | {"name": variant.name}
    made = recipes.from_document(document, variant.name, host)
    return replace(made, changes=loaded.changes, notes=loaded.notes, sources=loaded.sources)


def _lacks(term: str, base: Path, sets: Sequence[str], host: PluginHost) -> bool:
    """Whether the term exists and no stage of the base lists it: then the base is already `without` the term."""
    listed = {part.name for stage in recipes.load(base, sets=sets, host=host).stages for part in stage.terms}
    return term not in listed and is_term(term, host)
