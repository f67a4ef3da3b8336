"""The recipes that ship: each resolves, differs from its base in what it says alone, and makes a step of each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hpf_core.engine.train import StageTrainer, read
from hpf_core.errors import PluginError
from hpf_core.inference.build import build_parts
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved, load
from hpf_core.simulation.simulate import CaptureConfig, simulate

RECIPES = Path(__file__).parents[2] / "recipes"
ALL = sorted(RECIPES.rglob("*.yaml"))
ROWS = sorted((RECIPES / "rows").glob("*.yaml"))

TERMS = ("supervised", "m2d", "d2m", "multiview", "vae", "bone_length", "collision")
_FIT_ONLY = {"stages.fit": "off", "stages.control": "off"}
_NO_NOISE = {
    f"data.synthetic.noise.{name}": value
    for name, value in {
        "baseline_mm": 0.0, "grazing_deg": 90.0, "flying": 0.0, "shift_px": 0.0, "depth_mm": 0.0, "step_per_mm": 0.0,
        "blobs": 0.0,
    }.items()
}  # fmt: skip
_OWN_VIEW = {"terms.m2d.cross_view": False, "terms.d2m.cross_view": False}
_SHARED_CONTROL = {"stages.control": "off"}

DIFFERS: dict[str, dict[str, Any]] = {
    "full": {},
    "synth": {**_FIT_ONLY, **_NO_NOISE},
    "synth_noise": _FIT_ONLY,
    "synth_on_synth": {
        **_FIT_ONLY, **_NO_NOISE, "data.real": None, "evaluate.data": "synthetic", "evaluate.limit": 20000,
    },
    "single_view": {**_SHARED_CONTROL, **_OWN_VIEW, "terms.multiview": "off"},
    "half_multiview": {**_SHARED_CONTROL, "data.real.multi_view_share": 0.5},
    "half_multi_half_single": {
        **_SHARED_CONTROL, "data.real.multi_view_share": 0.5, "data.real.single_view_share": 0.5,
    },
    "no_vae": {**_SHARED_CONTROL, "terms.vae": "off"},
    "no_bone_length": {**_SHARED_CONTROL, "terms.bone_length": "off"},
    "no_collision": {**_SHARED_CONTROL, "terms.collision": "off"},
    "train_on_test": {**_SHARED_CONTROL, "data.real.train_on": ["test"]},
    "train_on_train_and_test": {**_SHARED_CONTROL, "data.real.train_on": ["train", "test"]},
    "stack_2": {"backbone.stacks": 2},
    "multiview_mean": {**_SHARED_CONTROL, "terms.multiview.average": "mean"},
    "multiview_least_variance": {**_SHARED_CONTROL, "terms.multiview.average": "least_variance"},
    "coordinates": {"terms.supervised.on": "points", "terms.supervised.points_weight": 1000.0},
    "no_m2d": {**_SHARED_CONTROL, "terms.m2d": "off"},
    "no_d2m": {**_SHARED_CONTROL, "terms.d2m": "off"},
    "no_multiview": {**_SHARED_CONTROL, "terms.multiview": "off"},
    "no_cross_view": {**_SHARED_CONTROL, **_OWN_VIEW},
}  # fmt: skip
"""Of each row, the options of the resolved recipe in which it differs from paper.yaml, its name apart."""


@pytest.fixture(autouse=True)
def _dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPF_NYU_ROOT", "/nowhere")


def document(resolved: Resolved) -> dict[str, Any]:
    """Each option by its path; a stage that isn't there, and a term that is off, is "off"."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, child in value.items():
                walk(child, f"{path}.{key}".lstrip("."))
        else:
            found[path] = value

    whole = resolved.document()
    whole["stages"] = {"pretrain": "off", "fit": "off", "control": "off"} | whole["stages"]
    used = {term.name: whole["terms"][term.name] for stage in resolved.stages for term in stage.terms}
    whole["terms"] = {name: used.get(name, "off") for name in TERMS}
    for stage in whole["stages"].values():
        if stage != "off":
            stage["terms"] = None  # `off` takes a term out of the list as well
    del whole["name"], whole["versions"]
    walk(whole, "")
    return found


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_it_resolves(path: Path, host: PluginHost, tmp_path: Path) -> None:
    got = load(path, host=host)
    assert got.recipe.name == path.stem
    assert got.notes == ()
    saved = tmp_path / "saved.yaml"
    saved.write_text(got.to_yaml())
    assert load(saved, host=host) == got


