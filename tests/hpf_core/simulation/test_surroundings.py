"""Simulated scenes with more in them than the annotated hand."""

from __future__ import annotations

import numpy as np
import pytest

from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError
from hpf_core.simulation.simulate import CaptureConfig, sidecar_of, simulate


def _first_image(folder, hand, scene):
    config = CaptureConfig.model_validate({"train": 1, "validation": 1, "test": 1, "views": 1, "scene": scene})
    simulate(folder, hand, config)
    depth = nyu.read_depth(nyu.image_path(folder / "train", 0, 0)).astype(float)
    return np.where(depth >= nyu.NO_RETURN, np.nan, depth), nyu.read_annotation(folder / "train").xyz[0, 0]


@pytest.fixture(scope="module")
def plain(hand, tmp_path_factory):
    return _first_image(tmp_path_factory.mktemp("plain") / "c", hand, "plain")


@pytest.mark.parametrize("scene", ["table", "second_person", "two_hands", "object"])
def test_what_is_added_hides_something_and_moves_no_label(scene, plain, hand, tmp_path):
    depth, xyz = _first_image(tmp_path / "c", hand, scene)
    assert np.array_equal(xyz, plain[1])
    both = np.isfinite(depth) & np.isfinite(plain[0])
    step = 12 if scene == "object" else 50  # an object in the hand stands out of it by little
    nearer = both & (depth < plain[0] - step)
    farther = both & (depth > plain[0] + 50)
    assert nearer.sum() > (150 if scene == "object" else 3000)
    assert farther.sum() < 0.1 * nearer.sum() + 200  # the shadow of the sensor's projector


def test_a_tables_edge_is_nearer_than_the_hand(hand, tmp_path):
    depth, xyz = _first_image(tmp_path / "c", hand, "table")
    assert np.nanpercentile(depth, 5) < xyz[:, 2].min() - 100


def test_an_empty_scene_shows_no_hand_and_has_no_label(plain, hand, tmp_path):
    depth, xyz = _first_image(tmp_path / "c", hand, "empty")
    assert np.isnan(xyz).all()
    place = plain[1][nyu.PALM_CENTRE]
    u, v = nyu.CAMERA.project(place)[:2].round().astype(int)
    assert not depth[v, u] < place[2] + 100


def test_a_plain_capture_is_what_it_was_before_there_were_scenes(hand):
    config = CaptureConfig()
    assert "scene" not in sidecar_of(hand, config).made["config"]
    assert sidecar_of(hand, CaptureConfig(scene="table")).made["config"]["scene"] == "table"
    with pytest.raises(ValueError, match="scene"):
        CaptureConfig.model_validate({"scene": "beach"})


def test_the_command_names_an_unknown_scene():
    from hpf_cli.data import _config

    with pytest.raises(InputError, match="--scene is beach"):
        _config(train=1, scene="beach")
