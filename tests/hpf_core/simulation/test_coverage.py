"""The statistic of coverage on a hand of three sticks, where every number can be counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hpf_core.errors import DataError
from hpf_core.figures.contact_sheet import contact_sheet
from hpf_core.figures.coverage import coverage_figure
from hpf_core.figures.style import write_figure
from hpf_core.geometry.rotations import rotation_vector, sample_view
from hpf_core.interfaces import BoneRanges, HandModel, Mesh, PointPairs, PoseSample
from hpf_core.simulation.coverage import BANDS, SECTORS, coverage


class Sticks(HandModel):
    """Two straight fingers of 80 mm and a thumb of 60 mm that telescope: angle a shortens them to cos(a) of that.

    The index finger and the thumb point up, 10 mm apart, the little one down. Size is the one shape number.
    """

    names = ("LITTLE", "INDEX", "THUMB", "PALM", "WRIST")
    parts = ("little", "index", "thumb", "palm", "palm")
    links = ((0, 3), (1, 3), (2, 3), (3, 4))
    fingertips = (0, 1, 2)
    wrist = (4,)
    palm_centre = 3
    pose_names = ("rx", "ry", "rz", "tx", "ty", "tz", "little", "index", "thumb")
    shape_names = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.annotations = {}
        self.radii = torch.tensor([5.0, 5.0, 5.0, 20.0, 20.0])

    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        length = pose[:, 6:9].cos() * pose.new_tensor([80.0, -80.0, -60.0])
        zero = torch.zeros_like(length[:, :1])
        tips = torch.stack([torch.cat([zero, zero, zero + 10], -1), length, torch.zeros_like(length)], dim=-1)
        rest = pose.new_tensor([[0.0, 0.0, 0.0], [0.0, 70.0, 0.0]]).expand(len(pose), -1, -1)
        return torch.cat([tips, rest], dim=1) * shape[:, :1, None]

    def collisions(self) -> PointPairs:
        return PointPairs(torch.tensor([1]), torch.tensor([3]))  # the index finger's tip and the palm

    def bones(self) -> BoneRanges:
        raise NotImplementedError

    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        raise NotImplementedError

    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        raise NotImplementedError


def poses(*angles_deg: tuple[float, float, float], each: int = 20) -> tuple[Tensor, Tensor]:
    """`each` copies of poses with these angles; sizes that don't matter, as they are divided by."""
    pose = torch.zeros(len(angles_deg) * each, 9)
    pose[:, 6:] = torch.deg2rad(torch.tensor(angles_deg)).repeat_interleave(each, dim=0)
    return pose, torch.linspace(0.9, 1.1, len(pose))[:, None]


def test_sets_of_extended_fingers() -> None:
    """cos 60 is below what counts as extended, cos 20 above, and cos 40 for a finger but not for a thumb."""
    pose, shape = poses((0, 60, 0), (20, 20, 60), (40, 40, 40), (60, 60, 60))
    found = coverage(Sticks(), pose, shape)
    assert found["fingers"] == ["little", "index", "thumb"]
    expected = dict.fromkeys(("000", "001", "010", "011", "100", "101", "110", "111"), 0.0)
    assert found["sets"] == {**expected, "101": 0.25, "110": 0.5, "000": 0.25}


def test_pinches_need_the_tips_to_touch() -> None:
    """The tips are 10 mm apart sideways, which is contact, where both are as long: 80 cos a = 60."""
    meet = math.degrees(math.acos(60 / 80))
    pose, shape = poses((0, meet, 0), (0, meet - 20, 0), (0, 0, 0), (0, meet, 0))
    assert coverage(Sticks(), pose, shape)["pinches"] == {"little": 0.0, "index": 0.5}


def test_contact_is_measured_in_mm() -> None:
    """Tip and palm touch at 25 mm: a length of 15 mm is 10 mm too deep."""
    deep = math.degrees(math.acos(15 / 80))
    pose, shape = poses((0, deep, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))
    found = coverage(Sticks(), pose, shape)["depth_mm"]
    assert (found["50%"], found["99%"]) == (0.0, pytest.approx(10, abs=0.05))


