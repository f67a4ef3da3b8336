"""The kinds of plugin: what each must be. A page to read before writing one; `docs/plugins.md` is the tutorial.

Everything that holds tensors is a `torch.nn.Module`, so that one `.to(device)` moves it. Nothing here depends on the
global random state: what draws random numbers takes a `torch.Generator`.
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
"""Version of this page: the first number changes when a plugin written for it could break. `docs/plugins-1-to-2.md`
says what changed last."""

SURFACE_BUDGET = 768
"""Surface points that are used of a depth map. A hand covers 600 to 1,000 of 64 x 64 pixels."""

Kind = Literal["hand", "renderer", "backbone", "data_term", "prior", "dataset", "transform", "refiner", "observer"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Config(BaseModel):
    """Base of every plugin's options: unknown keys are errors, values never change. Each field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Build:
    """What a factory may build from. Fields are None until the plugin of that kind is built (order: hand, renderer,
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
    """What a plugin package yields from a hook, for each thing that it offers.

    Attributes:
        kind: one of `KINDS`.
        name: lowercase, as recipes write it; `-` and `_` are the same.
        config: pydantic model of its options (subclass of `Config`).
        factory: called as `factory(config, build)`; returns an instance of the kind's interface.
        summary: one line that `hpf plugins list` shows.
        source: where it comes from: a paper with equation and page, a repository, or "own work".
        aliases: other names, each with the options that it presets, e.g. {"multiview-median": {"average": "median"}}.
        needs: what must be there for it to work: fields of `Estimate` ("heatmaps", "latent_depth", "variance", "pose",
            "shape"), "real" or "synthetic" (images in the batch).
        provides: fields of `Estimate` that a backbone fills beyond `points`.
        default_weight: for data terms and priors, the weight in the total loss where a recipe gives none.
        weights: for backbones, weights.safetensors of runs that the package ships: what `init: shipped` starts from,
            the first of them that was trained with the recipe's options.
        interface: the interface's version that it was written for, such as (2, 0); or the oldest and the newest that it
            was tried with, ((2, 0), (3, 1)). Later minor versions only add, and will do.
        deprecated: what to use instead, where it is deprecated: recipes that use it are told so.
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
    """Closed surfaces of triangles: `vertices` (N, V, 3) mm and `faces` (F, 3) int64, which all share.

    The corners (a, b, c) of a face are in the order in which (b - a) x (c - a) points outwards.
    """

    vertices: Tensor
    faces: Tensor


class PoseSample(NamedTuple):
    """`pose` (N, D) and `shape` (N, S) in the hand model's own parameters."""

    pose: Tensor
    shape: Tensor


class HandModel(nn.Module, abc.ABC):
    """Named points with radii, and a pose space that can be sampled and turned into points.

    The pose begins with the global rotation (3, a rotation vector in radians: hand's own frame to the camera's) and the
    translation (3, mm: the position of the hand's origin); the articulation follows.

    Attributes:
        names: J point names.
        parts: J part names ("little", ..., "thumb", "palm").
        links: pairs (a, b) of point indices that a surface runs between.
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
        """The pairs that the bone-length prior keeps in range."""

    @abc.abstractmethod
    def collisions(self) -> PointPairs:
        """The pairs that must not meet."""

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        """Draw `count` articulated poses and shapes on the generator's device, with the identity as global pose."""

    @abc.abstractmethod
    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        """(N, J, 3) mm of poses (N, D) and shapes (N, S); differentiable, in the inputs' dtype."""

    @abc.abstractmethod
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        """The skin of the posed, shaped hand up to its wrist, in the frame of `points`: what synthesis renders.

        A hand that is known as spheres alone may give `hpf_core.simulation.tessellate.of_spheres`.
        """

    @torch.no_grad()
    def fingerprint(self) -> str:
        """A hash of some sampled hands, points and skin, to a hundredth of a millimetre: part of the keys of caches."""
        sample = self.sample(8, torch.Generator(self.radii.device).manual_seed(0))
        skin = self.mesh(sample.pose, sample.shape)
        lengths = (self.points(sample.pose, sample.shape), skin.vertices)
        rounded = [length.mul(100).round().to(torch.int32) for length in lengths]
        return bytes_key(b"".join(t.cpu().numpy().tobytes() for t in (*rounded, skin.faces)))


