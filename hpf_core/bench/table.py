"""The rows of the speed table: the two sides of each comparison, the unit, and the meaning of the ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import torch

from hpf_core.bench import dense, prediction, scenes, training
from hpf_core.bench.alternate import Timing, Work, alternate
from hpf_core.engine.deterministic import deterministic
from hpf_core.errors import InputError, nearest
from hpf_core.files.cache import cache_folder
from hpf_core.grid import Grid
from hpf_core.inference.build import Parts, build_parts, choose_device, load_init
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: one of `ROWS`.
        what: description of the comparison.
        baseline, ours: medians in `unit`.
        unit: of both.
        ratio: median over the alternations of the ratio in `ratio_is`.
        ratio_is: "baseline / ours", if more is better, or "ours / baseline".
        baseline_spread, ours_spread, ratio_spread: first and third quartile.
        kept_mib: for rows with gradients, MiB that baseline and ours save for the backward pass; else None.
    """

    name: str
    what: str
    baseline: float
    ours: float
    unit: str
    ratio: float
    ratio_is: str
    baseline_spread: tuple[float, float]
    ours_spread: tuple[float, float]
    ratio_spread: tuple[float, float]
    kept_mib: tuple[float, float] | None = None

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


class Bench:
    """Measures the rows.

    Args:
        fit: recipe of the network and terms of a training step. Its stages: `pretrain`, on synthetic samples, and
            `fit`, on real frames as well.
        predict: recipe with the weights for prediction.
        device: as in recipes.
        alternations: number of timings of each row's two sides.
        progress: receives the progress of preparation and of the rows.

    Raises:
        InputError: the device doesn't exist.
    """

    def __init__(
        self,
        fit: Resolved,
        predict: Resolved,
        device: str = "cpu",
        alternations: int = 10,
        progress: Progress = no_progress,
    ) -> None:
        self.device = choose_device(device)
        self.alternations = alternations
        self.progress = progress
        self._fit, self._predict = fit, predict

    def rows(self, names: Sequence[str] = ()) -> list[Row]:
        """Measure the named rows, or all without names, in the table's order.

        Raises:
            InputError: a row's name is unknown.
        """
        for name in names:
            if name not in ROWS:
                raise InputError(f"--only {name}: there is no such row. {nearest(name, ROWS)}")
        chosen = [name for name in ROWS if not names or name in names]
        made = []
        with deterministic(self.device):
            for done, name in enumerate(chosen):
                self.progress(done, len(chosen), f"measuring {name}")
                made.append(ROWS[name](self, name))
        self.progress(len(chosen), len(chosen), "measuring")
        return made

    @cached_property
    def fit(self) -> Parts:
        """The parts of the recipe `fit`, before its data and priors are prepared."""
        return build_parts(self._fit, device=self.device)

    @cached_property
    def training(self) -> training.Training:
        """The recipe `fit` with everything that a step needs."""
        return training.Training(self.fit, self._fit, self.device, self.progress)

    @cached_property
    def prediction(self) -> prediction.Prediction:
        """The recipe `predict` with its weights."""
        parts = build_parts(self._predict)
        load_init(self._predict, parts)
        frame = scenes.raw_frame(parts.hand, cache_folder(), self.progress)
        return prediction.Prediction(parts, frame, self.device)

    def compare(self, baseline: Work, ours: Work) -> Timing:
        """Time both in turn."""
        return alternate(baseline, ours, self.alternations, self.device)


def _row(
    name: str, what: str, found: Timing, *, more_is_better: bool, kept_mib: tuple[float, float] | None = None
) -> Row:
    ratio, (low, high) = found.faster, found.faster_spread
    if not more_is_better:
        ratio, (low, high) = 1 / ratio, (1 / high, 1 / low)
    return Row(
        name=name,
        what=what,
        baseline=found.baseline,
        ours=found.ours,
        unit="ms",
        ratio=ratio,
        ratio_is="baseline / ours" if more_is_better else "ours / baseline",
        baseline_spread=found.baseline_spread,
        ours_spread=found.ours_spread,
        ratio_spread=(low, high),
        kept_mib=kept_mib,
    )


def _with_gradients(bench: Bench, name: str, what: str, dense_way: Callable, our_way: Callable) -> Row:
    """Time both ways from hands to maps or distances and, with a fixed gradient, back to the hands."""
    points = scenes.hands(bench.fit.hand, scenes.BATCH).requires_grad_()
    weigh = torch.ones_like(our_way(points).detach())

    def both(way: Callable) -> Work:
        return lambda: torch.autograd.grad(way(points), points, weigh)

    kept = dense.kept_mib(lambda: dense_way(points)), dense.kept_mib(lambda: our_way(points))
    return _row(name, what, bench.compare(both(dense_way), both(our_way)), more_is_better=True, kept_mib=kept)


