"""Labels that can't be hands are refused with their likely unit; predictions that were read wrongly are named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.errors import DataError
from hpf_core.evaluation.joint_txt import read_labels
from hpf_core.evaluation.labels import read_uvd, write_uvd
from hpf_core.evaluation.plausible import check_uvd, check_xyz
from hpf_core.evaluation.protocols import ICVL, MSRA, NYU, PROTOCOLS, TextProtocol
from hpf_core.evaluation.readings import better_reading
from hpf_core.geometry.rotations import rotation_matrix

SHARED = Path(os.environ.get("HPF_SHARED") or Path(__file__).resolve().parents[4] / "shared")
FILE = Path("labels.txt")


def hands(protocol: TextProtocol, frames: int = 12, seed: int = 0) -> np.ndarray:
    """(F, K, 3) mm, a rigid hand of the protocol's usual size, turned and moved in front of the camera."""
    import torch

    draw = np.random.default_rng(seed)
    shape = draw.normal(size=(len(protocol.joints), 3)) * [1, 1, 0.3]
    apart = np.linalg.norm(shape[:, None] - shape, axis=-1).max()
    shape *= protocol.span_mm / apart
    turns = rotation_matrix(torch.as_tensor(0.5 * draw.normal(size=(frames, 3)))).numpy()
    places = np.stack(
        [draw.uniform(-110, 30, frames), draw.uniform(-60, 60, frames), draw.uniform(400, 800, frames)], 1
    )
    return shape @ turns.transpose(0, 2, 1) + places[:, None]


# Protocols with x y z in mm are tested with the datasets that have them.
OF_PIXELS = {name: protocol for name, protocol in PROTOCOLS.items() if not protocol.xyz}

WRONG_UNITS = {
    "u v d with d in metres": lambda uvd, xyz: uvd * [1, 1, 1e-3],
    "u v d with d in centimetres": lambda uvd, xyz: uvd * [1, 1, 0.1],
    "u v d with d in tenths of a millimetre": lambda uvd, xyz: uvd * [1, 1, 10],
    "u v d in pixels of an image of half the size": lambda uvd, xyz: uvd * [0.5, 0.5, 1],
    "u v d in pixels of an image of twice the size": lambda uvd, xyz: uvd * [2, 2, 1],
    "x y z in mm, not u v d": lambda uvd, xyz: xyz,
    "x y z in metres, not u v d": lambda uvd, xyz: xyz / 1000,
    "x y z in centimetres, not u v d": lambda uvd, xyz: xyz / 10,
}


@pytest.mark.parametrize("protocol", OF_PIXELS.values(), ids=OF_PIXELS)
@pytest.mark.parametrize("unit", WRONG_UNITS)
def test_labels_in_a_wrong_unit_are_refused_with_the_likely_one(protocol, unit):
    xyz = hands(protocol)
    uvd = protocol.to_uvd(xyz)
    check_uvd(FILE, uvd, protocol)
    with pytest.raises(DataError) as refused:
        check_uvd(FILE, WRONG_UNITS[unit](uvd, xyz), protocol)
    assert f"{FILE}: these labels can't be hands" in str(refused.value)
    assert f"They seem to be {unit}" in str(refused.value)


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "metres"), (0.1, "centimetres"), (10, "tenths of a millimetre")])
def test_labels_in_mm_likewise(factor, unit):
    xyz = hands(MSRA)
    check_xyz(FILE, xyz)
    with pytest.raises(DataError, match=f"They seem to be x y z in {unit}"):
        check_xyz(FILE, xyz * factor)


def read(path: Path, protocol: TextProtocol) -> np.ndarray:
    """Of files that `read_uvd` refuses as well."""
    rows = [[float(token) for token in line.split()] for line in path.read_text().splitlines()]
    return np.array(rows).reshape(len(rows), len(protocol.joints), 3)


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs ../shared/cases")
@pytest.mark.parametrize(
    ("name", "unit"), [("half", "pixels of an image of half the size"), ("uvd_m", "u v d with d in metres")]
)
def test_public_reports(name, unit):
    cases = SHARED / "cases" / "eval_units"
    done = CliRunner().invoke(
        app, ["eval", f"{cases}/pred_{name}.txt", "--labels", f"{cases}/labels_{name}.txt", "--json"]
    )
    assert done.exit_code == 2
    assert f"labels_{name}.txt: these labels can't be hands" in done.output
    assert unit in done.output


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(("folder", "protocol"), [("nyu_eval", NYU), ("icvl_eval", ICVL)])
def test_no_part_of_the_real_labels_is_refused(folder, protocol):
    uvd = read(SHARED / "data" / folder / "labels_test.txt", protocol)
    draw = np.random.default_rng(0)
    for frames in (1, 2, 3, 6, 12, 100):
        for _ in range(20):
            first = draw.integers(0, len(uvd) - frames)
            check_uvd(FILE, uvd[first : first + frames], protocol)
            check_uvd(FILE, uvd[draw.choice(len(uvd), frames, replace=False)], protocol)
    wrong = (uvd * [0.5, 0.5, 1], uvd * [2, 2, 1], uvd * [1, 1, 1e-3], protocol.to_xyz(uvd))
    for labels in wrong:
        with pytest.raises(DataError):
            check_uvd(FILE, labels, protocol)


# ------------------------------------------------------------------------------------------------------- predictions


def swapped(order: np.ndarray):
    return lambda protocol, uvd, xyz: uvd[:, order]


