"""Which rows there are, what each of them runs, and what two have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpf_core.ablation.paper import FIGURES, published_rows
from hpf_core.ablation.plan import Job, Plan, read, shard
from hpf_core.ablation.scale import scaled
from hpf_core.ablation.shared import pretraining
from hpf_core.ablation.variants import Variant, choose, resolve, variants_of
from hpf_core.errors import InputError, RecipeError
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved

RECIPES = Path(__file__).parents[3] / "recipes"
Resolve = Callable[..., Resolved]


@pytest.fixture
def row(base: Path, host: PluginHost) -> Resolve:
    """A row resolved on the tiny recipe."""

    def made(name: str, seed: int = 0, scale: float = 1.0, sets: tuple[str, ...] = ()) -> Resolved:
        (chosen,) = choose(base, [name])
        return resolve(chosen, base, seed=seed, sets=sets, scale=scale, host=host)

    return made


def terms(resolved: Resolved) -> list[list[str]]:
    return [[term.name for term in stage.terms] for stage in resolved.stages]


def test_all_is_the_base_and_its_folder_those_of_the_paper_first(base: Path) -> None:
    assert [r.name for r in choose(base, ["all"])] == ["full", "misspelt", "no_m2d", "no_split", "synth_noise"]
    assert [r.name for r in choose(base, ["all"], ["synth_noise", "absent"])][:3] == ["full", "synth_noise", "misspelt"]
    assert choose(base, ["no-m2d", "no_m2d", "full"]) == (
        Variant("no_m2d", base.parent / "rows/no_m2d.yaml"),
        Variant("full"),
    )


def test_a_row_may_be_any_file_and_full_a_file_of_its_own(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "my-row.yaml"
    other.write_text("terms: {m2d: {weight: 2}}\n")
    assert choose(base, [str(other)]) == (Variant("my_row", other),)
    (base.parent / "rows" / "full.yaml").write_text("name: full\n")
    assert choose(base, ["full"]) == (Variant("full", base.parent / "rows/full.yaml"),)
    (tmp_path / "no_m2d.yaml").write_text("")
    with pytest.raises(InputError, match="two rows are called 'no_m2d'"):
        choose(base, ["no_m2d", str(tmp_path / "no_m2d.yaml")])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_m2", "no row 'no_m2'. Did you mean 'no_m2d'?"),
        ("without:", "names no term"),
        ("rows/no_m3d.yaml", "no row's file rows/no_m3d.yaml. Did you mean 'no_m2d'?"),
    ],
)
def test_an_unknown_row_gives_the_nearest(base: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        choose(base, [name])
    assert said in str(caught.value)


def test_terms_are_left_out_and_added_on_the_fly(row: Resolve, base: Path) -> None:
    assert terms(row("without:m2d"))[1] == ["supervised", "bone_length"]
    assert terms(row("with:collision"))[1] == ["supervised", "m2d", "bone_length", "collision"]
    assert terms(row("with:collision"))[2] == ["supervised"], "a control keeps its terms"
    # A base that lacks the term is the row without it, so that with and without can be held against each other.
    assert terms(row("without:collision")) == terms(row("full"))
    assert row("without:bone-length").recipe.name == "without:bone_length"
    for name, said in (("with:colision", "Did you mean 'collision'"), ("without:m2", "has no such term")):
        with pytest.raises(RecipeError, match=said):
            row(name)


def test_scale_shortens_all_that_is_trained(row: Resolve) -> None:
    sets = (
        "stages.pretrain.steps=1000",
        "stages.pretrain.warmup=110",
        "stages.pretrain.cooldown=200",
        "terms.vae={steps: 2000}",
        "log.every=50",
    )
    got = row("with:vae", scale=0.01, sets=sets)
    assert [(s.steps, s.warmup, s.cooldown) for s in got.stages] == [(10, 1, 2), (1, 0, 0), (1, 0, 0)]
    assert [t.config.steps for t in got.stages[1].terms if t.name == "vae"] == [20]
    assert (got.recipe.log.every, got.recipe.log.checkpoint_every) == (1, 1)
    assert row("full", scale=1.0).recipe.stages == row("full").recipe.stages


@pytest.mark.parametrize("scale", [0.3, 0.01, 1e-3, 1e-5])
def test_cycles_shrink_along_so_that_a_short_stage_sees_every_term_for_its_share(scale: float) -> None:
    during = {"crossed": [0, 1500], "alone": [1500, 2910], "late": [2900, 2910], "early": [0, 10]}
    stage = {"steps": 218250, "warmup": 0, "cycle": 2910, "during": during}
    document = {"stages": {"fit": stage}, "terms": {}, "log": {}}
    before = copy.deepcopy(document)
    short = scaled(document, scale)["stages"]["fit"]
    assert document == before
    cycle, spans = short["cycle"], short["during"]
    assert cycle == max(2, round(2910 * scale)) <= short["steps"]
    assert spans["crossed"][1] == spans["alone"][0]  # as before, one follows on the other
    assert (spans["crossed"][0], spans["alone"][1]) == (0, cycle)
    assert spans["crossed"][1] / cycle == pytest.approx(1500 / 2910, abs=0.5 / cycle)
    assert all(0 <= first < end <= cycle for first, end in spans.values())
    if scale == 0.3:
        assert (cycle, spans) == (873, {"crossed": [0, 450], "alone": [450, 873], "late": [870, 873], "early": [0, 3]})


def test_pretraining_is_shared_by_all_that_is_the_same(row: Resolve, host: PluginHost) -> None:
    def key(name: str, **rest: Any) -> str:
        part = pretraining(row(name, **rest), host)
        assert part is not None
        assert part.stages == ("pretrain",)
        return part.key

    same = key("full")
    assert key("no_m2d") == key("synth_noise") == key("with:collision") == same
    assert key("full", sets=("data.real.train=5", "log.every=7", "stages.fit.steps=9", "evaluate=null")) == same
    others = [key("full", seed=1), key("full", scale=0.5)]
    for text in (
        *("grid.size=48", "backbone.stacks=2", "data.synthetic.cone_deg=50", "data.synthetic.noise=off"),
        *("stages.pretrain.lr=1e-2", "terms.supervised.weight=0.4", "renderer.radii=measured"),
    ):
        others.append(key("full", sets=(text,)))
    assert len({same, *others}) == len(others) + 1


def test_pretraining_depends_on_what_the_weights_to_start_from_hold(
    row: Resolve, host: PluginHost, tmp_path: Path
) -> None:
    keys = []
    for content in (b"one", b"two"):
        (tmp_path / "start.safetensors").write_bytes(content)
        part = pretraining(row("full", sets=(f"init={tmp_path}/start.safetensors",)), host)
        assert part is not None
        keys.append(part.key)
    assert keys[0] != keys[1]
    assert pretraining(row("full", sets=("stages.pretrain=off",)), host) is None


def test_shards_part_the_runs(planned: Callable[..., Plan]) -> None:
    plan = planned("full", "no_m2d", "synth_noise", seeds=2)
    jobs = plan.jobs()
    assert [str(job) for job in jobs[:4]] == ["full, seed 0", "no_m2d, seed 0", "synth_noise, seed 0", "full, seed 1"]
    parts = [shard(jobs, number, 4) for number in (1, 2, 3, 4)]
    assert sorted(map(str, [job for part in parts for job in part])) == sorted(map(str, jobs))
    assert [len(part) for part in parts] == [2, 2, 1, 1]
    for number, of in ((0, 2), (3, 2)):
        with pytest.raises(InputError, match=f"--shard {number}/{of}"):
            shard(jobs, number, of)


def test_a_folder_holds_one_ablation_that_may_grow(planned: Callable[..., Plan], tmp_path: Path) -> None:
    planned("full", "without:m2d")
    assert [r.name for r in planned("no_m2d", seeds=2).variants] == ["full", "without:m2d", "no_m2d"]
    plan = read(tmp_path / "out")
    assert plan == planned("full")
    assert plan.seeds == (0, 1)
    assert plan.run_folder(Job(plan.variants[1], 1)) == tmp_path / "out/runs/without-m2d/seed-1"
    with pytest.raises(InputError, match="another scale"):
        planned("full", scale=0.5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("")
    with pytest.raises(InputError, match="isn't empty and is no folder of an ablation"):
        planned("full", out="mine")
    (tmp_path / "out" / "ablation.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        read(tmp_path / "out")


def test_a_short_look_at_the_authors_recipe_holds_views_against_each_other_for_as_large_a_share(
    host: PluginHost,
) -> None:
    base = RECIPES / "official.yaml"
    (full,) = choose(base, ["full"], published_rows())
    sets = ("data.real.use=simulated", "data.real.train=10")
    fit = next(s for s in resolve(full, base, seed=1, sets=sets, scale=0.001, host=host).stages if s.name == "fit")
    counted = np.array([fit.counts(step) for step in range(fit.steps)]).mean(axis=0)
    share = dict(zip((term.name for term in fit.terms), counted, strict=True))
    assert fit.steps == 218
    assert share["m2d_cross"] == share["d2m_cross"] == pytest.approx(0.515, abs=0.16)
    assert share["m2d"] == share["d2m"] == pytest.approx(1 - share["m2d_cross"])
    assert share["vae"] == 1


def test_the_rows_that_come_with_hpf_run_on_the_paper_and_are_in_its_figures(host: PluginHost) -> None:
    base = RECIPES / "paper.yaml"
    sets = ("data.real.use=simulated", "data.real.train=10")
    for chosen in choose(base, ["all"], published_rows()):
        resolved = resolve(chosen, base, seed=1, sets=sets, scale=0.01, host=host)
        assert resolved.recipe.name == chosen.name
        part = pretraining(resolved, host)
        assert part is not None
        assert part.stages == ("pretrain",), chosen.name
    drawn = {name for figure in FIGURES for name in figure.rows}
    assert drawn <= {"full", *variants_of(base)}
    assert drawn <= published_rows().keys()
