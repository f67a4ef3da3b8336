"""What is found wrong while the parts are built, before any work starts."""

from dataclasses import replace

import pytest

from hpf_core import recipe as recipes
from hpf_core.errors import InputError, RecipeError
from hpf_core.inference.build import build_parts, choose_device
from hpf_core.plugins import PluginHost

RECIPE = """
backbone: {use: hourglass, width: 8, stem: 8}
data: {real: {use: simulated}, synthetic: synthetic}
stages: {fit: {draw: {real: 1, synthetic: 1}, steps: 1, terms: [supervised, multiview]}}
"""


@pytest.fixture
def resolved(tmp_path):
    def made(*sets):
        path = tmp_path / "r.yaml"
        path.write_text(RECIPE)
        return recipes.load(path, host=PluginHost.load(), sets=sets)

    return made


def without(resolved, *fields):
    """The same recipe with a backbone that provides less."""
    spec = resolved.backbone.spec
    return replace(
        resolved, backbone=replace(resolved.backbone, spec=replace(spec, provides=spec.provides - set(fields)))
    )


def test_a_backbone_without_what_a_terms_options_need(resolved, tmp_path):
    least = resolved("terms.multiview={average: least_variance}")
    with pytest.raises(RecipeError, match=r"term 'multiview' with these options needs variance.*backbone 'hourglass'"):
        build_parts(without(least, "variance"), tmp_path)
    build_parts(least, tmp_path)
    build_parts(without(resolved(), "variance"), tmp_path)
    with pytest.raises(RecipeError, match=r"term 'supervised'.*heatmaps, latent_depth.*points alone"):
        build_parts(without(resolved(), "variance", "heatmaps", "latent_depth"), tmp_path)
    build_parts(without(resolved("terms.supervised={on: points}"), "variance", "heatmaps", "latent_depth"), tmp_path)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "gpu0"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(InputError, match=f"device '{name}' can't be used.*This machine has: cpu"):
        choose_device(name)