def test_angles_of_a_uniform_draw() -> None:
    pose, shape = poses((0, 0, 0), each=6000)
    pose[:, 6:] = torch.rand(6000, 3, generator=torch.Generator().manual_seed(0)) * math.radians(50)
    pose[:, 6:] += math.radians(5)  # no length lies on the border of a voxel
    found = coverage(Sticks(), pose, shape)
    for angle in found["angles"].values():
        assert angle["quantiles_deg"] == pytest.approx([5, 7.5, 17.5, 30, 42.5, 52.5, 55], abs=1.2)
        assert sum(angle["histogram"]) == pytest.approx(1, abs=1e-3)
        assert max(angle["histogram"]) < 0.1
    # Independent and uniform is what the reachable set is estimated from.
    assert min(row["covered"] for row in found["workspace"].values()) == 1
    assert json.loads(json.dumps(found)) == found


def test_what_is_never_visited_is_missed() -> None:
    """Uniform angles between the ends reach the whole line of each tip, the ends alone two voxels."""
    found = coverage(Sticks(), *poses((0, 0, 0), (60, 60, 60), each=500))["workspace"]["little"]
    assert found["voxels"] >= 2
    assert found["covered"] <= 2 / found["voxels"] + 1e-3
    assert found["largest"] == pytest.approx(0.5, abs=0.3)


@pytest.mark.parametrize(("cone", "cells"), [(180, 1.0), (90, 0.5), (0, None)])
def test_views_are_counted_by_area(cone: float, cells: float | None) -> None:
    pose, shape = poses((0, 0, 0), each=8000)
    pose[:, :3] = rotation_vector(sample_view(8000, torch.Generator().manual_seed(0), cone, 180))
    views = coverage(Sticks(), pose, shape)["views"]
    shares = np.array(views["cells"])
    assert shares.shape == (BANDS, SECTORS)
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    if cells is None:
        assert shares[0].sum() == pytest.approx(1, abs=1e-3)  # the palm is seen: the first band
    else:
        assert views["occupied"] == pytest.approx(cells, abs=0.01)
        seen = shares[: int(BANDS * cells)] * BANDS * SECTORS * cells
        assert 0.6 < seen.min() <= seen.max() < 1.5


@pytest.mark.parametrize("what", ["few", "infinite", "unequal"])
def test_absurd_samples_are_refused(what: str) -> None:
    pose, shape = poses((0, 0, 0))
    if what == "few":
        pose, shape = pose[:3], shape[:3]
    elif what == "unequal":
        shape = shape[:-1]
    else:
        pose[2, 7] = math.inf
    with pytest.raises(DataError, match="statistic of coverage needs"):
        coverage(Sticks(), pose, shape)


def test_the_figure_is_written(tmp_path: Path) -> None:
    pose, shape = poses((0, 0, 0), (60, 30, 10))
    path = write_figure(tmp_path / "coverage.png", coverage_figure(coverage(Sticks(), pose, shape)))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 5


def test_the_sheet_has_points_over_every_second_column(tmp_path: Path) -> None:
    """Four maps of nothing: between the title and the legend, only points have a colour."""
    points = np.stack([np.array([[8.0, 8.0], [24.0, 24.0]])] * 4)
    sheet = contact_sheet(np.full((4, 32, 32), 150.0), points, links=[(0, 1)])
    path = write_figure(tmp_path / "sheet.png", sheet)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    coloured = pixels.max(axis=-1) - pixels.min(axis=-1) > 60
    coloured = coloured[80:490, :410]  # the four maps
    half = 205
    assert not coloured[:, :half].any()
    rows = coloured[:, half:].any(axis=1)
    assert rows[: len(rows) // 2].any()
    assert rows[len(rows) // 2 :].any()


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="contact sheet needs maps"):
        contact_sheet(np.zeros((0, 32, 32)), np.zeros((0, 2, 2)))
