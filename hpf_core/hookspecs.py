"""The hooks of plugin packages, one for each kind, and their markers: a package needs nothing else of the host.

A plugin is a module (or an object) named by an entry point of the group `hpf`. The host calls each function that has
the marker `hookimpl` and the name of one of the functions below. It calls each once, without arguments, when it loads
plugins. The function returns (or yields) a `PluginSpec` for each plugin that it offers. Put heavy imports inside the
hook, not at the top of the module: a failing import then disables only that kind, and `hpf plugins list` shows the
reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from hpf_core.interfaces import Kind, PluginSpec

GROUP = "hpf"
"""The entry-point group, and the name of the markers."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

HOOKS: dict[str, Kind] = {
    "hpf_hands": "hand",
    "hpf_renderers": "renderer",
    "hpf_backbones": "backbone",
    "hpf_data_terms": "data_term",
    "hpf_priors": "prior",
    "hpf_datasets": "dataset",
    "hpf_transforms": "transform",
    "hpf_refiners": "refiner",
    "hpf_observers": "observer",
}
"""Each hook, and the kind of its specifications."""


@hookspec
def hpf_defaults() -> Mapping[Kind, str]:  # type: ignore[empty-body]
    """The plugin of each kind if a recipe names none; for datasets, the source of synthetic samples.

    Only HPF's own plugins may implement this hook: installing a package changes no default.
    """


@hookspec
def hpf_hands() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Hand models: named points with radii, and a pose space (`interfaces.HandModel`). Built first, from no other part.

    Example:
        @hookimpl
        def hpf_hands():
            from hpf_mitten.hand import Mitten, MittenConfig

            yield PluginSpec(
                kind="hand",
                name="mitten",
                config=MittenConfig,
                factory=lambda config, build: Mitten(config.size_mm),
                summary="Two points: the palm and the thumb.",
                source="own work",
            )
    """


@hookspec
def hpf_renderers() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Renderers: points to depth maps, and distances to the surface (`interfaces.Renderer`). Built with `build.hand`.

    Example:
        @hookimpl
        def hpf_renderers():
            from hpf_capsules.renderer import Capsules, CapsulesConfig

            yield PluginSpec(
                kind="renderer",
                name="capsules",
                config=CapsulesConfig,
                factory=lambda config, build: Capsules(config, build.need_hand().links, build.need_hand().radii),
                summary="Cones with round ends between linked points.",
                source="own work",
            )
    """


@hookspec
def hpf_backbones() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Networks: depth maps to estimates (`interfaces.Backbone`). `provides` names their outputs beyond points.

    Example:
        @hookimpl
        def hpf_backbones():
            from hpf_resnet.backbone import ResNet, ResNetConfig

            yield PluginSpec(
                kind="backbone",
                name="resnet",
                config=ResNetConfig,
                factory=lambda config, build: ResNet(config, points=len(build.need_hand().names), grid=build.grid),
                summary="A residual network that regresses the points.",
                source="He et al., CVPR 2016",
                provides=frozenset({"pose"}),
            )
    """


@hookspec
def hpf_data_terms() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Terms that compare estimates with data (`interfaces.DataTerm`). `needs` names the required inputs.

    Example:
        @hookimpl
        def hpf_data_terms():
            from hpf_silhouette.term import Silhouette, SilhouetteConfig

            yield PluginSpec(
                kind="data_term",
                name="silhouette",
                config=SilhouetteConfig,
                factory=lambda config, build: Silhouette(config, build.need_renderer()),
                summary="Share of pixels that the render and the image do not have in common.",
                source="own work",
                needs=frozenset({"real"}),
                default_weight=0.1,
            )
    """


@hookspec
def hpf_priors() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Terms that depend only on the points (`interfaces.Prior`).

    A prior and a data term must not share a name: recipes list both under `terms`.

    Example:
        @hookimpl
        def hpf_priors():
            from hpf_joint_limits.prior import JointLimits, JointLimitsConfig

            yield PluginSpec(
                kind="prior",
                name="joint-limits",
                config=JointLimitsConfig,
                factory=lambda config, build: JointLimits(config.slack_deg, build.need_hand()),
                summary="Squared angle beyond each joint's range.",
                source="own work",
                aliases={"strict-joint-limits": {"slack_deg": 0.0}},
                default_weight=0.01,
            )
    """


@hookspec
def hpf_datasets() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Datasets: unlabelled views (`interfaces.RealDataset`) or unlimited samples (`interfaces.SyntheticDataset`).

    Example:
        @hookimpl
        def hpf_datasets():
            from hpf_mylab.capture import Capture, CaptureConfig

            yield PluginSpec(
                kind="dataset",
                name="mylab",
                config=CaptureConfig,
                factory=lambda config, build: Capture(config.root, build.grid, build.cache),
                summary="Our lab's two cameras.",
                source="https://example.org/mylab",
            )
    """


@hookspec
def hpf_transforms() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Changes to depth maps before the network, undone on the points after it (`interfaces.Transform`).

    Example:
        @hookimpl
        def hpf_transforms():
            from hpf_flying.transform import FlyingPixels, FlyingPixelsConfig

            yield PluginSpec(
                kind="transform",
                name="flying-pixels",
                config=FlyingPixelsConfig,
                factory=lambda config, build: FlyingPixels(config.share),
                summary="Pixels at rims that float between the hand and the background.",
                source="own work",
            )
    """


@hookspec
def hpf_refiners() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Improvements of points after the network, outside of training steps (`interfaces.Refiner`).

    Example:
        @hookimpl
        def hpf_refiners():
            from hpf_ik.refiner import InverseKinematics, InverseKinematicsConfig

            yield PluginSpec(
                kind="refiner",
                name="inverse-kinematics",
                config=InverseKinematicsConfig,
                factory=lambda config, build: InverseKinematics(config.steps, build.need_hand()),
                summary="The nearest points that the hand model can take.",
                source="own work",
            )
    """


@hookspec
def hpf_observers() -> Iterable[PluginSpec]:  # type: ignore[empty-body]
    """Observers of a run (`interfaces.Observer`): they log and draw, and never influence it.

    Example:
        @hookimpl
        def hpf_observers():
            from hpf_bell.observer import Bell, BellConfig

            yield PluginSpec(
                kind="observer",
                name="bell",
                config=BellConfig,
                factory=lambda config, build: Bell(config.command),
                summary="Runs a command when a run ends.",
                source="own work",
            )
    """
