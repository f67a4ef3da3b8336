"""The table of speeds: what is timed in turn, the plain way that it is held against, and that every row is there."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import reference
import torch

import hpf_cli
from hpf_core.bench import Bench, Timing, alternate, dense, prediction, scenes
from hpf_core.bench.alternate import Work
from hpf_core.errors import InputError
from hpf_core.files.cache import cache_folder
from hpf_core.grid import Grid
from hpf_core.inference.build import build_parts, load_init
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load

CPU = torch.device("cpu")

FIT = """
backbone: {use: hourglass, width: 16, stem: 8, depth: 1}
data:
  real: {use: simulated, train: 3, validation: 1, test: 1}
  synthetic: {use: synthetic}
stages:
  pretrain: {draw: {synthetic: 2}, steps: 50, terms: [supervised]}
  fit: {draw: {real: 2, synthetic: 2}, steps: 50, terms: [supervised, m2d, d2m, collision]}
evaluate: null
"""

PREDICT = """
backbone: {use: hourglass, width: 16, stem: 8, depth: 1}
data: {synthetic: {use: synthetic}}
stages: {none: {draw: {synthetic: 1}, steps: 1, terms: [supervised]}}
evaluate: null
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """On tiny networks and few maps."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPF_CACHE_DIR", str(folder / "cache"))
        host = PluginHost.load()
        recipes = []
        for name, text in (("fit", FIT), ("predict", PREDICT)):
            (folder / f"{name}.yaml").write_text(text)
            recipes.append(load(folder / f"{name}.yaml", host=host))
        yield Bench(*recipes, alternations=2)


@pytest.fixture
def small(monkeypatch) -> None:
    """Few maps, each piece of work done once, and no real time in what comes out: ours takes 2 ms, the other 8."""
    for module in (scenes, prediction):
        monkeypatch.setattr(module, "BATCH", 4)

    def compare(self: Bench, baseline: Work, ours: Work) -> Timing:
        baseline()
        ours()
        return Timing(8.0, 2.0, (7.0, 10.0), (1.0, 4.0), 4.0, (2.0, 5.0))

    monkeypatch.setattr(Bench, "compare", compare)


class Clock:
    """A clock that work turns forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.log = 0.0, ""
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, name: str, *seconds: float):
        """Takes one after another of these times, again and again."""
        times = iter(())

        def run() -> None:
            nonlocal times
            took = next(times, None)
            if took is None:
                times = iter(seconds)
                took = next(times)
            self.now += took
            self.log += name

        return run


def test_both_sides_are_timed_in_turn_and_medians_taken(monkeypatch):
    clock = Clock(monkeypatch)
    found = alternate(clock.work("a", 4.0), clock.work("b", 1.0, 2.0, 1.0, 2.0), 4, CPU)
    assert clock.log == "aabb" + "ab" + "ba" + "ab" + "ba"
    assert (found.baseline, found.ours, *found.baseline_spread) == pytest.approx((4000.0, 1500.0, 4000.0, 4000.0))
    assert found.ours_spread == pytest.approx((1000.0, 2000.0))
    assert found.faster == pytest.approx(3.0)
    assert found.faster_spread == pytest.approx((2.0, 4.0))


def test_what_is_quick_is_repeated(monkeypatch):
    clock = Clock(monkeypatch)
    found = alternate(clock.work("a", 0.004), clock.work("b", 1.0), 1, CPU)
    assert clock.log == "aa" + "bb" + 5 * "a" + "b"
    assert found.baseline == pytest.approx(4.0)


def test_the_dense_way_is_the_equations():
    rng = np.random.default_rng(0)
    points, queries = rng.uniform(-60, 60, (2, 5, 3)), rng.uniform(-80, 80, (2, 7, 3))
    radii, grid = [24.0, 20.0, 15.0, 11.0, 8.0], Grid(size=16)
    tensors = torch.from_numpy(points), torch.tensor(radii, dtype=torch.float64)
    maps, distances = dense.depth(*tensors, grid), dense.distance(*tensors, torch.from_numpy(queries))
    for n in range(2):
        np.testing.assert_allclose(maps[n], reference.render(points[n], radii, 16)[0], atol=1e-10)
        expected = [reference.surface_distance(query, points[n], radii)[0] for query in queries[n]]
        np.testing.assert_allclose(distances[n], expected, atol=1e-10)


