"""Mutated recipes and `--set` values, with fixed seeds: each is resolved or refused with a message, nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpf_core.plugins import PluginHost
from hpf_core.recipe import InvalidRecipe, Resolved, load

Resolve = Callable[..., Resolved]
RECIPES = Path(__file__).parents[3] / "recipes"

HOSTILE = (
    "null", "~", "on", "off", "true", "3", "-1", "0.5", "1e9", ".nan", "9" * 400, "''", '"\\e[31m"', "[]",
    "{}", "[[]]", "{use: tower}", "{use: {use: x}}", "[1, [2]]", "*a", "&a [1]", "!!set {a}", "${HOME}", "${", "$${",
    "<<", "a: b: c", "\t", "\x00", "\x1b[2J", "\u2028", "\ud7ff", "- x", "? y", "%YAML 1.1", "---", "...",
    "{weight: -0}", "{weight: .inf}", "[" * 60, "{a: " * 60, "x" * 5000, "0x7fffffffffffffffff", "2020-01-01", "fit",
    "control_of", "labels", "jitter",
)  # fmt: skip
PATHS = (
    "seed", "name", "init", "hand", "hand.use", "backbone", "backbone.noise.sigma_mm", "backbone.widths", "grid.size",
    "data.real", "data.real.root", "data.synthetic", "transforms", "transforms[0]", "transforms.0.amount", "observers",
    "stages", "stages.fit", "stages.fit.draw", "stages.fit.draw.real", "stages.fit.steps", "stages.fit.terms",
    "stages.fit.terms[1]", "stages.fit.during", "stages.fit.cycle", "stages.fit_control", "terms", "terms.silhouette",
    "stages.fit_control.control_of", "terms.silhouette.weight", "terms.bone-length.slack", "evaluate",
    "evaluate.refiners", "evaluate.data", "log", "log.every", "runtime.device", "plugins", "plugins[0]", "versions",
    "extends", "", ".", "a.b", "terms.silhouette.weight.x", "stages.fit.terms.99999999999999999999", "stages[0]",
)  # fmt: skip


def mutated(text: str, source: random.Random) -> str:
    """The text with one to four random changes."""
    for _ in range(source.randint(1, 4)):
        lines = text.split("\n")
        place, line = source.randrange(len(text) + 1), source.randrange(len(lines))
        match source.randrange(7):
            case 0:
                text = text[:place] + text[place + source.randint(1, 8) :]
            case 1:
                text = text[:place] + source.choice(HOSTILE) + text[place:]
            case 2:
                text = text[:place] + source.choice(":{}[],&*!|>'\"%@`#-? \n\t") + text[place + 1 :]
            case 3:
                text = "\n".join([*lines[:line], lines[source.randrange(len(lines))], *lines[line:]])
            case 4:
                text = "\n".join([*lines[:line], *lines[line + 1 :]])
            case 5:
                key, colon, _ = lines[line].partition(":")
                lines[line] = f"{key}{colon} {source.choice(HOSTILE)}"
                text = "\n".join(lines)
            case _:
                text = "\n".join([*lines[:line], " " * source.randint(1, 4) + lines[line], *lines[line + 1 :]])
    return text


def judge(read: Callable[[], Any]) -> bool:
    """Whether it is a recipe. What is refused has a message for a terminal: short, without control characters."""
    try:
        read()
    except InvalidRecipe as error:
        said = str(error)
        assert said.strip()
        assert len(said) < 20_000
        assert all(c.isprintable() or c == "\n" for c in said), ascii(said)
        return False
    return True


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_recipe_is_read_or_refused(resolve: Resolve, recipe: str, seed: int) -> None:
    source = random.Random(seed)
    text = recipe + "transforms: [jitter, {use: jitter, amount: 1.0}]\nplugins: [toys==1.2]\n"
    judged = [judge(lambda: resolve(encoded(mutated(text, source)))) for _ in range(80)]
    assert set(judged) == {True, False}, "the mutations must leave some recipes right and make some wrong"


@pytest.mark.parametrize("seed", range(4))
def test_mutated_assignments_are_applied_or_refused(resolve: Resolve, recipe: str, seed: int) -> None:
    source = random.Random(seed)
    text = recipe + "transforms: [jitter, {use: jitter, amount: 1.0}]\nplugins: [toys==1.2]\n"
    judged = []
    for _ in range(150):
        options: dict[str, Any] = {
            "sets": [f"{source.choice(PATHS)}={source.choice(HOSTILE)}" for _ in range(source.choice((1, 1, 2)))]
        }
        if source.random() < 0.2:
            option = source.choice(["with_terms", "without_terms", "stages"])
            options[option] = [source.choice(["", "fit", "labels,", "x"])]
        judged.append(judge(lambda: resolve(text, **options)))  # noqa: B023
    assert set(judged) == {True, False}


def test_mutations_of_the_recipes_that_ship(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source, host = random.Random(0), PluginHost.load(only=[])
    for path in sorted(RECIPES.rglob("*.yaml")):
        for _ in range(2):
            mutant = tmp_path / path.relative_to(RECIPES)
            mutant.parent.mkdir(exist_ok=True)
            for other in RECIPES.glob("*.yaml"):
                (tmp_path / other.name).write_bytes(other.read_bytes())
            mutant.write_bytes(encoded(mutated(path.read_text(encoding="utf-8"), source)))
            judge(lambda: load(mutant, host=host))  # noqa: B023