READINGS = {
    "x y z in mm": lambda protocol, uvd, xyz: xyz,
    "x y z in mm with +y up": lambda protocol, uvd, xyz: xyz * [1, -1, 1],
    "x y z in metres": lambda protocol, uvd, xyz: xyz / 1000,
    "u v d with d in metres": lambda protocol, uvd, xyz: uvd * [1, 1, 1e-3],
    "v counted from the bottom": lambda protocol, uvd, xyz: uvd * [1, -1, 1] + [0, 2 * protocol.centre[1], 0],
    "u counted from the right": lambda protocol, uvd, xyz: uvd * [-1, 1, 1] + [2 * protocol.centre[0], 0, 0],
    "columns of u and v swapped": lambda protocol, uvd, xyz: uvd[..., [1, 0, 2]],
    "an image of half the size": lambda protocol, uvd, xyz: uvd * [0.5, 0.5, 1],
    "joints in reverse": lambda protocol, uvd, xyz: uvd[:, ::-1],
    "joints in another order": lambda protocol, uvd, xyz: np.roll(uvd, 3, axis=1),
}


@pytest.mark.parametrize("protocol", OF_PIXELS.values(), ids=OF_PIXELS)
@pytest.mark.parametrize("reading", READINGS)
def test_the_reading_that_cuts_the_error_is_named(protocol, reading):
    xyz = hands(protocol)
    near = xyz + np.random.default_rng(1).normal(size=xyz.shape) * 3
    uvd = protocol.to_uvd(near)
    assert better_reading(uvd, xyz, protocol) == ""
    said = better_reading(READINGS[reading](protocol, uvd, near), xyz, protocol)
    assert reading in said
    assert "the mean error is" in said


def test_the_order_of_joints_is_spelt_out():
    xyz = hands(ICVL)
    said = better_reading(ICVL.to_uvd(np.roll(xyz, 1, axis=1)), xyz, ICVL)
    # The file's first column is the last joint's.
    assert "joints in another order (little_tip, palm, thumb_root" in said


def test_predictions_that_are_merely_bad_are_left_alone():
    xyz = hands(NYU)
    bad = xyz + np.random.default_rng(2).normal(size=xyz.shape) * 25
    assert better_reading(NYU.to_uvd(bad), xyz, NYU) == ""


def test_the_command_warns_and_keeps_the_figure(tmp_path):
    xyz = hands(NYU)
    write_uvd(tmp_path / "labels.txt", NYU.to_uvd(xyz), NYU)
    np.savetxt(tmp_path / "method.txt", np.abs(NYU.to_uvd(xyz)[:, ::-1]).reshape(len(xyz), -1), fmt="%.3f")
    done = CliRunner().invoke(app, ["eval", f"{tmp_path}/method.txt", "-l", f"{tmp_path}/labels.txt", "--json"])
    assert done.exit_code == 0
    (document,) = json.loads(done.stdout)["evaluation"]
    assert document["mean_error_mm"] > 20
    assert "joints in reverse" in document["better_reading"]
    assert "warning: method: read as joints in reverse" in done.stderr.replace("\n", " ")


# ---------------------------------------------------------------------------------------------- other kinds of files


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs ../shared/cases")
def test_icvls_own_label_lines_are_read():
    folder = SHARED / "cases" / "eval_icvl_own_labels"
    own, plain = (read_labels(folder / name, ICVL).xyz for name in ("icvl_own.txt", "icvl_lab.txt"))
    np.testing.assert_allclose(own, plain, atol=0.01)


def test_names_of_images_are_skipped_on_every_line_or_none(tmp_path):
    uvd = NYU.to_uvd(hands(NYU, 3))
    write_uvd(tmp_path / "a.txt", uvd, NYU)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    (tmp_path / "b.txt").write_text("\n".join(f"seq 1/image_{n}.png {line}" for n, line in enumerate(lines)))
    (tmp_path / "c.txt").write_text("\n".join(f"seq_1/image_{n}.png {line} " for n, line in enumerate(lines)))
    np.testing.assert_array_equal(read_uvd(tmp_path / "c.txt", NYU), read_uvd(tmp_path / "a.txt", NYU))
    (tmp_path / "d.txt").write_text("\n".join([f"image_0.png {lines[0]}", *lines[1:]]))
    with pytest.raises(DataError, match=r"d\.txt:1: 43 columns, expected 42"):
        read_uvd(tmp_path / "d.txt", NYU)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "MATLAB file of version 7.3"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x80\x02}q\x00", "pickle, which HPF never reads"),
        (b"PK\x03\x04\x00", "torch.save"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
    ],
)
def test_other_formats_are_named(tmp_path, contents, message):
    (tmp_path / "a.txt").write_bytes(contents)
    with pytest.raises(DataError, match=message):
        read_uvd(tmp_path / "a.txt", NYU)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",".join(["1"] * 42), r"a.txt:1: columns are divided by commas; expected blanks"),
        (", ".join(["1"] * 42), r"divided by commas"),
        (";".join(["1"] * 40), r"semicolons.*there are 40 of them, not 42"),
        (" ".join(["1"] * 108), r"108 are NYU's whole annotation of 36 joints: keep the 14"),
        (" ".join(["1"] * 48), r"48 are those of protocol icvl"),
    ],
)
def test_lines_of_another_kind_are_named(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_uvd(tmp_path / "a.txt", NYU)
