"""The interface of each kind of plugin. Read this page before you write one; `docs/plugins.md` is the tutorial.

Every object with tensors is a `torch.nn.Module`, so that one `.to(device)` moves it. Nothing here depends on the global
random state: functions that draw random numbers take a `torch.Generator`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from hpf_core.errors import DataError, PluginError
from hpf_core.files.cache import bytes_key
from hpf_core.frames import Estimate, Labels, RealFrames, SyntheticSamples, ViewIndex
from hpf_core.grid import Grid
from hpf_core.progress import Progress, no_progress

INTERFACE_VERSION = (2, 0)
"""Version of this page. The first number changes when existing plugins could break. `docs/plugins-1-to-2.md` describes
the last change."""

SURFACE_BUDGET = 768
"""Number of surface points used per depth map. A hand covers 600 to 1,000 of 64 x 64 pixels."""

Kind = Literal["hand", "renderer", "backbone", "data_term", "prior", "dataset", "transform", "refiner", "observer"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Config(BaseModel):
    """Base of every plugin's options: unknown keys are errors, values are immutable. Each field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Build:
    """The parts that a factory may use. A field is None until the plugin of that kind is built (order: hand, renderer,
    backbone, then the others)."""

    grid: Grid
    seed: int
    cache: Path
    hand: HandModel | None = None
    renderer: Renderer | None = None

    def need_hand(self) -> HandModel:
        """The hand model; for plugins of every kind but `hand`."""
        assert self.hand is not None, "the hand model is built first"
        return self.hand

    def need_renderer(self) -> Renderer:
        """The renderer; for plugins built after it."""
        assert self.renderer is not None, "the renderer is built before terms and datasets"
        return self.renderer


@dataclass(frozen=True)
class PluginSpec:
    """The specification that a plugin package yields from a hook for each plugin that it offers.

    Attributes:
        kind: one of `KINDS`.
        name: lowercase, as recipes write it; `-` and `_` are the same.
        config: pydantic model of its options (subclass of `Config`).
        factory: called as `factory(config, build)`; returns an instance of the kind's interface.
        summary: one line that `hpf plugins list` shows.
        source: origin of the plugin: a paper with equation and page, a repository, or "own work".
        aliases: other names, each with its preset options, e.g. {"multiview-median": {"average": "median"}}.
        needs: inputs that the plugin requires: fields of `Estimate` ("heatmaps", "latent_depth", "variance", "pose",
            "shape"), "real" or "synthetic" (images in the batch).
        provides: fields of `Estimate` that a backbone fills beyond `points`.
        default_weight: for data terms and priors, the weight in the total loss if a recipe gives none.
        weights: for backbones, the weights.safetensors files of runs that the package ships. `init: shipped` uses the
            first file that was trained with the recipe's options.
        interface: version of the interface that the plugin targets, such as (2, 0), or the oldest and the newest tested
            version, ((2, 0), (3, 1)). Later minor versions only add features and remain compatible.
        deprecated: the replacement of a deprecated plugin; recipes that use the plugin get a warning.
    """

    kind: Kind
    name: str
    config: type[Config]
    factory: Callable[[Any, Build], Any]
    summary: str
    source: str
    aliases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    default_weight: float = 1.0
    weights: tuple[Path, ...] = ()
    interface: tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] = INTERFACE_VERSION
    deprecated: str = ""


# --------------------------------------------------------------------------------------------------------------- hand


class BoneRanges(NamedTuple):
    """Pairs of points whose distance has a range: `first`, `second` (K,) int64; `shortest`, `longest` (K,) mm."""

    first: Tensor
    second: Tensor
    shortest: Tensor
    longest: Tensor


class PointPairs(NamedTuple):
    """Pairs of points: `first`, `second` (K,) int64."""

    first: Tensor
    second: Tensor


class Mesh(NamedTuple):
    """Closed surfaces of triangles: `vertices` (N, V, 3) mm, and `faces` (F, 3) int64, shared by all N.

    The order of a face's corners (a, b, c) makes (b - a) x (c - a) point outwards.
    """

    vertices: Tensor
    faces: Tensor


