"""Every bundled plugin keeps its contract, also with options that change what it does."""

from __future__ import annotations

import atexit
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpf_core.geometry import Grid
from hpf_core.interfaces import Build
from hpf_core.plugins import PluginHost
from hpf_core.synthesis.simulate import CaptureConfig, simulate
from hpf_core.testing import contract

HOST = PluginHost.load(only=[])


@functools.cache
def capture() -> Mapping[str, Any]:
    """A small simulated capture in NYU's layout."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    spec = HOST.get("hand", "spheres41").spec
    hand = spec.factory(spec.config(), Build(grid=Grid(), seed=0, cache=Path(folder.name)))
    simulate(Path(folder.name) / "capture", hand, CaptureConfig(train=3, validation=1, test=2))
    return {"root": str(Path(folder.name) / "capture")}


SMALL: dict[str, Any] = {
    "vae": {"steps": 10, "batch": 16, "width": 16, "latent": 4},
    "inverse_kinematics": {"samples": 64, "iterations": 3},
    "palm_denoiser": {"steps": 5, "batch": 16, "width": 16},
    "simulated": {"train": 3, "validation": 1, "test": 2},
    "hourglass": {"width": 8, "stem": 8, "depth": 1},
    "nyu": capture,
}
"""Options that make plugins quick, or without which they don't work."""

for _offer in HOST.registered():
    _spec = _offer.spec
    globals()[f"test_{_spec.kind}_{_spec.name}"] = contract(_spec, SMALL.get(_spec.name))

test_renderer_spheres_measured = contract(HOST.get("renderer", "spheres").spec, {"radii": "measured"})
test_renderer_sphere_mesh_measured = contract(HOST.get("renderer", "sphere_mesh").spec, {"radii": "measured"})
test_data_term_m2d_as_printed = contract(
    HOST.get("data_term", "m2d").spec, {"background": "far", "forearm": "keep", "loss": "squared"}
)
test_data_term_multiview_least_variance = contract(
    HOST.get("data_term", "multiview").spec, {"average": "least_variance"}
)
test_prior_collision_radii = contract(HOST.get("prior", "collision").spec, {"mode": "radii"})


def test_no_bundled_plugin_is_left_out() -> None:
    assert {row.name for row in HOST.rows()} == {offer.spec.name for offer in HOST.registered()}
    assert HOST.problems() == []
