"""From a file to a resolved recipe: defaults, `extends`, the environment, terms, stages, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpf_core.documents.errors import Problem
from hpf_core.plugins import PluginHost
from hpf_core.recipe import InvalidRecipe, Resolved, load

Resolve = Callable[..., Resolved]
Refusal = Callable[..., str]

SMALL = "data: {synthetic: generator}\nstages: {pre: {draw: {synthetic: 4}, steps: 10, terms: [labels]}}\n"


def test_a_recipe_becomes_parts_and_plans_with_every_default(resolve: Resolve, recipe: str) -> None:
    got = resolve(recipe)
    assert (got.recipe.name, got.recipe.seed, got.recipe.grid.size) == ("mine", 0, 64)
    assert (got.hand.name, got.renderer.name, got.backbone.name) == ("spheres41", "spheres", "tower")
    assert got.backbone.config.model_dump()["stacks"] == 2
    assert (got.backbone.package, got.backbone.version) == ("toys", "1.2")
    assert got.real is not None
    assert got.synthetic is not None
    pretrain, fit, control = got.stages
    assert (pretrain.draw_real, pretrain.draw_synthetic, pretrain.lr, pretrain.schedule) == (0, 128, 1e-3, "steps")
    assert [(term.name, term.weight) for term in fit.terms] == [
        ("labels", 1.0),
        ("silhouette", 2.0),
        ("agreement", 1.0),
        ("bone_length", 0.01),
    ]
    assert fit.terms[3].config.model_dump() == {"slack": 32}
    assert (control.control_of, control.steps, control.lr, control.draw_synthetic) == ("fit", 200, 5e-4, 48)
    assert got.changes == got.notes == ()


def test_the_resolved_recipe_resolves_to_itself(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("stages: 2", "stages: 2, label: '${', widths: [1]").replace("evaluate: {}", "")
    text += "transforms: [jitter, {use: jitter, amount: 1e-3}]\nobservers: [diary]\n"
    text += "evaluate: {limit: 7, refiners: [{use: smooth, amount: 2}]}\nlog: {every: 5}\nseed: 9\nname: other\n"
    text = text.replace("slack: 32}", "slack: 32}\n  mean-agreement: {weight: 3}\n  far: {use: silhouette, weight: 0}")
    first = resolve(text, without_terms=["agreement"], with_terms=["mean-agreement"])
    again = resolve(first.to_yaml())
    assert again == first
    assert again.document() == first.document()
    assert again.to_yaml() == first.to_yaml()
    assert first.document()["terms"]["agreement"] == "off"
    assert first.document()["terms"]["far"] == {"use": "silhouette", "weight": 0.0}
    assert first.document()["versions"]["toys"] == "1.2"
    assert resolve(first.to_yaml(), seed=10) != first
    assert resolve(first.to_yaml(), sets=["terms.silhouette.weight=2.5"]) != first


def test_versions_that_differ_are_noted(resolve: Resolve) -> None:
    got = resolve(SMALL + 'versions: {toys: "1.1", gone: "7"}\n')
    assert got.notes == ("versions.toys: the recipe was saved with 1.1, and this is 1.2",)


# ------------------------------------------------------------------------------------------------------------- extends


def test_extends_merges_mappings_replaces_lists_and_keeps_the_order(
    resolve: Resolve, recipe: str, tmp_path: Path
) -> None:
    (tmp_path / "base.yaml").write_text(recipe)
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\nterms: {bone_length: {weight: 5}}\nseed: 3\n")
    got = resolve("""
        extends: middle.yaml
        stages:
          last: {draw: {synthetic: 1}, steps: 1, terms: [labels]}
          fit: {steps: 7, terms: [silhouette, bone-length]}
        backbone: {label: blue}
    """)
    assert [stage.name for stage in got.stages] == ["pretrain", "fit", "fit_control", "last"]
    fit = got.stages[1]
    assert (fit.steps, fit.lr, fit.draw_real) == (7, 5e-4, 25)
    assert got.stages[2].steps == 7  # the control follows
    assert [term.name for term in fit.terms] == ["silhouette", "bone_length"]
    assert fit.terms[1].weight == 5
    assert fit.terms[1].config.model_dump() == {"slack": 32}
    assert got.recipe.seed == 3
    assert got.backbone.config.model_dump()["stacks"] == 2
    assert got.backbone.config.model_dump()["label"] == "blue"
    assert [path.name for path in got.sources] == ["mine.yaml", "middle.yaml", "base.yaml"]


@pytest.mark.parametrize(
    ("base", "over", "name", "stacks"),
    [
        ("tower", "{stacks: 3}", "tower", 3),
        ("{use: tower, stacks: 3}", "{use: tower, label: x}", "tower", 3),
        ("{use: tower, stacks: 3}", "tower", "tower", 1),
        ("{use: tower, stacks: 3}", "mlp", "mlp", None),
        ("{use: tower, stacks: 3}", "{use: mlp}", "mlp", None),  # options belong to their plugin
    ],
)
def test_extending_a_plugin(
    resolve: Resolve, tmp_path: Path, base: str, over: str, name: str, stacks: int | None
) -> None:
    (tmp_path / "base.yaml").write_text(SMALL + f"backbone: {base}\n")
    got = resolve(f"extends: base.yaml\nbackbone: {over}\n")
    assert got.backbone.name == name
    assert got.backbone.config.model_dump().get("stacks") == stacks


@pytest.mark.parametrize(
    ("base", "over", "weight"),
    [
        ("{weight: 4}", "off", None),
        ("{weight: 4}", "false", None),
        ("{weight: 4}", "null", None),
        ("{weight: 4}", "{weight: 0}", None),
        ("off", "on", 0.1),
        ("off", "{weight: 3}", 3.0),
        ("off", "true", 0.1),
        ("{weight: 4}", "on", 4.0),  # it is on already, with the options that the base gives it
        ("{weight: 0}", "on", 0.1),
        ("{weight: 4}", "{slack: 2}", 4.0),
    ],
)
def test_switching_a_term_over_what_is_extended(
    resolve: Resolve, tmp_path: Path, base: str, over: str, weight: float | None
) -> None:
    text = SMALL.replace("{synthetic: g", "{real: {use: cameras, root: /x}, synthetic: g").replace(
        ": 4}", ": 4, real: 1}"
    )
    text = text.replace("[labels]", "[labels, bone_length]")
    (tmp_path / "base.yaml").write_text(text + f"terms: {{bone-length: {base}}}\n")
    got = resolve(f"extends: base.yaml\nterms: {{bone_length: {over}}}\n")
    assert {t.name: t.weight for t in got.stages[0].terms}.get("bone_length") == weight


def test_extends_is_relative_to_the_file_that_says_it(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "lib" / "deep").mkdir(parents=True)
    (tmp_path / "lib" / "a.yaml").write_text("extends: deep/b.yaml\n")
    (tmp_path / "lib" / "deep" / "b.yaml").write_text(SMALL)
    assert resolve("extends: lib/a.yaml").stages[0].name == "pre"


def test_a_recipe_that_extends_itself_is_refused_with_the_circle(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: ./b.yaml\n")
    (tmp_path / "b.yaml").write_text("seed: 1\nextends: ../" + tmp_path.name + "/a.yaml\n")
    assert "mine.yaml:1:10: extends: the recipe extends itself: mine.yaml -> mine.yaml" in refusal("extends: mine.yaml")
    message = refusal("extends: a.yaml")
    assert "b.yaml:2:10: extends: the recipe extends itself: a.yaml -> b.yaml -> a.yaml" in message


def test_an_endless_chain_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    assert "a chain of more than 20 recipes" in refusal("extends: 0.yaml")


def test_errors_point_into_the_file_that_holds_them(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SMALL + "terms: {labels: {weight: -1}}\n")
    message = refusal("extends: base.yaml\nseed: 1.5\n")
    assert "base.yaml:3:26: terms.labels.weight: must be at least 0.0, got the number -1" in message
    assert "mine.yaml:2:7: seed: expected a whole number, got the number 1.5" in message


# ---------------------------------------------------------------------------------------------------------- files


def test_files_that_cannot_be_read(tmp_path: Path, host: PluginHost, refusal: Refusal) -> None:
    (tmp_path / "quickstart.yaml").write_text(SMALL)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    def said(path: Path) -> str:
        with pytest.raises(InvalidRecipe) as caught:
            load(path, host=host)
        return str(caught.value)

    assert "there is no such file\n  Did you mean 'quickstart.yaml'?" in said(tmp_path / "quikstart.yaml")
    assert "there is no such file" in said(tmp_path / "none" / "x.yaml")
    assert "is a folder, not a recipe" in said(tmp_path)
    assert "loop" in said(tmp_path / "loop")
    assert "cannot be read" in said(tmp_path / ("x" * 300))
    assert "NUL" in said(Path("a\0b"))
    assert "no regular file" in said(Path("/dev/null"))
    assert "mine.yaml:1:10: extends: " in refusal("extends: quick.yaml")
    assert "Did you mean 'quickstart.yaml'?" in refusal("extends: quickstrt.yaml")


def test_only_recipes_are_suggested_for_a_missing_file(tmp_path: Path, host: PluginHost) -> None:
    (tmp_path / ".pre-commit-config.yaml").write_text("repos: []\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\n")
    with pytest.raises(InvalidRecipe) as caught:
        load(tmp_path / "nope.yaml", host=host)
    assert "there is no such file" in str(caught.value)
    assert "pre-commit" not in str(caught.value)
    assert "mkdocs" not in str(caught.value)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "quickstart.yaml").write_text(SMALL)
    with pytest.raises(InvalidRecipe, match=r"Did you mean 'recipes/quickstart\.yaml'\?"):
        load(tmp_path / "quickstrt.yaml", host=host)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml: is empty"),
        ("# only words\n\n", "mine.yaml: is empty"),
        ("- 1", "a recipe is a mapping, and this is a list"),
        ("hello", "a recipe is a mapping, and this is the text 'hello'"),
        ("#" * 1_000_001, "larger than the limit of 1000 kB"),
        (b"name: \xe9", "not UTF-8"),
        ("extends: [a.yaml]", "expected the path of a recipe, got a list"),
        ("extends: ''", "expected the path of a recipe"),
        ("name: x", "stages: is missing (Training stages"),
        ("stages: {}", "stages: needs at least 1"),
    ],
)
def test_texts_that_are_no_recipe(refusal: Refusal, text: str | bytes, said: str) -> None:
    assert said in refusal(text)


# ----------------------------------------------------------------------------------------------------- environment


def test_variables_are_text_and_an_unset_one_is_noted(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPF_TEST_A", "/data/5")
    monkeypatch.delenv("HPF_TEST_B", raising=False)
    root = "${HPF_TEST_A}/${HPF_TEST_B:-x}/$${HPF_TEST_A}"
    got = resolve(SMALL.replace("data: {", f'data: {{real: {{use: cameras, root: "{root}"}}, '))
    assert got.real is not None
    assert got.real.config.model_dump() == {"root": "/data/5/x/${HPF_TEST_A}"}
    assert got.notes == ()
    text = SMALL.replace("data: {", 'data: {real: {use: cameras, root: "${HPF_TEST_B}"}, ')
    got = resolve(text)
    assert got.real is not None
    assert got.real.config.model_dump() == {"root": ""}
    assert len(got.notes) == 1
    assert got.notes[0].startswith("data.real.root: the environment variable HPF_TEST_B is not set (")
    assert got.notes[0].endswith("mine.yaml:1:35)")
    assert resolve(text, sets=["data.real.root=/x"]).notes == ()  # it is not used any more


def test_a_variable_stays_text_and_a_bad_reference_is_refused(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPF_TEST_A", "5")
    assert "seed: expected a whole number, got the text '5'" in refusal(SMALL + 'seed: "${HPF_TEST_A}"')
    assert "mine.yaml:3:7: name: '${' without an end" in refusal(SMALL + 'name: "${HPF"')
    monkeypatch.setenv("HPF_TEST_A", "x" * 20_000)
    assert "HPF_TEST_A makes the text enormous" in refusal(SMALL + 'name: "' + "${HPF_TEST_A}" * 9 + '"')
    monkeypatch.setenv("HPF_TEST_A", "\udcff")
    assert "HPF_TEST_A is not UTF-8" in refusal(SMALL + 'name: "${HPF_TEST_A}"')


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 100", "step: 100", "6:38: stages.pretrain.step: unknown key"),
        ("steps: 100", "step: 100", "Did you mean 'steps'?"),
        ("steps: 100", "step: 100", "6:3: stages.pretrain.steps: is missing (Optimiser steps)"),
        ("steps: 100", "steps: -5", "6:45: stages.pretrain.steps: must be at least 1, got the number -5"),
        ("steps: 100", "steps: 1e2", "Write 100."),
        ("steps: 100", "steps: 1_00", "Write 100 without quotes"),
        ("steps: 100", "steps: true", "expected a whole number, got true"),
        ("steps: 100", "steps: 100, warmup: 101", "6:13: stages.pretrain: warmup (101 steps) is longer than the stage"),
        ("steps: 100", "steps: 100, warmup: 60, cooldown: 50", "warmup and cooldown (60 and 50 steps) are longer than"),
        ("steps: 100", "steps: 100, ema: 1.0", "stages.pretrain.ema: must be less than 1"),
        ("steps: 100", "steps: 100, lr: .nan", ".nan is no number"),
        ("steps: 100", "steps: 100, lr: fast", "expected a number, got the text 'fast'"),
        ("steps: 100", "steps: 100, schedule: cosin", "Did you mean 'cosine'?"),
        ("synthetic: 128", "synthetic: 0", "stages.pretrain.draw: a step must draw something"),
        ("synthetic: 128", "synthetic: 2, real: 1.0", "Write 1."),
        ("real: 25", "real: 25, clip: 4", "a step draws whole clips: real (25) must be a multiple of clip (4)"),
        ("[labels]}\n  fit:", "[]}\n  fit:", "stages.pretrain.terms: needs at least 1 of them"),
        ("[labels]}\n  fit:", "labels}\n  fit:", "expected a list, got the text 'labels'"),
        ("[labels]}\n  fit:", "[labels, labels]}\n  fit:", "6:66: stages.pretrain.terms[1]: labels is listed twice"),
        ("[labels]}\n  fit:", "[lables]}\n  fit:", "6:58: stages.pretrain.terms[0]: There is no data term or prior"),
        ("[labels]}\n  fit:", "[lables]}\n  fit:", "Did you mean 'labels'?"),
        ("[labels]}\n  fit:", "[silhouette]}\n  fit:", "silhouette needs real images, and the stage draws none"),
        ("pretrain:", "../up:", "a stage's name has letters"),
        ("weight: 2.0", "wieght: 2.0", "14:16: terms.silhouette.wieght: unknown option"),
        (
            "weight: 2.0",
            "wieght: 2.0",
            "Did you mean 'weight'? Options of silhouette (plugin of toys 1.2): use, weight",
        ),
        ("weight: 2.0", "weight: heavy", "terms.silhouette.weight: expected a number, got the text 'heavy'"),
        ("{weight: 2.0}", "7", "expected on, off, or a mapping"),
        ("{weight: 2.0}", "of", "There is no data term or prior 'of'"),
        ("slack: 32", "slack: soft", "15:38: terms.bone_length.slack: expected a whole number, got the text 'soft'"),
        ("stacks: 2", "stack: 2", "1:24: backbone.stack: unknown option"),
        ("stacks: 2", "stack: 2", "Did you mean 'stacks'? Options of tower (plugin of toys 1.2): "),
        ("stacks: 2", "widths: [1, x]", "1:36: backbone.widths[1]: expected a whole number, got the text 'x'"),
        ("stacks: 2", "noise: {sigma: 1}", "1:32: backbone.noise.sigma: unknown option"),
        (
            "stacks: 2",
            "noise: {sigma: 1}",
            "Did you mean 'sigma_mm'? Options of noise of tower (plugin of toys 1.2): kind, sigma_mm.",
        ),
        ("stacks: 2", "noise: {sigma_mm: 0}", "backbone.noise.sigma_mm: must be greater than 0.0, got the number 0"),
        ("stacks: 2", "noise: {kind: gaus}", "expected 'gauss' or 'uniform', got the text 'gaus'"),
        ("stacks: 2", "noise: 3", "backbone.noise: expected a mapping, got the number 3"),
        ("stacks: 2", "label: red", "backbone.label: red is not a label that a tower can have"),
        ("stacks: 2", "label: explode", "failed with KeyError"),
        ("use: tower", "use: towr", "1:17: backbone: There is no backbone 'towr'. Did you mean 'tower'?"),
        ("use: tower", "use: 3", "1:17: backbone.use: expected text, got the number 3"),
        ("{use: tower, stacks: 2}", "[tower]", "backbone: expected the name of a plugin, or a mapping"),
        ("{use: tower, stacks: 2}", "diary", "There is no backbone 'diary': it is a observer"),
        ("root: /somewhere", "rot: x", "data.real.root: is missing (Folder of the dataset)"),
        ("root: /somewhere", "root: 5", "data.real.root: expected text, got the number 5"),
        ("use: cameras, ", "", "3:3: data.real.use: is missing"),
        ("synthetic: generator", "synthetc: generator", "4:3: data.synthetc: unknown key"),
        ("synthetic: generator", "", "draws 128 synthetic samples a step, but the recipe has no data.synthetic"),
        ("real: {use: cameras, root: /somewhere}", "", "8:18: stages.fit.draw.real: draws 25 real frames a step"),
        ("real: {use: cameras, root: /somewhere}", "", "evaluate: the recipe has no data.real to measure on"),
        ("evaluate: {}", "evaluate: {batch: 0}", "evaluate.batch: must be at least 1"),
        ("evaluate: {}", "evaluate: {refiners: [smoth]}", "evaluate.refiners[0]: There is no refiner 'smoth'"),
        ("evaluate: {}", "grid: {size: 60}", "grid.size: must be a multiple of 16, got the number 60"),
        ("evaluate: {}", "seed: -1", "seed: must be at least 0"),
        ("evaluate: {}", "init: weights.safetensors", "16:7: init: there is no file "),
        ("evaluate: {}", "name: a/b", "a name is one line without '/'"),
        ("evaluate: {}", "term: {}", "16:1: term: unknown key"),
        ("evaluate: {}", "term: {}", "Did you mean 'terms'?"),
        ("control_of: fit", "control_of: fitt", "12:29: stages.fit_control.control_of: there is no stage 'fitt'"),
        ("control_of: fit", "control_of: fit_control", "a stage cannot be a control of itself"),
        ("lr: 5e-4", "control_of: pretrain", "stage fit is a control itself"),
        ("steps: 100", "steps: 100, control_of: fit", "stage fit comes after its control pretrain"),
        ("terms: [labels]}\nterms:", "steps: 5}\nterms:", "12:3: stages.fit_control.terms: is missing"),
    ],
)
def test_what_is_wrong_is_said_in_words_at_its_place(
    refusal: Refusal, recipe: str, old: str, new: str, said: str
) -> None:
    assert old in recipe
    message = refusal(recipe.replace(old, new, 1))
    assert said in message
    assert "pydantic" not in message


def test_an_error_shows_the_line_and_a_caret(refusal: Refusal, recipe: str) -> None:
    assert refusal(recipe.replace("weight: 2.0", "wieght: 2.0")).splitlines() == [
        "mine.yaml:14:16: terms.silhouette.wieght: unknown option",
        "    14 |   silhouette: {wieght: 2.0}",
        "                        ^",
        "  Did you mean 'weight'? Options of silhouette (plugin of toys 1.2): use, weight.",
    ]


def test_all_that_is_wrong_is_said_at_once_up_to_ten(refusal: Refusal, recipe: str) -> None:
    message = refusal(recipe.replace("stacks: 2", "stack: 2").replace("slack: 32", "slak: 32"))
    assert "backbone.stack:" in message
    assert "terms.bone_length.slak:" in message
    many = refusal(recipe + "".join(f"x{i}: 1\n" for i in range(14)))
    assert many.count("unknown key") == 10
    assert many.endswith("... and 4 more of these.")


def test_long_values_and_keys_are_cut(refusal: Refusal, recipe: str) -> None:
    for text in (recipe + "seed: " + "x" * 5000, recipe + "x" * 900 + ": 1"):
        assert max(map(len, refusal(text).splitlines())) < 260


def test_colours_and_controls_in_a_value_are_escaped(refusal: Refusal, recipe: str) -> None:
    assert "\x1b" not in refusal(recipe + 'seed: "\\e[31mred"')


def test_problems_know_their_place() -> None:
    assert Problem("is odd", "a.b").where == ""
    assert str(Problem("is odd", "a.b")) == "a.b: is odd"


def test_an_enormous_recipe_of_expanded_aliases_is_judged_quickly(refusal: Refusal) -> None:
    text = SMALL + "a: &a [" + "1," * 900 + "]\nb: [" + "*a," * 100 + "]\n"
    assert "unknown key" in refusal(text)


# ------------------------------------------------------------------------------------------------ terms and stages


@pytest.mark.parametrize("off", ["off", "'off'", "OFF", "false", "null", "", "{weight: 0}", "{weight: 0.0, slack: 1}"])
def test_off_wins_over_a_stages_list(resolve: Resolve, recipe: str, off: str) -> None:
    got = resolve(recipe.replace("{weight: 1e-2, slack: 32}", off))
    assert [term.name for term in got.stages[1].terms] == ["labels", "silhouette", "agreement"]
    assert resolve(got.to_yaml()) == got


def test_a_term_that_is_off_needs_no_working_plugin_but_a_misspelt_one_is_refused(
    resolve: Resolve, refusal: Refusal, recipe: str
) -> None:
    text = recipe.replace("bone-length]", "bone-length, broken]").replace("terms:\n", "terms:\n  broken: off\n")
    got = resolve(text)
    assert "broken" not in got.document()["terms"]
    assert resolve(got.to_yaml()) == got
    message = refusal(recipe.replace("terms:\n", "terms:\n  silhouete: off\n"))
    assert "14:3: terms.silhouete: 'silhouete' is disabled, but no such term exists" in message
    assert "Did you mean 'silhouette'?" in message


def test_a_term_in_no_list_is_noted(resolve: Resolve) -> None:
    assert resolve(SMALL + "terms: {bone-length: {weight: 3}}\n").notes == (
        "terms.bone_length: is in no stage's list and does nothing",
    )


def test_a_plugin_under_two_names_and_an_alias(resolve: Resolve, recipe: str) -> None:
    text = recipe.replace("bone-length]", "bone-length, strict, mean_agreement]")
    got = resolve(text.replace("terms:\n", "terms:\n  strict: {use: bone_length, slack: 0}\n", 1))
    terms = {term.name: term for term in got.stages[1].terms}
    assert terms["strict"].spec is terms["bone_length"].spec
    assert terms["strict"].weight == 0.1
    assert terms["mean_agreement"].config.model_dump() == {"average": "mean"}
    assert terms["mean_agreement"].spec.name == "agreement"
    assert resolve(got.to_yaml()) == got


def test_what_a_backbone_does_not_provide(refusal: Refusal, resolve: Resolve) -> None:
    text = SMALL.replace("[labels]", "[labels, sharpness]")
    assert resolve(text + "backbone: tower\n").stages[0].terms[1].name == "sharpness"
    message = refusal(text + "backbone: mlp\n")
    assert "2:65: stages.pre.terms[1]: sharpness needs 'heatmaps', which the backbone mlp does not provide" in message


def test_a_control_draws_real_frames_only_if_its_terms_can_see_them(resolve: Resolve, recipe: str) -> None:
    assert [stage.draw_real for stage in resolve(recipe).stages] == [0, 25, 0]
    without_agreement = recipe.replace("fit, terms: [labels]", "fit, terms: [labels, silhouette]")
    assert resolve(without_agreement).stages[2].draw_real == 25
    stated = recipe.replace("control_of: fit,", "control_of: fit, draw: {real: 25},")
    assert (resolve(stated).stages[2].draw_real, resolve(stated).stages[2].draw_synthetic) == (25, 48)
    stated = recipe.replace("control_of: fit, terms: [labels]", "control_of: fit, draw: {}, terms: [labels, sharpness]")
    assert (resolve(stated).stages[2].draw_real, resolve(stated).stages[2].draw_synthetic) == (0, 48)


def test_init_is_found_from_the_recipe_and_kept_as_an_absolute_path(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"")
    got = resolve(SMALL + "init: w.safetensors\n")
    assert got.recipe.init == str(tmp_path / "w.safetensors")
    assert resolve(SMALL + "init: shipped\n").recipe.init == "shipped"


def test_a_strange_file_name_still_gives_a_name(tmp_path: Path, host: PluginHost) -> None:
    path = tmp_path / "a\nb\x1b.yaml"
    path.write_text(SMALL)
    assert load(path, host=host).recipe.name == "a_b_"
