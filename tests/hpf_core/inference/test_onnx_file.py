"""Networks as ONNX files: they give torch's points, say what they are, and predict as torch does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor

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