class PoseSample(NamedTuple):
    """`pose` (N, D) and `shape` (N, S) in the hand model's own parameters."""

    pose: Tensor
    shape: Tensor


class HandModel(nn.Module, abc.ABC):
    """Named points with radii, and a pose space with sampling and a map to points.

    The pose begins with the global rotation (3, a rotation vector in radians, from the hand's own frame to the
    camera's) and the translation (3, mm, the position of the hand's origin). The articulation follows.

    Attributes:
        names: J point names.
        parts: J part names ("little", ..., "thumb", "palm").
        links: pairs (a, b) of point indices; the surface connects both points.
        radii: (J,) mm buffer.
        annotations: for each annotation ("nyu36", "nyu14"): its K joint names and a (K, J) matrix of floats that maps
            points to joints.
        fingertips: indices of the points at the tips.
        wrist: indices of the points on the wrist, where a forearm begins.
        palm_centre: index of the palm's centre.
        pose_names, shape_names: names of the D and S parameters.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    annotations: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
    fingertips: tuple[int, ...]
    wrist: tuple[int, ...]
    palm_centre: int
    pose_names: tuple[str, ...]
    shape_names: tuple[str, ...]
    radii: Tensor

    @abc.abstractmethod
    def bones(self) -> BoneRanges:
        """The pairs that the bone-length prior keeps within their range."""

    @abc.abstractmethod
    def collisions(self) -> PointPairs:
        """The pairs that must not touch."""

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        """Draw `count` articulated poses and shapes on the generator's device; the global pose is the identity."""

    @abc.abstractmethod
    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        """(N, J, 3) mm of poses (N, D) and shapes (N, S); differentiable, in the inputs' dtype."""

    @abc.abstractmethod
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        """The skin of the posed, shaped hand up to its wrist, in the frame of `points`, for synthetic images.

        A hand without a skin can use `hpf_core.simulation.tessellate.of_spheres`.
        """

    @torch.no_grad()
    def fingerprint(self) -> str:
        """A hash of some sampled hands, points and skin, rounded to 0.01 mm: a part of cache keys."""
        sample = self.sample(8, torch.Generator(self.radii.device).manual_seed(0))
        skin = self.mesh(sample.pose, sample.shape)
        lengths = (self.points(sample.pose, sample.shape), skin.vertices)
        rounded = [length.mul(100).round().to(torch.int32) for length in lengths]
        return bytes_key(b"".join(t.cpu().numpy().tobytes() for t in (*rounded, skin.faces)))


# ----------------------------------------------------------------------------------------------------------- renderer


class Rendered(NamedTuple):
    """Depth maps of a renderer.

    Attributes:
        depth: (N, H, W) mm, with the far value in pixels without a surface. Differentiable in the points.
        hit: (N, H, W) bool.
        primitive: (N, H, W) int64, index of the visible primitive (a sphere, a cone); 0 without a surface.
        anchor: (N, H, W, 2) mm, x and y of the visible surface point. Its value is the pixel's own ray. Its gradient
            moves with the primitive, so a loss on it slides the primitive sideways.
    """

    depth: Tensor
    hit: Tensor
    primitive: Tensor
    anchor: Tensor


class SurfaceDistance(NamedTuple):
    """`distance` (N, Q) mm >= 0 to the nearest primitive's surface, and its index `primitive` (N, Q) int64."""

    distance: Tensor
    primitive: Tensor


