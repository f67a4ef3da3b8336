"""The bundled plugins. They use the same entry point and hooks as third-party plugins.

Each hook imports its own modules: if one import fails, the other kinds still load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Kind, PluginSpec


@hookimpl
def hpf_defaults() -> Mapping[Kind, str]:
    """The method of the paper."""
    return {"hand": "spheres41", "renderer": "spheres", "backbone": "hourglass", "dataset": "synthetic"}


@hookimpl
def hpf_hands() -> Iterable[PluginSpec]:
    """The 41 spheres of the paper."""
    from hpf_plugins.hands import spheres41

    return (spheres41.SPEC,)


@hookimpl
def hpf_renderers() -> Iterable[PluginSpec]:
    """Spheres (Eq. 6-11), and a finer surface over the same points."""
    from hpf_plugins.renderers import sphere_mesh, spheres

    return (spheres.SPEC, sphere_mesh.SPEC)


@hookimpl
def hpf_backbones() -> Iterable[PluginSpec]:
    """The stacked hourglass of Sec. 3.2."""
    from hpf_plugins.backbones import hourglass

    return (hourglass.SPEC,)


@hookimpl
def hpf_data_terms() -> Iterable[PluginSpec]:
    """Eq. 3, 5, 9 and 12."""
    from hpf_plugins.data_terms import d2m, heatmap_magnitude, m2d, multiview, supervised

    return (supervised.SPEC, m2d.SPEC, d2m.SPEC, multiview.SPEC, heatmap_magnitude.SPEC)


@hookimpl
def hpf_priors() -> Iterable[PluginSpec]:
    """Eq. 13-16."""
    from hpf_plugins.priors import bone_length, collision, vae

    return (vae.SPEC, bone_length.SPEC, collision.SPEC)


@hookimpl
def hpf_datasets() -> Iterable[PluginSpec]:
    """Unlimited synthetic samples, a small simulated capture, public datasets, and users' own captures."""
    from hpf_plugins.datasets import capture, contactpose, dexycb, hocap, mvhand, nyu, simulated, single_view, synthetic

    return (
        synthetic.SPEC,
        simulated.SPEC,
        nyu.SPEC,
        mvhand.SPEC,
        dexycb.SPEC,
        contactpose.SPEC,
        hocap.SPEC,
        *single_view.SPECS,
        capture.SPEC,
    )


@hookimpl
def hpf_transforms() -> Iterable[PluginSpec]:
    """Augmentation of real images before the network."""
    from hpf_plugins.transforms import shrink

    return (shrink.SPEC,)


@hookimpl
def hpf_refiners() -> Iterable[PluginSpec]:
    """A fit of the hand model to the points, and the authors' denoiser of the palm."""
    from hpf_plugins.refiners import inverse_kinematics, palm_denoiser

    return (inverse_kinematics.SPEC, palm_denoiser.SPEC)


@hookimpl
def hpf_observers() -> Iterable[PluginSpec]:
    """Log lines for clusters, tables for spreadsheets, charts for TensorBoard."""
    from hpf_plugins.observers import console, metrics_file, tensorboard

    return (console.SPEC, metrics_file.SPEC, tensorboard.SPEC)
