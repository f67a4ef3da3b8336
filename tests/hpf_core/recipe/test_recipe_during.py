"""Terms that count in a part of each cycle of steps alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpf_core.recipe import Resolved

Resolve = Callable[..., Resolved]
Refusal = Callable[..., str]

CYCLE = """\
data: {real: {use: cameras, root: /r}, synthetic: generator}
stages:
  fit:
    draw: {real: 2, synthetic: 2}
    steps: 100
    terms: [labels, silhouette, bone-length]
    cycle: 10
    during: {silhouette: [0, 6], bone_length: [6, 10]}
  control: {control_of: fit, terms: [labels]}
"""


def test_a_plan_knows_which_terms_count(resolve: Resolve) -> None:
    fit, control = resolve(CYCLE).stages
    for step in range(25):
        first = step % 10 < 6
        assert fit.counts(step) == (True, first, not first)
    assert control.counts(3) is None


def test_it_resolves_to_itself_and_what_is_off_leaves_no_trace(resolve: Resolve) -> None:
    got = resolve(CYCLE, without_terms=["silhouette"])
    assert got.document()["stages"]["fit"]["during"] == {"bone_length": [6, 10]}
    assert resolve(got.to_yaml()) == got
    assert got.stages[0].counts(0) == (True, False)
    assert resolve(CYCLE, without_terms=["silhouette,bone-length"]).stages[0].counts(0) is None


def test_without_it_all_terms_always_count(resolve: Resolve, recipe: str) -> None:
    assert [stage.counts(7) for stage in resolve(recipe).stages] == [None, None, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("[6, 10]", "[6, 11]"),
            "during.bone_length: needs two steps in order, within the cycle of 10, but is 6 to 11",
        ),
        (("[0, 6]", "[6, 6]"), "during.silhouette: needs two steps in order, within the cycle of 10, but is 6 to 6"),
        (("    cycle: 10\n", ""), "`during` needs a `cycle`: the number of steps after which it starts again"),
        (("{silhouette:", "{silhuette:"), "stages.fit.during.silhuette: silhuette isn't among the stage's terms"),
        (("[0, 6]", "[0, 6.5]"), "expected a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(refusal: Refusal, change: tuple[str, str], said: str) -> None:
    assert said in refusal(CYCLE.replace(*change))


def test_each_step_has_a_term(refusal: Refusal, resolve: Resolve) -> None:
    bare = CYCLE.replace("[labels, silhouette, bone-length]", "[silhouette, bone-length]")
    assert resolve(bare).stages[0].counts(5) == (True, False)
    said = refusal(bare.replace("[6, 10]", "[7, 10]"))
    assert "stages.fit.during: no term counts in step 6 of each 10" in said
    assert "no term counts in step 0 of each 10" in refusal(bare, without_terms=["silhouette"])