class Renderer(nn.Module, abc.ABC):
    """Renders points as a depth map and measures distances to the surface. Built with the hand model.

    Attributes:
        measures_radius_scale: whether the engine measures a factor on the radii for each recording at the start of a
            stage. If so, the renderer implements `measure_radius_scale`.
    """

    measures_radius_scale: bool = False

    @abc.abstractmethod
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        """Orthographic depth of points (N, J, 3) mm over the grid.

        `radius_scale` (N,), without gradient, is a factor on the surface's radii for each hand; None for 1.
        """

    @abc.abstractmethod
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        """Distance of queries (N, Q, 3) mm to the surface of points (N, J, 3) mm; `radius_scale` as for `depth`."""

    def measure_radius_scale(self, points: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """(N,) the best factor on the radii for hands at points (N, J, 3) mm and queries (N, Q, 3) mm on their
        surfaces.

        `valid` (N, Q) bool is the mask of existing queries. The result is NaN for a hand without any.

        Raises:
            PluginError: this renderer measures no factor.
        """
        raise PluginError(
            f"the renderer {type(self).__name__} measures no radius scale: it lacks the method `measure_radius_scale`"
        )


# ----------------------------------------------------------------------------------------------------------- backbone


class Backbone(nn.Module, abc.ABC):
    """The network: depth maps to one estimate per stack; the last estimate is the best."""

    @abc.abstractmethod
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        """Estimates of depth maps (N, H, W) mm (far value in pixels without a surface)."""

    @abc.abstractmethod
    def labels(self, points: Tensor) -> Estimate:
        """The ideal output for points (N, J, 3) mm; the supervised term compares maps with it."""


# -------------------------------------------------------------------------------------------------------------- terms


class StepData(Protocol):
    """Inputs of a data term: one step's images, the estimates of one stack, and comparisons of both.

    N depth maps are packed over the present views in order of (frame, view). There are P ordered pairs of present views
    of the same frame. Pair p compares the estimate of row `views.source[p]` with the depth map of row
    `views.target[p]`. The first N pairs are the own views. Methods with the argument `cross` return all P pairs, or
    with False the first N.

    Lengths are in mm, in the crop's frame of the pair's target, in float32 or better. All terms share the results, so a
    term must not change them in place.
    """

    @property
    def hand(self) -> HandModel:
        """The hand model."""

    @property
    def renderer(self) -> Renderer:
        """The renderer of that hand."""

    @property
    def grid(self) -> Grid:
        """The crop's rays; depth maps have H = W = `grid.size` pixels."""

    @property
    def frames(self) -> RealFrames | None:
        """B real frames; None if the stage draws none."""

    @property
    def samples(self) -> SyntheticSamples | None:
        """M synthetic samples; None if the stage draws none."""

    @property
    def real(self) -> Estimate | None:
        """The estimates of the N depth maps of real frames; None if the stage draws none."""

    @property
    def synthetic(self) -> Estimate | None:
        """The estimates of the M synthetic samples; None if the stage draws none."""

    def need_frames(self) -> RealFrames:
        """The real frames. Raises InputError if the stage draws none."""

    def need_real(self) -> Estimate:
        """The estimates of the N depth maps of real frames. Raises InputError if the stage draws none."""

    def need_synthetic(self) -> tuple[SyntheticSamples, Estimate, Estimate]:
        """The M samples, their estimates, and the ideal output. Raises InputError if the stage draws none."""

    @property
    def views(self) -> ViewIndex:
        """The packed index of the present views and their pairs."""

    @property
    def depth_maps(self) -> Tensor:
        """(N, H, W) mm, the real depth maps; the far value in pixels without a surface."""

    @property
    def states(self) -> Tensor:
        """(N, H, W) uint8, `State` of their pixels."""

    @property
    def hit(self) -> Tensor:
        """(N, H, W) bool, pixels with a surface."""

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the nearest HIT pixel; the pixel's own position in maps without one."""

    @property
    def to_rig(self) -> Tensor:
        """(N, 4, 4), from each crop's frame to the rig's."""

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points (N, Q, 3) mm of the visible surface of each depth map, and the valid mask (N, Q) bool.

        Q is the budget, with points spread evenly over the map, or H x W with None.
        """

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm, the estimates in the rig's frame."""

    def rig_points(self) -> Tensor:
        """(B, V, J, 3) mm, the same by frame and view; 0 for absent views."""

    def pair_target(self, cross: bool) -> Tensor:
        """(P,) int64, row of the depth map of each pair."""

    def pair_frame(self, cross: bool) -> Tensor:
        """(P,) int64, the frame of each pair."""

    def points_across(self, cross: bool) -> Tensor:
        """(P, J, 3) mm, the estimate of each pair's source in the crop's frame of its target."""

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W)."""

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's `surface_points` to the estimated surface."""

    def forearm(self, cross: bool, points: Tensor, valid: Tensor, margin_mm: float = 0.0) -> Tensor:
        """(P, Q) bool, mask of the maps' points (N, Q, 3) mm over `margin_mm` beyond the estimated wrist.

        `valid` (N, Q) bool: mask of existing points.
        """


