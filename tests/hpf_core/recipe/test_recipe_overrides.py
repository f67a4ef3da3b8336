"""`--set`, `--with`, `--without`, `--stages`, `--seed`, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpf_core.documents.tree import Node, Source
from hpf_core.documents.writer import to_yaml
from hpf_core.documents.yaml import parse
from hpf_core.recipe import Resolved
from hpf_core.recipe.merge import merge

Resolve = Callable[..., Resolved]
Refusal = Callable[..., str]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("terms.silhouette.weight=0.5", "terms.silhouette.weight: 2.0 -> 0.5 (--set)"),
        ("terms.agreement.weight=1e-3", "terms.agreement.weight: 1.0 -> 0.001 (--set)"),
        ("terms.agreement.average=mean", "terms.agreement.average: median -> mean (--set)"),
        ("terms.bone_length.slack=4", "terms.bone_length.slack: 32 -> 4 (--set)"),
        ("terms.bone-length.slack=32", "terms.bone_length.slack: stays 32 (--set)"),
        ("terms.bone_length=off", "terms.bone_length: on, weight 0.01 -> off (--set)"),
        ("stages.fit.steps=10", "stages.fit.steps: 200 -> 10 (--set)"),
        ("stages.fit.draw.real=3", "stages.fit.draw.real: 25 -> 3 (--set)"),
        ("stages.fit-control.lr=1", "stages.fit_control.lr: 0.0005 -> 1.0 (--set)"),
        (
            "stages.pretrain.terms=[labels, sharpness]",
            'stages.pretrain.terms: ["labels"] -> ["labels", "sharpness"] (--set)',
        ),
        ("stages.fit.terms.0=sharpness", "stages.fit.terms[0]: labels -> sharpness (--set)"),
        ("backbone.stacks=3", "backbone.stacks: 2 -> 3 (--set)"),
        ("backbone.noise.sigma_mm=1", "backbone.noise.sigma_mm: 5.0 -> 1.0 (--set)"),
        ("backbone=mlp", "backbone: tower -> mlp (--set)"),
        ("backbone.use=mlp", "backbone.use: tower -> mlp (--set)"),
        ("hand.use=spheres41", "hand.use: stays spheres41 (--set)"),
        ("data.synthetic={use: generator}", "data.synthetic: stays generator (--set)"),
        (
            "evaluate=null",
            '{"data": "real", "split": "test", "limit": null, "refiners": [], "batch": 64} -> null (--set)',
        ),
        ("evaluate.limit=5", "evaluate.limit: null -> 5 (--set)"),
        ("grid.size=128", "grid.size: 64 -> 128 (--set)"),
        ("name=x=y", "name: mine -> x=y (--set)"),
        ("runtime.threads=2", "runtime.threads: null -> 2 (--set)"),
    ],
)
def test_a_value_is_set_and_echoed(resolve: Resolve, recipe: str, assignment: str, said: str) -> None:
    got = resolve(recipe, sets=[assignment])
    assert len(got.changes) == 1
    assert got.changes[0].endswith(said)
    assert resolve(got.to_yaml()) == got


def test_a_term_is_switched_by_set(resolve: Resolve, recipe: str) -> None:
    off = resolve(recipe, sets=["terms.bone_length=off"])
    assert [term.name for term in off.stages[1].terms] == ["labels", "silhouette", "agreement"]
    on = resolve(
        off.to_yaml().replace("terms: [labels, silhouette, agreement]", "terms: [bone_length]"),
        sets=["terms.bone_length=on"],
    )
    assert on.stages[1].terms[0].weight == 0.1


def test_options_of_a_plugin_that_only_has_a_name(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("{use: tower, stacks: 2}", "tower") + "transforms: [jitter, {use: jitter, amount: 1.0}]\n"
    got = resolve(text, sets=["backbone.stacks=4", "transforms[0].amount=7.5", "transforms.1.amount=null"])
    assert got.backbone.config.model_dump()["stacks"] == 4
    assert [part.config.model_dump()["amount"] for part in got.transforms] == [7.5, None]
    assert got.changes[1] == "transforms[0].amount: null -> 7.5 (--set)"


def test_another_plugin_begins_at_its_defaults(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe.replace("use: tower, stacks: 2", "use: mlp"), sets=["backbone.use=tower", "backbone.stacks=5"])
    assert got.backbone.config.model_dump()["stacks"] == 5
    assert resolve(recipe, sets=["backbone.use=mlp"]).backbone.name == "mlp"


def test_an_option_does_not_switch_a_term_on_but_a_weight_does(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("{weight: 1e-2, slack: 32}", "off")
    got = resolve(text, sets=["terms.bone_length.slack=5"])
    assert "bone_length" not in [term.name for term in got.stages[1].terms]
    got = resolve(text, sets=["terms.bone_length.slack=5", "terms.bone_length.weight=2"])
    assert got.stages[1].terms[-1].weight == 2
    assert got.stages[1].terms[-1].config.model_dump() == {"slack": 5}
    assert got.changes[1] == "terms.bone_length.weight: off -> 2.0 (--set)"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("terms.silhouette.wieght=1", "--set terms.silhouette.wieght=1: terms.silhouette.wieght: unknown option"),
        (
            "terms.silhouette.wieght=1",
            "Did you mean 'weight'? Options of silhouette (plugin of toys 1.2): use, weight.",
        ),
        ("terms.silhouette.weight=-1", "terms.silhouette.weight: must be at least 0.0, got the number -1"),
        ("terms.silhouete.weight=1", "the recipe has no term 'silhouete'"),
        ("terms.silhouete.weight=1", "Did you mean 'silhouette'?"),
        ("terms.sharpness.weight=1", "Add a term that the recipe lacks by --with."),
        ("trems.silhouette.weight=1", "a recipe has no 'trems' to set\n  Did you mean 'terms'?"),
        ("stages.fitt.steps=1", "the recipe has no stage 'fitt'\n  Did you mean 'fit'?"),
        ("stages.fit.step=1", "stages.fit.step: unknown key\n  Did you mean 'steps'?"),
        ("stages.fit.steps=many", "--set stages.fit.steps=many: stages.fit.steps: expected a whole number"),
        ("stages.fit.steps.x=1", "stages.fit.steps is the number 200 and has no 'x'"),
        ("stages.fit.terms.9=labels", "stages.fit.terms is a list of 4 items, counted from 0"),
        ("stages.fit.terms.x=labels", "stages.fit.terms is a list of 4 items"),
        ("transforms.0=jitter", "transforms is a list of no items"),
        ("seed", "expected path=value"),
        ("=1", "expected path=value"),
        ("a..b=1", "expected path=value"),
        ("seed=[1", "--set seed=[1: not YAML"),
        ("seed=.inf", ".inf is no number"),
        ("seed=", "seed: expected a whole number, got nothing (null)"),
        ("extends=x.yaml", "a recipe has no 'extends' to set"),
        ("backbone.stack=1", "--set backbone.stack=1: backbone.stack: unknown option\n  Did you mean 'stacks'?"),
    ],
)
def test_assignments_that_lead_nowhere(refusal: Refusal, recipe: str, assignment: str, said: str) -> None:
    message = refusal(recipe + "transforms: []\n", sets=[assignment])
    assert message.startswith("--set ")
    assert said in message


def test_variables_of_the_environment_are_not_read_in_the_command_line(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe, sets=["backbone.label=${HOME}"])
    assert got.backbone.config.model_dump()["label"] == "${HOME}"
    assert resolve(got.to_yaml()) == got


# ---------------------------------------------------------------------------------------------- --with and --without


def test_without_switches_off_everywhere(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe, without_terms=["bone_length,agreement", "silhouette"])
    assert [term.name for term in got.stages[1].terms] == ["labels"]
    assert got.changes == (
        "bone_length: off in stage fit (--without)",
        "agreement: off in stage fit (--without)",
        "silhouette: off in stage fit (--without)",
    )
    document = got.document()["terms"]
    assert document["silhouette"] == document["agreement"] == document["bone_length"] == "off"


def test_without_switches_off_a_term_whose_plugin_is_missing(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe.replace("bone-length]", "bone-length, gone]"), without_terms=["gone"])
    assert "gone" not in [term.name for term in got.stages[1].terms]


def test_without_what_is_not_there_or_all_that_is(refusal: Refusal, recipe: str) -> None:
    assert refusal(recipe, without_terms=["silhouete"]) == (
        "--without silhouete: the recipe has no such term\n  Did you mean 'silhouette'?"
    )
    assert "--without sharpness: the recipe has no such term" in refusal(recipe, without_terms=["sharpness"])
    message = refusal(recipe, without_terms=["labels"])
    assert "6:3: stages.pretrain: no term is left after --without labels" in message
    assert "fit_control: no term is left" in message
    assert "--without needs a name" in refusal(recipe, without_terms=[""])
    message = refusal(recipe.replace("weight: 2.0}", "weight: 2.0}\n  labels: off"))
    assert "no term is left: all of its terms are off" in message


def test_with_adds_to_every_stage_that_fits(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("agreement, bone-length]", "bone-length]")
    got = resolve(text, with_terms=["mean-agreement", "sharpness"])
    assert [[term.name for term in stage.terms] for stage in got.stages] == [
        ["labels", "sharpness"],
        ["labels", "silhouette", "bone_length", "mean_agreement", "sharpness"],
        ["labels"],  # a control keeps its terms
    ]
    assert got.stages[1].terms[3].config.model_dump() == {"average": "mean"}
    assert got.changes == (
        "mean_agreement: on in stage fit, weight 1 (--with)",
        "mean_agreement: not in stage pretrain: it needs real images, and the stage draws none (draw.real is 0)"
        " (--with)",
        "sharpness: on in stages pretrain, fit, weight 1 (--with)",
    )
    assert resolve(got.to_yaml()) == got


def test_with_brings_back_what_is_off_with_its_options(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe.replace("{weight: 1e-2,", "{weight: 0,"), with_terms=["bone_length"])
    assert got.stages[1].terms[-1].config.model_dump() == {"slack": 32}
    got = resolve(recipe.replace("{weight: 1e-2, slack: 32}", "off"), with_terms=["bone-length"])
    assert got.stages[1].terms[-1].weight == 0.1
    assert got.changes == (
        "bone_length: on in stage fit, weight 0.1 (--with)",
        # It doesn't say that it needs them, but priors act on the estimates of real images.
        "bone_length: not in stage pretrain: it needs real images, and the stage draws none (draw.real is 0) (--with)",
    )


def test_with_takes_options_from_set(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe, with_terms=["sharpness"], sets=["terms.sharpness.weight=7"])
    assert got.stages[0].terms[-1].weight == 7


def test_with_what_is_there_already_is_said(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe, with_terms=["silhouette"])
    assert "silhouette: in stage fit already (--with)" in got.changes
    assert [term.name for term in got.stages[1].terms].count("silhouette") == 1


def test_with_what_cannot_be(refusal: Refusal, recipe: str) -> None:
    assert refusal(recipe, with_terms=["sharpnes"]).startswith("--with sharpnes: There is no data term or prior")
    message = refusal(recipe.replace("use: tower, stacks: 2", "use: mlp"), with_terms=["sharpness"])
    assert "--with sharpness: it fits in no stage" in message
    assert "which the backbone mlp does not provide" in message
    assert "choose one of them" in refusal(recipe, with_terms=["silhouette"], without_terms=["silhouette"])


# ---------------------------------------------------------------------------------------------------- stages and seed


def test_stages_are_chosen_in_the_recipes_order(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe, stages=["fit-control,fit"])
    assert [stage.name for stage in got.stages] == ["fit", "fit_control"]
    assert got.changes == ("stages: only fit, fit_control, not pretrain (--stages)",)
    assert resolve(got.to_yaml()) == got


def test_a_stage_that_is_not_run_needs_no_dataset(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("  real: {use: cameras, root: /somewhere}\n", "").replace("evaluate: {}", "")
    got = resolve(text, stages=["pretrain"])
    assert [stage.name for stage in got.stages] == ["pretrain"]
    assert list(got.document()["terms"]) == ["labels"]
    assert resolve(got.to_yaml()) == got


def test_stages_that_cannot_be(refusal: Refusal, recipe: str) -> None:
    assert "--stages fitt: the recipe has no such stage\n  Did you mean 'fit'?" in refusal(recipe, stages=["fitt"])
    message = refusal(recipe, stages=["fit_control"])
    assert "fit_control is a control of fit, which is not among the stages to run" in message
    assert "--stages fit,fit_control" in message
    assert "--stages needs a name" in refusal(recipe, stages=["fit,"])


def test_the_seed_is_replaced_and_checked(resolve: Resolve, refusal: Refusal, recipe: str) -> None:
    got = resolve(recipe + "seed: 4\n", seed=7)
    assert got.recipe.seed == 7
    assert got.changes == ("seed: 4 -> 7 (--seed)",)
    assert refusal(recipe, seed=-1).startswith("--seed -1: seed: must be at least 0")


def test_a_change_may_mend_a_recipe_that_is_wrong_without_it(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe.replace("steps: 100", "steps: 0"), sets=["stages.pretrain.steps=5"])
    assert got.changes == ("stages.pretrain.steps: 0 -> 5 (--set)",)


# ---------------------------------------------------------------------------------------------------------- properties

numbers = st.one_of(st.integers(1, 10**6), st.floats(1e-6, 1e6))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weight=numbers, steps=st.integers(1, 10**9), label=st.text(max_size=12), seed=st.integers(0, 2**63 - 1))
def test_what_is_set_is_what_is_there_and_survives_being_saved(
    resolve: Resolve, recipe: str, weight: float, steps: int, label: str, seed: int
) -> None:
    text = to_yaml({"x": label.replace("$", "")}).removeprefix("x: ").rstrip("\n")
    got = resolve(
        recipe,
        sets=[f"terms.silhouette.weight={weight!r}", f"stages.fit.steps={steps}", f"backbone.label={text}"],
        seed=seed,
    )
    assert got.stages[1].terms[1].weight == weight
    assert got.stages[1].steps == got.stages[2].steps == steps
    assert got.backbone.config.model_dump()["label"] == label.replace("$", "")
    assert resolve(got.to_yaml()) == got


trees = st.recursive(
    st.integers(0, 9),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=12,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def node(document: object) -> Node:
    return parse(to_yaml({"top": document}), Source("x")).entries["top"]


def expected(base: object, over: object) -> object:
    """The rule in one line: mappings merge, all else replaces."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: expected(base.get(key), over.get(key, base.get(key))) for key in {**base, **over}}
    return over


@settings(max_examples=100, deadline=None)
@given(mappings, mappings)
def test_mappings_merge_and_all_else_replaces(base: object, over: object) -> None:
    merged = merge(node(base), node(over)).plain()
    assert merged == expected(base, over)
    assert merge(node(merged), node(over)).plain() == merged
    assert merge(node({}), node(over)).plain() == over
    assert merge(node(base), node({})).plain() == base


def test_a_warmup_follows_the_steps_that_are_set(resolve: Resolve, refusal: Refusal, recipe: str) -> None:
    text = recipe.replace("lr: 5e-4", "warmup: 50")
    got = resolve(text, sets=["stages.fit.steps=20"])
    assert [(stage.steps, stage.warmup) for stage in got.stages] == [(100, 0), (20, 2), (20, 2)]
    assert got.changes[1] == "stages.fit.warmup: 50 -> 2 (a tenth of the steps of --set)"
    assert resolve(got.to_yaml()) == got
    assert resolve(text, sets=["stages.fit.steps=60"]).stages[1].warmup == 50
    said = refusal(text, sets=["stages.fit.steps=20", "stages.fit.warmup=30"])
    assert "warmup (30 steps) is longer than the stage (20 steps)" in said
