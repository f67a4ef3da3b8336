"""Strictness, and whose fault it is: the recipe's or the plugin's."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hpf_core.documents.errors import Problem
from hpf_core.documents.tree import Source
from hpf_core.documents.yaml import parse
from hpf_core.errors import DataError
from hpf_core.interfaces import Config
from hpf_core.recipe.validate import model_at, validate


class Colour(Enum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


class Inner(Config):
    """A nested model with a default that JSON could not write."""

    folder: Path = Path("a/b")
    number: int = 1


class Other(Config):
    """Another branch of a union."""

    text: str


class Model(Config):
    """Types that plugins use."""

    folder: Path = Path("x")
    colour: Colour = Colour.BLUE
    pair: tuple[int, float] = (1, 2.0)
    names: frozenset[str] = frozenset({"a"})
    inner: Inner = Inner()
    many: dict[str, Inner] = {}  # noqa: RUF012
    either: Inner | Other | None = None
    number: float | Literal["auto"] = "auto"


def check(model: type[BaseModel], text: str) -> tuple[Any, list[Problem]]:
    tree = parse(text, Source("f.yaml"))
    problems: list[Problem] = []
    return validate(model, tree.plain() or {}, tree, ("backbone",), problems, "plugin"), problems


def test_lists_and_texts_become_what_the_model_wants_and_defaults_stay() -> None:
    made, problems = check(Model, "folder: a\ncolour: red\npair: [3, 4]\nnames: [b, b]\ninner: {number: 2}\nnumber: 3")
    assert problems == []
    assert made == Model(folder=Path("a"), colour=Colour.RED, pair=(3, 4), names={"b"}, inner=Inner(number=2), number=3)
    assert check(Model, "{}") == (Model(), [])
    assert check(Model, "either: {text: x}")[0].either == Other(text="x")
    assert check(Model, "many: {k: {number: 5}}")[0].many == {"k": Inner(number=5)}


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("folder: 3", "backbone.folder", "expected text, got the number 3"),
        ("colour: green", "backbone.colour", "expected 'red' or 'blue', got the text 'green'"),
        ("pair: [3]", "backbone.pair[1]", "is missing"),
        ("pair: [3, '4']", "backbone.pair[1]", "expected a number, got the text '4'"),
        ("inner: {number: 1.5}", "backbone.inner.number", "expected a whole number, got the number 1.5"),
        ("inner: {number: '1'}", "backbone.inner.number", "expected a whole number, got the text '1'"),
        ("many: {k: {numbr: 5}}", "backbone.many.k.numbr", "unknown option"),
        ("either: 5", "backbone.either", "expected a mapping, got the number 5"),
        ("number: '3'", "backbone.number", None),
    ],
)
def test_nothing_is_converted_that_yaml_could_have_written(text: str, path: str, message: str | None) -> None:
    made, problems = check(Model, text)
    assert made is None
    assert len(problems) == 1  # once, however many branches a union has
    assert problems[0].path == path
    assert message is None or problems[0].message == message


def test_a_wrong_default_is_an_error_too() -> None:
    class Broken(Config):
        number: int = "x"  # type: ignore[assignment]

    made, problems = check(Broken, "{}")
    assert made is None
    assert len(problems) == 1


def test_an_error_of_hpf_in_a_validator_gets_its_place() -> None:
    class Refusing(Config):
        def model_post_init(self, context: Any) -> None:
            raise DataError("the folder lacks a calibration")

    made, problems = check(Refusing, "{}")
    assert made is None
    assert str(problems[0]).startswith("f.yaml:1:1: backbone: the folder lacks a calibration")


def test_models_are_found_through_lists_mappings_and_unions() -> None:
    class Deep(Config):
        items: list[Annotated[Inner, Field(description="x")]] = []  # noqa: RUF012
        maybe: dict[str, Inner] | None = None

    assert model_at(Deep, ()) is Deep
    assert model_at(Deep, ("items", 3)) is Inner
    assert model_at(Deep, ("maybe", "k")) is Inner
    assert model_at(Deep, ("maybe", "k", "number")) is None
    assert model_at(Deep, ("nothing",)) is None