# ----------------------------------------------------------------------------------------------------------- renderer


class Rendered(NamedTuple):
    """Depth maps of a renderer.

    Attributes:
        depth: (N, H, W) mm; the far value where nothing is hit. Differentiable in the points.
        hit: (N, H, W) bool.
        primitive: (N, H, W) int64, index of the primitive (a sphere, a cone) that is seen; 0 where nothing is hit.
        anchor: (N, H, W, 2) mm, x and y of the surface point seen. Its value is the pixel's own ray; its gradient moves
            with the primitive, so that a loss on it slides the primitive sideways.
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
    """Turns points into a depth map and measures distances to the surface. Built with the hand model.

    Attributes:
        measures_radius_scale: whether a factor on the radii is measured for each recording at a stage's start. If so,
            `measure_radius_scale` works.
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
        """(N,) the factor on the radii that suits hands at points (N, J, 3) mm and queries (N, Q, 3) mm on their
        surfaces. `valid` (N, Q) bool: which queries exist; NaN where none does.

        Raises:
            PluginError: this renderer measures none.
        """
        raise PluginError(
            f"the renderer {type(self).__name__} measures no radius scale: it lacks the method `measure_radius_scale`"
        )


# ----------------------------------------------------------------------------------------------------------- backbone


class Backbone(nn.Module, abc.ABC):
    """The network: depth maps to estimates, one for each stack, the last the best."""

    @abc.abstractmethod
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        """Estimates of depth maps (N, H, W) mm (far value where nothing is hit)."""

    @abc.abstractmethod
    def labels(self, points: Tensor) -> Estimate:
        """The ideal output for points (N, J, 3) mm: what the supervised term compares maps with."""


# -------------------------------------------------------------------------------------------------------------- terms


class StepData(Protocol):
    """What a data term reads: one step's images, the estimates of one stack, and the comparison of both.

    N depth maps are packed over the present views in order of (frame, view). There are P ordered pairs of present views
    of one frame: pair p compares the estimate of row `views.source[p]` with the depth map of row `views.target[p]`. The
    first N pairs are the own views. Methods with the argument `cross` give all P pairs, or with False the first N.

    Lengths are in mm, in the crop's frame of the pair's target, in float32 or better. Each result is computed once and
    shared by all terms: never change one in place.
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
        """B real frames; None where the stage draws none."""

    @property
    def samples(self) -> SyntheticSamples | None:
        """M synthetic samples; None where the stage draws none."""

    @property
    def real(self) -> Estimate | None:
        """The estimates of the N depth maps of real frames; None where the stage draws none."""

    @property
    def synthetic(self) -> Estimate | None:
        """The estimates of the M synthetic samples; None where the stage draws none."""

    def need_frames(self) -> RealFrames:
        """The real frames. Raises InputError where the stage draws none."""

    def need_real(self) -> Estimate:
        """The estimates of the N depth maps of real frames. Raises InputError where the stage draws none."""

    def need_synthetic(self) -> tuple[SyntheticSamples, Estimate, Estimate]:
        """The M samples, their estimates, and the ideal output. Raises InputError where the stage draws none."""

    @property
    def views(self) -> ViewIndex:
        """The packed index of the present views and their pairs."""

    @property
    def depth_maps(self) -> Tensor:
        """(N, H, W) mm, the real depth maps; the far value where nothing is hit."""

    @property
    def states(self) -> Tensor:
        """(N, H, W) uint8, `State` of their pixels."""

    @property
    def hit(self) -> Tensor:
        """(N, H, W) bool, pixels that hold a surface."""

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the HIT pixel nearest to each; the pixel's own where a map has none."""

    @property
    def to_rig(self) -> Tensor:
        """(N, 4, 4), from each crop's frame to the rig's."""

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points (N, Q, 3) mm of the surface that each depth map shows, and the valid mask (N, Q) bool.

        Q is the budget, spread evenly over the map, or H x W with None.
        """

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm, the estimates in the rig's frame."""

    def rig_points(self) -> Tensor:
        """(B, V, J, 3) mm, the same by frame and view; 0 where a view is absent."""

    def pair_target(self, cross: bool) -> Tensor:
        """(P,) int64, the row whose depth map each pair is compared with."""

    def pair_frame(self, cross: bool) -> Tensor:
        """(P,) int64, the frame of each pair."""

    def points_across(self, cross: bool) -> Tensor:
        """(P, J, 3) mm, the estimate of each pair's source in the crop's frame of its target."""

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W)."""

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's `surface_points` to the estimated surface."""

    def forearm(self, cross: bool, points: Tensor, valid: Tensor, margin_mm: float = 0.0) -> Tensor:
        """(P, Q) bool, which points (N, Q, 3) mm of the maps lie more than `margin_mm` beyond the estimated wrist.

        `valid` (N, Q) bool: which points exist.
        """