class TermValue(NamedTuple):
    """Values of a term for each item. The engine computes sum(values * weights) / sum(weights) over all processes.

    Attributes:
        values: (K,) the raw, unweighted loss of each item, in the term's unit.
        weights: (K,) float, weight of each item in the mean; 0 if absent. Without gradient.
        frame: (K,) int64, the frame of each item, or None where items aren't frames.
    """

    values: Tensor
    weights: Tensor
    frame: Tensor | None = None


class Term(nn.Module):
    """Base class of data terms and priors.

    Attributes:
        unit: unit of the raw value, e.g. "mm".
        needs: fields of `Estimate` beyond `points` that the term reads with its present options. The engine refuses a
            backbone whose `provides` lacks one, before any work. `PluginSpec.needs` has the needs of all options.
        invariances: transformations that leave the value unchanged, out of "translation", "rotation" and "mirror": of
            each estimate (priors), or of the rig's frame (data terms; no "mirror"). The contract tests verify them.
        sequential: whether the order of the frames matters, as for a term on motion.
    """

    unit: ClassVar[str] = "1"
    needs: frozenset[str] = frozenset()
    invariances: frozenset[str] = frozenset()
    sequential: bool = False

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch the term's data before the first step; cached by a hash of all inputs."""


class DataTerm(Term, abc.ABC):
    """Compares estimates with data, real or synthetic."""

    @abc.abstractmethod
    def forward(self, step: StepData) -> TermValue:
        """Value of each item: K numbers, of pairs, views, frames or samples."""


class Prior(Term, abc.ABC):
    """A term that depends only on the points."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> TermValue:
        """Value of each estimate of points (N, J, 3) mm: values and weights (N,)."""


# ----------------------------------------------------------------------------------------------------------- datasets


@dataclass(frozen=True)
class EvaluationProtocol:
    """Evaluation protocol of a dataset.

    Attributes:
        annotation: key of `HandModel.annotations` with the scored joints; None for a dataset without labels.
        view: the scored view.
        fingertips: indices of the scored joints that are fingertips.
        centre: method of centring the crops: "annotated", "mass" or "refined".
    """

    annotation: str | None
    view: int
    fingertips: tuple[int, ...]
    centre: str


class RealDataset(abc.ABC):
    """Multi-view depth maps. Labels, if any, are accessible only through `labels`, which only evaluation calls.

    Views may have cameras of different sizes and focal lengths. Crops are orthographic, so training sees only the grid,
    and `RealFrames.to_rig` gives the pose of each crop.
    """

    protocol: EvaluationProtocol
    simulated: bool = False
    """True for simulated data; every report says so."""
    recentres: bool = False
    """True if the dataset supports and uses `recentre`: crops follow the network's own estimate of the palm's
    centre."""

    @abc.abstractmethod
    def prepare(self, progress: Progress = no_progress) -> None:
        """Make or check the cache. Repeated calls are free."""

    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Number of frames of each split."""

    @abc.abstractmethod
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        """The frames with these numbers, on the host."""

    def labels(self, split: str) -> Labels | None:
        """The annotation of all of a split's frames, only for evaluation. None, the default, without labels."""
        return None

    @abc.abstractmethod
    def to_camera(self, split: str) -> np.ndarray:
        """(F, 4, 4) float64, from the evaluated view's crop frame to its camera's frame, for all frames."""

    def left_out(self, split: str) -> Sequence[str]:
        """Reasons for the unused frames of a split: a missing or damaged image. `splits` excludes these frames."""
        return ()

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        """Crop a split's frames around these places from now on; `frames` and `to_camera` follow.

        Datasets with `recentres` override this method.

        Args:
            split: the split.
            centres: (F, 3) mm in the rig's frame, or None for the dataset's initial centres. A frame keeps its initial
                centre if its new one isn't finite or lies outside of the stored image.

        Returns:
            (F,) bool, the frames with a crop at their new centre.
        """
        raise DataError("this dataset's crops can't be moved; choose another way to centre them (`centre`)")


