"""A stage is switched off by an extending recipe or by `--set`, and on again by one that extends that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpf_core.recipe import Resolved

Resolve = Callable[..., Resolved]
Refusal = Callable[..., str]


@pytest.fixture(autouse=True)
def _base(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "base.yaml").write_text(recipe)
    (tmp_path / "short.yaml").write_text("extends: base.yaml\nstages: {fit: off, fit-control: off}\n")


def names(resolved: Resolved) -> list[str]:
    return [stage.name for stage in resolved.stages]


@pytest.mark.parametrize("switch", ["off", "Off", "false", "null", ""])
def test_off_takes_a_stage_out(resolve: Resolve, switch: str) -> None:
    got = resolve(f"extends: base.yaml\nstages:\n  fit_control: {switch}\n")
    assert names(got) == ["pretrain", "fit"]
    assert list(got.document()["stages"]) == ["pretrain", "fit"]
    assert resolve(got.to_yaml()) == got
    assert got.notes == ()


def test_terms_of_a_stage_that_is_off_are_no_news(resolve: Resolve) -> None:
    """No note that `silhouette` does nothing: its stage was switched off on purpose. A term in no list is one."""
    got = resolve("extends: short.yaml\nterms: {sharpness: on}\n")
    assert names(got) == ["pretrain"]
    assert got.notes == ("terms.sharpness: is in no stage's list and does nothing",)


def test_on_brings_it_back_as_it_was(resolve: Resolve, tmp_path: Path) -> None:
    assert names(resolve("extends: short.yaml\nstages: {fit: on}\n")) == ["pretrain", "fit"]
    (tmp_path / "slower.yaml").write_text("extends: short.yaml\nstages: {fit: {steps: 9}}\n")
    assert names(resolve("extends: slower.yaml\n")) == ["pretrain"]  # an option alone doesn't switch it on
    got = resolve("extends: slower.yaml\nstages: {fit: true}\n")
    assert (got.stages[1].name, got.stages[1].steps, got.stages[1].lr) == ("fit", 9, 5e-4)
    assert names(resolve("extends: base.yaml\nstages: {fit: on}\n")) == ["pretrain", "fit", "fit_control"]


def test_the_command_line_switches_too(resolve: Resolve) -> None:
    got = resolve("extends: base.yaml\n", sets=["stages.fit_control=off"])
    assert names(got) == ["pretrain", "fit"]
    assert got.changes == ("stages.fit_control: on -> off (--set)",)
    again = resolve("extends: short.yaml\n", sets=["stages.fit=on", "stages.fit.steps=3"])
    assert [(stage.name, stage.steps) for stage in again.stages] == [("pretrain", 100), ("fit", 3)]
    assert again.changes == ("stages.fit: off -> on (--set)", "stages.fit.steps: not set -> 3 (--set)")


def test_a_stage_that_nothing_has_cannot_be_switched_off(refusal: Refusal) -> None:
    said = refusal("extends: base.yaml\nstages: {fti: off}\n")
    assert said.startswith("mine.yaml:2:10: stages.fti: 'fti' is switched off, but this recipe extends no recipe")
    assert "Did you mean 'fit'?" in said


def test_a_control_goes_with_its_stage(refusal: Refusal) -> None:
    said = refusal("extends: base.yaml\nstages: {fit: off}\n")
    assert "stages.fit_control.control_of: stage fit is switched off" in said
    assert "Switch its control off as well, by `fit_control: off`." in said


def test_something_must_be_left(refusal: Refusal) -> None:
    said = refusal("extends: short.yaml\nstages: {pretrain: off}\n")
    assert said.startswith("mine.yaml:2:1: stages: no stage is left: pretrain, fit, fit_control are switched off")


def test_a_stage_that_is_off_is_none_to_choose(refusal: Refusal) -> None:
    said = refusal("extends: short.yaml\n", stages=["fit"])
    assert said.startswith("--stages fit: the recipe has no such stage")