class TermValue(NamedTuple):
    """What a term says, item by item; the engine reduces it: sum(values * weights) / sum(weights) over all processes.

    Attributes:
        values: (K,) the raw, unweighted loss of each item, in the term's unit.
        weights: (K,) float, how much each counts; 0 for absent. Never a gradient.
        frame: (K,) int64, the frame of each item, or None where items aren't frames.
    """

    values: Tensor
    weights: Tensor
    frame: Tensor | None = None


class Term(nn.Module):
    """What data terms and priors share.

    Attributes:
        unit: unit of the raw value, e.g. "mm".
        needs: fields of `Estimate` beyond `points` that it reads with the options that it was built with; a backbone
            whose `provides` lacks one is refused before any work starts. `PluginSpec.needs` says what all options need.
        invariances: what its value doesn't change with, out of "translation", "rotation" and "mirror": of each estimate
            by itself (priors), of the rig's frame (data terms; no "mirror"). The contract tests hold it to that.
        sequential: whether the order of the frames means something to it, as to a term on motion.
    """

    unit: ClassVar[str] = "1"
    needs: frozenset[str] = frozenset()
    invariances: frozenset[str] = frozenset()
    sequential: bool = False

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch whatever must be there before the first step; cached by a hash of all that it depends on."""


class DataTerm(Term, abc.ABC):
    """Compares estimates with data, real or synthetic."""

    @abc.abstractmethod
    def forward(self, step: StepData) -> TermValue:
        """Value of each item: K numbers, of pairs, views, frames or samples."""


class Prior(Term, abc.ABC):
    """Says how unlikely points are by themselves."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> TermValue:
        """Value of each estimate of points (N, J, 3) mm: values and weights (N,)."""


# ----------------------------------------------------------------------------------------------------------- datasets


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a dataset is evaluated.

    Attributes:
        annotation: key of `HandModel.annotations` whose joints are scored; None for a dataset without labels.
        view: the view that is scored.
        fingertips: indices of the scored joints that are fingertips.
        centre: how crops are centred: "annotated", "mass" or "refined".
    """

    annotation: str | None
    view: int
    fingertips: tuple[int, ...]
    centre: str


class RealDataset(abc.ABC):
    """Multi-view depth maps. Labels, if there are any, are reached by `labels` alone, which only evaluation calls.

    Views may have cameras of different sizes and focal lengths: crops are orthographic, so that training sees the grid
    alone, and `RealFrames.to_rig` says where each crop lies.
    """

    protocol: EvaluationProtocol
    simulated: bool = False
    """True where the data were made by software; every report says so."""
    recentres: bool = False
    """True where `recentre` works and is asked for: crops follow the network's own estimate of the palm's centre."""

    @abc.abstractmethod
    def prepare(self, progress: Progress = no_progress) -> None:
        """Make or check the cache. Calling it again costs nothing."""

    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Number of frames of each split."""

    @abc.abstractmethod
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        """The frames with these numbers, on the host."""

    def labels(self, split: str) -> Labels | None:
        """The annotation of all of a split's frames, for evaluation alone. None, the default, where there is none."""
        return None

    @abc.abstractmethod
    def to_camera(self, split: str) -> np.ndarray:
        """(F, 4, 4) float64, from the evaluated view's crop frame to its camera's frame, of all frames."""

    def left_out(self, split: str) -> Sequence[str]:
        """Why frames of a split aren't used, one by one: an image is missing or damaged. `splits` leaves them out."""
        return ()

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        """From now on crop a split's frames around these places; `frames` and `to_camera` follow. For datasets that
        can (`recentres`); others leave this method as it is.

        Args:
            split: the split.
            centres: (F, 3) mm in the rig's frame, or None for the centres that the dataset begins with. A frame whose
                place isn't finite, or farther away than images are kept around it, gets the one that it began with.

        Returns:
            (F,) bool, the frames that are cropped where `centres` says.
        """
        raise DataError("this dataset's crops can't be moved; choose another way to centre them (`centre`)")


