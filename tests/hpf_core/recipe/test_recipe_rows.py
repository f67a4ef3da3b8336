"""Rows of an ablation are laid over any base, and the command line's changes hold in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpf_core.plugins import PluginHost
from hpf_core.recipe import InvalidRecipe, Resolved, from_document, load

Lay = Callable[..., Resolved]


@pytest.fixture
def lay(tmp_path: Path, recipe: str, host: PluginHost) -> Lay:
    """The base with a row over it; the row stands in a folder of its own, as those of HPF do."""
    (tmp_path / "base.yaml").write_text(recipe)
    (tmp_path / "rows").mkdir()

    def laid(row: str, sets: Sequence[str] = (), **rest: Any) -> Resolved:
        (tmp_path / "rows" / "row.yaml").write_text(row)
        return load(tmp_path / "base.yaml", over=tmp_path / "rows" / "row.yaml", sets=sets, host=host, **rest)

    return laid


def terms(resolved: Resolved, stage: str = "fit") -> dict[str, float]:
    return {t.name: t.weight for plan in resolved.stages if plan.name == stage for t in plan.terms}


def test_a_row_changes_the_base_whatever_it_extends(lay: Lay, tmp_path: Path) -> None:
    got = lay("extends: ../elsewhere.yaml\nterms: {silhouette: off}\n")
    assert terms(got) == {"labels": 1.0, "agreement": 1.0, "bone_length": 0.01}
    assert got.recipe.name == "row"
    assert [path.name for path in got.sources] == ["row.yaml", "base.yaml"]


def test_a_row_may_extend_its_neighbour(lay: Lay, tmp_path: Path, host: PluginHost) -> None:
    (tmp_path / "rows" / "other.yaml").write_text("extends: ../base.yaml\nterms: {silhouette: off, agreement: off}\n")
    assert terms(lay("extends: other.yaml\nterms: {agreement: {average: mean}}\n")).keys() == {
        *("labels", "agreement", "bone_length")
    }
    (tmp_path / "rows" / "other.yaml").write_text("extends: row.yaml\nname: other\n")
    with pytest.raises(InvalidRecipe, match=r"extends itself: row\.yaml -> other\.yaml -> row\.yaml"):
        lay("extends: other.yaml\nname: row\n")


def test_the_command_line_wins_but_does_not_undo_the_row(lay: Lay) -> None:
    row = "stages: {fit: {steps: 50}, fit_control: off}\nterms: {silhouette: off}\nbackbone: {stacks: 7}\n"
    got = lay(
        row, ["stages.fit.steps=9", "stages.fit-control.lr=1", "terms.silhouette.weight=3", "terms.bone-length.slack=4"]
    )
    assert [(plan.name, plan.steps) for plan in got.stages] == [("pretrain", 100), ("fit", 9)]
    assert "silhouette" not in terms(got), "setting a term's weight doesn't switch it on in the row that is without it"
    assert got.recipe.terms["bone_length"].options["slack"] == 4
    assert lay(row, ["backbone.stacks=3"]).backbone.config.stacks == 3


@pytest.mark.parametrize("other", ["data.real.use=cameras", "data.real={use: cameras, root: /there}"])
def test_a_dataset_that_is_set_keeps_the_rows_options_of_it(lay: Lay, other: str) -> None:
    got = lay("data: {real: {root: /row}}\n", [other])
    assert got.real is not None
    assert got.real.config.root == "/row"


def test_an_option_of_what_the_row_does_without_is_no_fault(lay: Lay) -> None:
    row = "data: {real: null}\nstages: {fit: off, fit_control: off}\nevaluate: null\n"
    got = lay(row, ["data.real.root=/x"])
    assert got.real is None


def test_a_stage_that_is_off_and_not_there_is_no_fault_of_a_row(lay: Lay) -> None:
    assert [p.name for p in lay("stages: {other_control: off}\n").stages] == ["pretrain", "fit", "fit_control"]
    with pytest.raises(InvalidRecipe, match="other_control"):
        lay("stages: {other_control: {steps: 3}}\n")


def test_a_row_that_cannot_be_says_where(lay: Lay) -> None:
    with pytest.raises(InvalidRecipe, match=r"rows/row\.yaml:2:14: terms\.silhouete"):
        lay("terms:\n  silhouete: {weight: 1}\n")


def test_plain_data_resolve_to_the_same(lay: Lay, host: PluginHost) -> None:
    resolved = lay("backbone: {widths: [3, 4], label: '${HOME}x'}\nterms: {agreement: off}\n".replace("${", "$${"))
    again = from_document(resolved.document(), "row", host)
    assert again == resolved
    with pytest.raises(InvalidRecipe, match="row: seed"):
        from_document(resolved.document() | {"seed": -1}, "row", host)


def test_the_recipes_that_come_with_hpf_resolve_to_themselves() -> None:
    """Options of nested models with lists in them included."""
    host = PluginHost.load()
    for path in sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml")):
        resolved = load(path, host=host)
        assert from_document(resolved.document(), path.stem, host) == resolved, path