class SyntheticDataset(abc.ABC):
    """Unlimited labelled samples.

    Attributes:
        annotation: key of `HandModel.annotations` with the joints for evaluation on samples; None for all points.
    """

    annotation: str | None = None

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> SyntheticSamples:
        """Draw `count` samples on the generator's device."""


# --------------------------------------------------------------------------------- transforms, refiners and observers


class Transform(nn.Module, abc.ABC):
    """Changes depth maps before the network, and maps the points back after it.

    Attributes:
        applies_to: "real", "synthetic" or both. Points of real images are mapped back. Labels of synthetic images stay
            unchanged, so only transforms that don't move points (noise) may apply to synthetic images.
    """

    applies_to: ClassVar[frozenset[str]] = frozenset({"real"})

    @abc.abstractmethod
    def forward(self, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Depth (N, H, W) mm to depth (N, H, W) mm, and the map of points (N, J, 3) back.

        The result for an image depends only on the image and on the random numbers of its position in the batch, on the
        generator's device. Processes that share a batch see empty maps in the positions of other processes.
        """


class Refiner(nn.Module, abc.ABC):
    """Improves points after the network, in evaluation and prediction only."""

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch the refiner's data before the first use, as `Term.prepare` does for terms."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> Tensor:
        """(N, J, 3) mm to (N, J, 3) mm."""


class Observer:
    """Watches a run and never influences it. Override the methods of interest.

    Events arrive in this order. With several training processes only one sends them:

        run_started
        evaluation_started, evaluated     with `init`, of the weights before the first stage: the stage "init"
        for each stage:
            stage_started
            step_done, picture_drawn, checkpoint_written     over and over, each when it is due, in this order in a step
            stage_ended
            evaluation_started, evaluated     where the recipe evaluates
        run_ended, or run_failed at any moment after run_started

    A resumed run begins with run_started again. Completed stages send no start, step or end. Their evaluations are sent
    again (`evaluated`), without a start. Steps after the last checkpoint are repeated, with their events.

    An exception in an observer becomes one warning with its name and location. The observer receives no further events,
    and the run continues. Only KeyboardInterrupt stops the run. Each observer has its own copy of documents. Calls
    happen between steps, and the run waits for them.
    """

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """A run begins or resumes in a folder; `recipe` is the content of its recipe.yaml."""

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """A stage begins; of its `steps`, the checkpoint of a resumed run contains `done`."""

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Step `step`, counted from 1, was made and logged.

        Logged steps are every `log.every`-th, those with more measurements, and the last. `metrics` is a row of
        metrics.jsonl: `stage`, `step`, `loss`, `gradient_norm` (of the loss on the weights, before `clip_norm`), `lr`,
        `raw` and `weighted` (for each term that counts in this step: its own value, and its part of the loss),
        `images_per_second` and `images` (of the stage so far). Steps that measure them also have `gradient` (for each
        term the norm of its gradient on the points, None without one) and `unseen_mm` (error on unseen samples, mm);
        for heatmaps also `peak`.
        """

    def picture_drawn(self, stage: str, step: int, path: Path) -> None:
        """A picture of a step, a PNG, is on disk: every `log.pictures_every` steps."""

    def checkpoint_written(self, stage: str, step: int, path: Path) -> None:
        """A checkpoint is on disk. Later ones replace it."""

    def stage_ended(self, stage: str, steps: int, weights: Path) -> None:
        """All steps of a stage are made, and its weights are on disk."""

    def evaluation_started(self, stage: str) -> None:
        """The evaluation of a stage's network begins."""

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """The evaluation after a stage has ended; `result` is the content of evaluation/STAGE.json."""

    def run_ended(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """The run is complete, with its figures; `summary` is the content of its summary.json."""

    def run_failed(self, folder: Path, error: BaseException) -> None:
        """The run failed with an error, or the user interrupted it (KeyboardInterrupt)."""