class SyntheticDataset(abc.ABC):
    """Labelled samples generated without end.

    Attributes:
        annotation: key of `HandModel.annotations` whose joints an evaluation on samples scores; None for all points.
    """

    annotation: str | None = None

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> SyntheticSamples:
        """Draw `count` samples on the generator's device."""


# --------------------------------------------------------------------------------- transforms, refiners and observers


class Transform(nn.Module, abc.ABC):
    """Changes depth maps before the network, and undoes it on points after it.

    Attributes:
        applies_to: "real", "synthetic" or both. Points of real images are taken back; the labels of synthetic images
            stay as they are, so that only what leaves points in place (noise) may apply to them.
    """

    applies_to: ClassVar[frozenset[str]] = frozenset({"real"})

    @abc.abstractmethod
    def forward(self, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Depth (N, H, W) mm to depth (N, H, W) mm, and the map that takes points (N, J, 3) back.

        What becomes of an image and its points follows from the image itself and what is drawn for its place in the
        batch, on the generator's device: processes that share a batch see empty maps in the place of the others'.
        """


class Refiner(nn.Module, abc.ABC):
    """Improves points after the network, in evaluation and prediction only."""

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch whatever must be there before the first use, as `Term.prepare` does for terms."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> Tensor:
        """(N, J, 3) mm to (N, J, 3) mm."""


class Observer:
    """Watches a run and never steers it. Override what is of interest.

    A run is told in this order, and by one process alone where several train together:

        run_started
        evaluation_started, evaluated     with `init`, of the weights before the first stage: the stage "init"
        for each stage:
            stage_started
            step_done, picture_drawn, checkpoint_written     over and over, each when it is due, in this order in a step
            stage_ended
            evaluation_started, evaluated     where the recipe evaluates
        run_ended, or run_failed at any moment after run_started

    A run that resumes begins with run_started again. Stages that are done tell of no start, step or end; what was
    measured after them is told again (`evaluated`), without a start. Steps after the checkpoint that it resumes from
    are made and told anew.

    What an observer raises is a warning with its name and the place, once: it is then told nothing more, and the run
    goes on. KeyboardInterrupt alone passes, and stops the run. Documents are copies of the observer's own. It is called
    between steps: while it works, the run waits.
    """

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """A run begins or resumes in a folder; `recipe` is what its recipe.yaml holds."""

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """A stage begins; of its `steps`, `done` were made before and stand in the checkpoint that it resumes from."""

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Step `step`, counted from 1, was made and logged: every `log.every` steps, those that measure something more,
        and the last.

        `metrics` is a row of metrics.jsonl: `stage`, `step`, `loss`, `gradient_norm` (of the loss on the weights, as it
        was before `clip_norm`), `lr`, `raw` and `weighted` (for each term that counted in this step: its own value, and
        what it adds to the loss), `images_per_second` and `images` (of the stage so far). In steps that measure them
        also `gradient` (for each term the norm of its pull on the points, None where it has none) and `unseen_mm`
        (error on unseen samples, mm); for heatmaps also `peak`.
        """

    def picture_drawn(self, stage: str, step: int, path: Path) -> None:
        """A picture of a step, a PNG, stands on disk: every `log.pictures_every` steps."""

    def checkpoint_written(self, stage: str, step: int, path: Path) -> None:
        """A checkpoint stands on disk. Later ones replace it."""

    def stage_ended(self, stage: str, steps: int, weights: Path) -> None:
        """All steps of a stage are made, and its weights stand on disk."""

    def evaluation_started(self, stage: str) -> None:
        """The network of a stage is about to be evaluated."""

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """The network was evaluated after a stage; `result` is what evaluation/STAGE.json holds."""

    def run_ended(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """The run is done; `summary` is what its summary.json holds, and its figures are drawn."""

    def run_failed(self, folder: Path, error: BaseException) -> None:
        """The run ends with an error, or was interrupted (KeyboardInterrupt)."""
