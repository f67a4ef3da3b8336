"""Networks as ONNX files: they give torch's points, say what they are, and predict as torch does."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.bench.scenes import raw_frame
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError
from hpf_core.frames import Estimate
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.interfaces import Backbone

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from hpf_core.inference.onnx_file import FORMAT, check_onnx, export_onnx, read_onnx


@pytest.fixture(scope="module")
def network():
    return load_network("shipped")


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "hand.onnx"
    export_onnx(network, path)
    return path


def test_points_are_those_of_torch_in_one_file(network, file):
    assert check_onnx(network, file) <= 0.01
    assert sorted(each.name for each in file.parent.iterdir()) == ["hand.json", "hand.onnx"]


def test_the_description_has_a_crop_that_gives_its_points(file):
    described = json.loads((file.parent / "hand.json").read_text())
    assert described["format"] == FORMAT
    assert len(described["points"]) == 41
    opened = read_onnx(file)
    assert opened.about["grid"] == {"size": 64, "cube_mm": 300.0}
    given = torch.tensor(described["golden"]["depth_mm"])[None]
    points = opened.run(given).points[0].numpy()
    assert np.abs(points - np.array(described["golden"]["points_mm"])).max() < 0.02


def test_nan_is_refused(file):
    with pytest.raises(InputError, match="NaN"):
        read_onnx(file).run(torch.full((1, 64, 64), torch.nan))


def test_the_whole_way_from_an_image_gives_what_torch_gives(network, file, tmp_path):
    frame = raw_frame(network.hand, tmp_path)
    depth = nyu.read_depth(frame.path)
    depth = np.where(nyu.returned(depth), depth, 0)
    (ours,), (theirs,) = HandPredictor(network)(depth, nyu.CAMERA), HandPredictor.load(file)(depth, nyu.CAMERA)
    assert np.abs(ours.points - theirs.points).max() < 0.02
    assert ours.side == theirs.side
    assert np.allclose(ours.spread_mm, theirs.spread_mm, rtol=1e-2)


def test_files_that_are_not_ours_are_refused(file, tmp_path):
    import onnx

    (tmp_path / "noise.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="can't be read as an ONNX file"):
        load_network(tmp_path / "noise.onnx")
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="not a network that `hpf export` wrote"):
        load_network(tmp_path / "other.onnx")
    with pytest.raises(InputError, match="ONNX file already"):
        export_onnx(load_network(file), tmp_path / "again.onnx")


class Regression(Backbone):
    """A network without maps and without variance: one layer from the image to the points."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(64 * 64, 41 * 3)

    def forward(self, depth):
        return (Estimate(self.layer(depth.flatten(1)).unflatten(-1, (41, 3))),)

    def labels(self, points):
        return Estimate(points)


class Unwritable(Regression):
    cannot_export = "it asks a service for its points"


class Branching(Regression):
    def forward(self, depth):
        return super().forward(depth if float(depth.mean()) > 0 else -depth)


def of(network, backbone):
    """The network with another backbone."""

    def run(depth):
        with torch.no_grad():
            return backbone(depth)[-1]

    return dataclasses.replace(network, backbone=backbone, network=run)


def test_a_regression_network_has_points_alone(network, tmp_path):
    changed = of(network, Regression())
    export_onnx(changed, tmp_path / "flat.onnx")
    assert check_onnx(changed, tmp_path / "flat.onnx") <= 0.01
    loaded = load_network(tmp_path / "flat.onnx")
    maps = torch.linspace(-150, 150, 3 * 64 * 64).view(3, 64, 64)
    estimate = loaded.estimate(maps)
    assert estimate.variance is None
    assert torch.allclose(estimate.points, changed.estimate(maps).points, atol=0.01)


def test_what_cannot_be_written_is_refused_with_its_reason(network, tmp_path):
    with pytest.raises(InputError, match="Its backbone says: it asks a service"):
        export_onnx(of(network, Unwritable()), tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"can't be written as ONNX: .*`cannot_export`"):
        export_onnx(of(network, Branching()), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_commands_go_from_weights_to_joints(network, tmp_path):
    """`hpf export`, then `hpf predict --weights hand.onnx` on an image."""
    frame = raw_frame(network.hand, tmp_path)
    depth = nyu.read_depth(frame.path)
    Image.fromarray(np.where(nyu.returned(depth), depth, 0).astype(np.uint16)).save(tmp_path / "depth.png")
    done = CliRunner().invoke(app, ["export", "shipped", str(tmp_path / "hand.onnx"), "--check", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["largest_difference_mm"] <= 0.01
    given = ["predict", str(tmp_path / "depth.png"), "--K", "588.03,587.07,320,240", "--json"]
    found = []
    for weights in ("shipped", str(tmp_path / "hand.onnx")):
        done = CliRunner().invoke(app, [*given, "--weights", weights])
        assert done.exit_code == 0, done.output
        (hand,) = json.loads(done.stdout)["predictions"][0]["hands"]
        found.append(np.array(list(hand["joints"].values())))
    assert np.abs(found[0] - found[1]).max() < 0.02