def test_what_is_kept_is_counted_once():
    values = torch.ones(2**18, requires_grad=True)  # 1 MiB
    assert dense.kept_mib(lambda: values * 2) == 0
    assert dense.kept_mib(lambda: values.square()) == pytest.approx(1.0)
    assert dense.kept_mib(lambda: values.square() + values.exp()) == pytest.approx(2.0)


def test_places_on_the_surface_are_near_it():
    points, radii = torch.zeros(1, 1, 3), torch.tensor([20.0])
    places = scenes.surface_points(points, radii, 1000)
    off = places.norm(dim=-1) - 20
    assert float(off.abs().mean()) == pytest.approx(4 * math.sqrt(2 / math.pi), rel=0.1)


def test_every_row_is_measured(bench, small):
    """On tiny networks: each side of each row works, and figures and quartiles are of what the row says."""
    rows = {row.name: row for row in bench.rows()}
    assert list(rows) == [
        "render_64", "render_128", "distance_64", "step_overhead", "synthesis_share", "feeding_share", "prepare_ms",
        "predict_ms", "predict_either_ms", "track_ms", "predict_batched",
    ]  # fmt: skip
    for name in ("render_64", "render_128", "distance_64"):
        row = rows.pop(name)
        assert (row.unit, row.ratio_is, row.ratio, row.ratio_spread) == ("ms", "baseline / ours", 4.0, (2.0, 5.0))
        assert row.kept_mib is not None
        theirs, ours = row.kept_mib
        assert 0 < ours < 0.1 * theirs
    batched = rows.pop("predict_batched")
    assert (batched.unit, batched.baseline, batched.ours, batched.ratio) == ("maps/s", 500.0, 2000.0, 4.0)
    assert (batched.baseline_spread, batched.ours_spread) == ((400.0, 4000 / 7), (1000.0, 4000.0))
    for row in rows.values():
        assert (row.unit, row.ratio_is, row.ratio, row.ratio_spread) == ("ms", "ours / baseline", 0.25, (0.2, 0.5))
        assert (row.baseline, row.ours, row.kept_mib) == (8.0, 2.0, None)


def test_steps_are_computed_as_the_recipe_s_runtime_says(bench, small, monkeypatch, tmp_path: Path):
    """In its precision and compiled, the bare network as well: the compiler is stood in for."""
    compiled = []

    def compile(function, **options):
        def run(*args, **kwargs):
            compiled.append(function.__name__)
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    path = tmp_path / "fit.yaml"
    path.write_text(FIT + "runtime: {precision: bf16, compile: true}\n")
    made = Bench(load(path, host=PluginHost.load()), bench._predict, alternations=2)
    made.rows(["step_overhead"])
    assert compiled == ["_estimate", "_estimate", "_judge"]
    dtypes = []
    made.fit.backbone.register_forward_hook(lambda *_: dtypes.append(torch.get_autocast_dtype("cpu")))
    made.training.bare_step()
    assert dtypes == [torch.bfloat16]


def test_some_rows_come_in_the_tables_order(bench, small):
    assert [row.name for row in bench.rows(["predict_ms", "render_64"])] == ["render_64", "predict_ms"]


def test_an_unknown_row_and_a_missing_device_are_refused(bench):
    with pytest.raises(InputError, match=r"--only render_46: there is no such row. Did you mean 'render_64'"):
        bench.rows(["render_64", "render_46"])
    with pytest.raises(InputError, match="device 'tpu-pod'"):
        Bench(bench._fit, bench._predict, device="tpu-pod")


def test_a_recipe_without_its_stages_is_refused(bench, tmp_path: Path):
    with pytest.raises(InputError, match="lacks a stage 'pretrain'; it has none"):
        Bench(bench._predict, bench._predict).rows(["step_overhead"])


def test_the_shipped_network_finds_the_hand_that_is_timed(bench, tmp_path):
    host = PluginHost.load()
    parts = build_parts(load(Path(hpf_cli.__file__).with_name("bench_predict.yaml"), host=host))
    load_init(load(Path(hpf_cli.__file__).with_name("bench_predict.yaml"), host=host), parts)
    frame = scenes.raw_frame(bench.fit.hand, cache_folder())
    made = prediction.Prediction(parts, frame, CPU)
    for found in (made.predict(), made.predict_either(), made.track()):
        (hand,) = found
        assert hand.side == "right"
        assert np.linalg.norm(hand.centre - frame.centre) < 25