def _render(bench: Bench, name: str, *, size: int) -> Row:
    parts, grid = bench.fit, Grid(size, bench.fit.grid.cube_mm)
    radii = parts.hand.radii.float()
    what = f"{scenes.BATCH} depth maps of {size} x {size} pixels and their gradients; the dense formula, our renderer"
    return _with_gradients(
        bench, name, what, lambda p: dense.depth(p, radii, grid), lambda p: parts.renderer.depth(p, grid).depth
    )


def _distance(bench: Bench, name: str) -> Row:
    parts = bench.fit
    radii = parts.hand.radii.float()
    queries = scenes.surface_points(scenes.hands(parts.hand, scenes.BATCH), radii, scenes.QUERIES)
    what = f"distances of {scenes.QUERIES} points to each of {scenes.BATCH} hands and their gradients; "
    what += "the dense formula, our renderer"
    return _with_gradients(
        bench,
        name,
        what,
        lambda p: dense.distance(p, radii, queries),
        lambda p: parts.renderer.distance(p, queries).distance,
    )


def _step_overhead(bench: Bench, name: str) -> Row:
    made = bench.training
    what = f"a step on {made.batch.images} depth maps; the network alone, with all terms and priors"
    return _row(name, what, bench.compare(made.bare_step, made.step), more_is_better=False)


def _synthesis_share(bench: Bench, name: str) -> Row:
    made = bench.training
    what = f"a pretraining step on {made.pretrain_draw} samples; all of it, drawing the samples alone"
    return _row(name, what, bench.compare(made.pretrain_step, made.synthesise), more_is_better=False)


def _feeding_share(bench: Bench, name: str) -> Row:
    made = bench.training
    what = f"a fitting step on {made.fit_draw} cached frames; all of it, reading the frames alone"
    return _row(name, what, bench.compare(made.fed_step, made.feed), more_is_better=False)


def _prepare_ms(bench: Bench, name: str) -> Row:
    made = bench.prediction
    what = "one frame of 640 x 480 pixels; reading its PNG file, the same and cutting out the hand"
    return _row(name, what, bench.compare(made.read, made.prepare), more_is_better=False)


def _predict_ms(bench: Bench, name: str) -> Row:
    made = bench.prediction
    what = "joints of one hand; the network alone, from the depth image of 640 x 480 pixels"
    return _row(name, what, bench.compare(made.network_alone, made.predict), more_is_better=False)


def _predict_either_ms(bench: Bench, name: str) -> Row:
    made = bench.prediction
    what = "joints of one hand and its side; the network alone, from the depth image of 640 x 480 pixels"
    return _row(name, what, bench.compare(made.network_alone, made.predict_either), more_is_better=False)


def _track_ms(bench: Bench, name: str) -> Row:
    made = bench.prediction
    what = "joints of a hand that was seen a moment ago; the network alone, from the depth image of 640 x 480 pixels"
    return _row(name, what, bench.compare(made.network_alone, made.track), more_is_better=False)


def _predict_batched(bench: Bench, name: str) -> Row:
    """In maps a second, not in ms, so the quartiles swap."""
    made = bench.prediction
    found = bench.compare(made.one_by_one, made.batched)

    def rate(ms: float) -> float:
        return 1e3 * scenes.BATCH / ms

    return Row(
        name=name,
        what=f"{scenes.BATCH} maps through the network; one by one, as one batch",
        baseline=rate(found.baseline),
        ours=rate(found.ours),
        unit="maps/s",
        ratio=found.faster,
        ratio_is="ours / baseline",
        baseline_spread=(rate(found.baseline_spread[1]), rate(found.baseline_spread[0])),
        ours_spread=(rate(found.ours_spread[1]), rate(found.ours_spread[0])),
        ratio_spread=found.faster_spread,
    )


ROWS: Mapping[str, Callable[[Bench, str], Row]] = {
    "render_64": partial(_render, size=64),
    "render_128": partial(_render, size=128),
    "distance_64": _distance,
    "step_overhead": _step_overhead,
    "synthesis_share": _synthesis_share,
    "feeding_share": _feeding_share,
    "prepare_ms": _prepare_ms,
    "predict_ms": _predict_ms,
    "predict_either_ms": _predict_either_ms,
    "track_ms": _track_ms,
    "predict_batched": _predict_batched,
}
"""The measurements by name."""
