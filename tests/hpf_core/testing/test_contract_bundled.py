"""Every bundled plugin keeps its contract, also with options that change what it does."""

from __future__ import annotations

import atexit
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contactpose_by_hand import write_grasp
from dexycb_by_hand import write_sequence
from hocap_by_hand import write_sequence as write_hocap
from mvhand_by_hand import write_session
from single_view_by_hand import WRITERS

from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Kind
from hpf_core.plugins import PluginHost
from hpf_core.simulation.simulate import CaptureConfig, simulate
from hpf_core.simulation.writers import LayoutName
from hpf_core.testing import contract

HOST = PluginHost.load(only=[])


@functools.cache
def capture(layout: LayoutName) -> Mapping[str, Any]:
    """A small simulated capture in a layout."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    spec = HOST.get("hand", "spheres41").spec
    hand = spec.factory(spec.config(), Build(grid=Grid(), seed=0, cache=Path(folder.name)))
    simulate(Path(folder.name) / "capture", hand, CaptureConfig(train=3, validation=1, test=2), layout=layout)
    return {"root": str(Path(folder.name) / "capture")}


@functools.cache
def session() -> Mapping[str, Any]:
    """A made-up session of MVHand."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    write_session(Path(folder.name) / "7-14-1-2")
    return {"root": str(Path(folder.name) / "7-14-1-2")}


@functools.cache
def sequence() -> Mapping[str, Any]:
    """A made-up sequence of DexYCB."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    root = Path(folder.name) / "20200709-subject-01" / "20200709_141754"
    write_sequence(root)
    return {"root": str(root)}


@functools.cache
def grasp() -> Mapping[str, Any]:
    """A made-up grasp of ContactPose."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    write_grasp(Path(folder.name) / "full28_use" / "bowl")
    return {"root": str(Path(folder.name) / "full28_use" / "bowl")}


@functools.cache
def hocap() -> Mapping[str, Any]:
    """A made-up sequence of HO-Cap."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    write_hocap(Path(folder.name) / "subject_1" / "20231025_165502")
    return {"root": str(Path(folder.name) / "subject_1" / "20231025_165502")}


@functools.cache
def single_view(name: str) -> Mapping[str, Any]:
    """A made-up dataset with one camera."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    WRITERS[name](Path(folder.name))
    return {"root": folder.name}


SMALL: dict[str, Any] = {
    "vae": {"steps": 10, "batch": 16, "width": 16, "latent": 4},
    "inverse_kinematics": {"samples": 64, "iterations": 3},
    "palm_denoiser": {"steps": 5, "batch": 16, "width": 16},
    "simulated": {"train": 3, "validation": 1, "test": 2},
    "hourglass": {"width": 8, "stem": 8, "depth": 1},
    "nyu": functools.partial(capture, "nyu"),
    "capture": functools.partial(capture, "capture"),
    "mvhand": session,
    "dexycb": sequence,
    "contactpose": grasp,
    "hocap": hocap,
    **{name: functools.partial(single_view, name) for name in WRITERS},
}
"""Options that make plugins quick, or without which they don't work."""

OTHERWISE: dict[str, tuple[Kind, str, dict[str, Any]]] = {
    "spheres_measured": ("renderer", "spheres", {"radii": "measured"}),
    "sphere_mesh_measured": ("renderer", "sphere_mesh", {"radii": "measured"}),
    "supervised_on_points": ("data_term", "supervised", {"on": "points"}),
    "supervised_on_both": ("data_term", "supervised", {"on": "both", "depth_outside": "free"}),
    "m2d_as_printed": ("data_term", "m2d", {"background": "far", "forearm": "keep", "loss": "squared"}),
    "multiview_least_variance": ("data_term", "multiview", {"average": "least_variance"}),
    "vae_as_the_authors": ("prior", "vae", {**SMALL["vae"], "centre": "crop", "judge": "mean_square"}),
    "bone_length_as_the_authors": ("prior", "bone_length", {"pairs": "segments", "loss": "linear"}),
    "collision_fixed": ("prior", "collision", {"mode": "fixed"}),
    "collision_radii": ("prior", "collision", {"mode": "radii"}),
}
"""Options that change what is computed: kind, plugin and options of each."""

for _offer in HOST.registered():
    _spec = _offer.spec
    globals()[f"test_{_spec.kind}_{_spec.name}"] = contract(_spec, SMALL.get(_spec.name))
for _name, (_kind, _plugin, _options) in OTHERWISE.items():
    globals()[f"test_{_kind}_{_name}"] = contract(HOST.get(_kind, _plugin).spec, _options)


def test_no_bundled_plugin_is_left_out() -> None:
    assert {row.name for row in HOST.rows()} == {offer.spec.name for offer in HOST.registered()}
    assert HOST.problems() == []