def test_no_row_is_forgotten() -> None:
    assert [path.stem for path in ROWS] == sorted(DIFFERS)


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_row_changes_what_it_says_and_nothing_else(path: Path, host: PluginHost) -> None:
    base, row = document(load(RECIPES / "paper.yaml", host=host)), document(load(path, host=host))
    wanted = DIFFERS[path.stem]
    # Where a whole part is off, what it said is gone.
    gone = tuple(f"{part}." for part, value in wanted.items() if value in ("off", None))
    idle = tuple(f"terms.{name}" for name in TERMS[1:])
    if "stages.fit" in wanted:
        gone += tuple(f"{part}." for part in idle)
    changed = {name: value for name, value in row.items() if base.get(name, "missing") != value}
    if "stages.fit" in wanted:
        assert {changed.pop(part) for part in idle} == {"off"}
    assert changed == wanted
    assert {name for name in base if name not in row} == {name for name in base if name.startswith(gone)}
    head = path.read_text().splitlines()[0]
    assert head.startswith(("# Table ", "# Described in Sec. ", "# In no table: "))


# ------------------------------------------------------------------------------------------------- a step of each stage


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, host: PluginHost) -> Path:
    """A small simulated capture in NYU's raw layout."""
    root = tmp_path_factory.mktemp("captures") / "nyu"
    spec = host.get("hand", "spheres41").spec
    simulate(root, spec.factory(spec.config(), None), CaptureConfig(train=4, validation=1, test=2))  # type: ignore[arg-type]
    return root


_SMALL = [
    "grid.size=32", "backbone.width=8", "backbone.stem=8", "backbone.depth=1", "terms.vae.steps=10",
    "terms.vae.batch=16", "terms.vae.width=16", "terms.vae.latent=4",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::hpf_plugins.data_terms.multiview.TooFewViewsWarning")
@pytest.mark.parametrize("path", [RECIPES / "official.yaml", *ROWS], ids=lambda path: path.stem)
def test_a_step_of_each_stage(
    path: Path, host: PluginHost, capture: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPF_NYU_ROOT", str(capture))
    there = load(path, host=host)
    sets = [s for s in _SMALL if "vae" not in s or there.document()["terms"].get("vae") not in (None, "off")]
    for stage in there.stages:
        if stage.control_of is None:
            real = ", real: 2" if stage.draw_real else ""
            sets += [f"stages.{stage.name}.draw={{synthetic: 2{real}}}", f"stages.{stage.name}.steps=4"]
        else:
            sets.append(f"stages.{stage.name}.draw={{synthetic: 2}}")
    if path.stem == "official":
        sets += ["stages.fit.cycle=2", "stages.control.cycle=2", "evaluate.refiners[0].steps=10"]
        spans = {name: [0, 1] if "cross" in name or name == "multiview" else [1, 2] for name in there.stages[1].during}
        sets += [f"stages.fit.during={spans}"]
    resolved = load(path, host=host, sets=sets)
    parts = build_parts(resolved, cache)
    parts.prepare()
    for plan in resolved.stages:
        trainer = StageTrainer(parts, plan, 0, "cpu")
        before = [p.detach().clone() for p in parts.backbone.parameters()]
        for step in (0, 1) if plan.during else (0,):
            row = read(trainer.step(step), trainer.energy.names, trainer.energy.weight, 1.0)
            raw = row["raw"]
            assert isinstance(raw, dict)
            counts = plan.counts(step) or [True] * len(plan.terms)
            assert list(raw) == [term.name for term, now in zip(plan.terms, counts, strict=True) if now]
            assert all(value >= 0 for value in raw.values())
            # A collision may be 0, and so may the median of frames that have one view.
            assert {name for name, value in raw.items() if value == 0} <= {"collision", "multiview"}
        trainer.check_finite(0)
        assert not all(torch.equal(a, b) for a, b in zip(before, parts.backbone.parameters(), strict=True))


def test_the_official_cycle_is_an_epoch_in_two_parts(host: PluginHost) -> None:
    """1,500 steps across views, 1,410 within them; what both parts hold a view against is otherwise the same."""
    fit = next(stage for stage in load(RECIPES / "official.yaml", host=host).stages if stage.name == "fit")
    assert fit.cycle == 72757 // 25
    assert fit.steps == 75 * fit.cycle
    for epoch in (0, 74):
        on = [
            {term.name for term, now in zip(fit.terms, fit.counts(epoch * 2910 + step) or (), strict=True) if now}
            for step in (0, 1499, 1500, 2909)
        ]
        always = {"supervised", "vae", "bone_length", "collision", "heatmap_magnitude"}
        assert on[0] == on[1] == always | {"m2d_cross", "d2m_cross", "multiview"}
        assert on[2] == on[3] == always | {"m2d", "d2m"}
    terms = {term.name: term for term in fit.terms}
    for name in ("m2d", "d2m"):
        one, other = terms[name], terms[f"{name}_cross"]
        assert one.weight == other.weight
        assert one.config.model_dump() | {"cross_view": True} == other.config.model_dump()


def test_the_official_network_needs_its_tolerance(host: PluginHost, cache: Path) -> None:
    sets = ("data.real=null", "backbone.tolerance_mm=1", "evaluate.data=synthetic")
    resolved = load(RECIPES / "official.yaml", host=host, sets=sets, stages=["pretrain"])
    with pytest.raises(PluginError, match=r"an ideal label is read back up to 5\d\.\d mm off"):
        build_parts(resolved, cache)
