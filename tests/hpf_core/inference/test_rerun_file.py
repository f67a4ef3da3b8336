"""Recordings for Rerun, read back by its own package. Without the package the tests are skipped."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.bench.scenes import raw_frame
from hpf_core.data.cameras import Rig
from hpf_core.data.layouts import nyu
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.rerun_file import RerunFile
from hpf_core.inference.streams import PredictedFrame

pytest.importorskip("rerun")


@pytest.fixture(scope="module")
def predictor() -> HandPredictor:
    return HandPredictor(load_network(), "right")


@pytest.fixture(scope="module")
def depth(predictor, tmp_path_factory) -> np.ndarray:
    seen = nyu.read_depth(raw_frame(predictor.network.hand, tmp_path_factory.mktemp("frame")).path)
    return np.where(nyu.returned(seen), seen, 0).astype(np.uint16)


def read(path: Path) -> dict[str, dict[str, list[Any]]]:
    """For each entity and component the values in the order of the timeline `frame`; static ones have one value."""
    found: dict[str, list[tuple[int, str, Any]]] = defaultdict(list)
    from rerun.chunk import RrdReader

    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        names = batch.schema.names
        frames = batch["frame"].to_pylist() if "frame" in names else [-1] * chunk.num_rows
        for name in (name for name in names if ":" in name and not chunk.entity_path.startswith("/__")):
            values = zip(frames, batch[name].to_pylist(), strict=True)
            found[chunk.entity_path] += [(at, name, value) for at, value in values]
    read: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for entity, values in found.items():
        for _, name, value in sorted(values, key=lambda entry: entry[0]):
            if value is not None:
                read[entity][name].append(value)
    return read


def test_frames_are_read_back(predictor, depth, tmp_path):
    hands = predictor(depth, nyu.CAMERA)
    with RerunFile(tmp_path / "hands.rrd", predictor.network.hand) as file:
        file.add(PredictedFrame("first", 0.0, hands, depth, nyu.CAMERA))
        file.add(PredictedFrame("second", 0.5, [], None, None, "it is damaged"))
        file.add(PredictedFrame("third", 1.0, hands, depth.astype(np.float32) + 0.4, nyu.CAMERA))
    assert [path.name for path in tmp_path.iterdir()] == ["hands.rrd"]
    found = read(tmp_path / "hands.rrd")
    points = found["/rig/right"]["Points3D:positions"]
    assert len(points) == 2
    assert np.allclose(points[0], hands[0].points, atol=1e-3)
    assert np.allclose(found["/rig/right"]["Points3D:radii"][0], predictor.network.hand.radii, atol=1e-3)
    assert found["/rig/right"]["Clear:is_recursive"] == [[False]]  # the second frame has no hand
    assert found["/problems"]["TextLog:text"] == [["second: it is damaged"]]
    assert found["/confidence/right"]["Scalars:scalars"][0] == pytest.approx([hands[0].confidence])
    images = [value[0] for value in found["/rig/view1/depth"]["EncodedDepthImage:blob"]]
    for image in images:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(bytes(image)))), depth)
    assert found["/rig/view1/depth"]["EncodedDepthImage:meter"][0] == [1.0]
    # A point's place through the file's pinhole is its pixel. Rerun counts from the corner of the first pixel.
    matrix = np.array(found["/rig/view1/depth"]["Pinhole:image_from_camera"][0]).reshape(3, 3).T
    u, v, z = matrix @ hands[0].points[7]
    assert np.allclose([u / z - 0.5, v / z - 0.5], hands[0].pixels[7], atol=1e-2)


def test_a_rigs_views_have_their_poses(predictor, depth, tmp_path):
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    pose[:3, 3] = [400.0, 0.0, 500.0]
    rig = Rig((nyu.CAMERA, nyu.CAMERA), np.stack([np.eye(4), pose]))
    with RerunFile(tmp_path / "rig.rrd", predictor.network.hand) as file:
        file.add(PredictedFrame("a", 0.0, [], [depth, depth], rig))
    second = read(tmp_path / "rig.rrd")["/rig/view2"]
    assert np.allclose(second["Transform3D:translation"][0], [pose[:3, 3]])
    assert np.allclose(np.array(second["Transform3D:mat3x3"][0]).reshape(3, 3).T, pose[:3, :3])
    assert read(tmp_path / "rig.rrd")["/rig/view2/depth"]["EncodedDepthImage:media_type"] == [["image/png"]]


def test_an_error_leaves_no_file(predictor, depth, tmp_path):
    broken: Any = "no image"

    def write() -> None:
        with RerunFile(tmp_path / "a.rrd", predictor.network.hand) as file:
            for image in (depth, broken):
                file.add(PredictedFrame("a", 0.0, [], image, nyu.CAMERA))

    with pytest.raises(ValueError, match="could not convert"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_folders_frames(depth, tmp_path):
    (tmp_path / "recording").mkdir()
    for number in range(3):
        Image.fromarray(depth).save(tmp_path / "recording" / f"{number:06d}.png")
    given = [str(tmp_path / "recording"), "--K", "588.03,587.07,320,240", "--out", str(tmp_path / "hands.rrd")]
    result = CliRunner().invoke(app, ["predict", *given])
    assert result.exit_code == 0, result.output
    found = read(tmp_path / "hands.rrd")
    assert len(found["/rig/right"]["Points3D:positions"]) == 3
    assert len(found["/rig/view1/depth"]["EncodedDepthImage:blob"]) == 3
    wrong = CliRunner().invoke(app, ["predict", *given[:-1], str(tmp_path / "wrong.rrd"), "--unit-mm", "0.001"])
    assert wrong.exit_code == 2, wrong.output
    assert not (tmp_path / "wrong.rrd").exists()
