"""`nyu` against frames of an encoder of the test's own: what each ray of each crop must hold, and the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import nyu_by_hand
import pytest

from hpf_core.data.captures import Capture
from hpf_core.frames import State
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_plugins.datasets import nyu

FRAMES, NO_RETURN, BEHIND, FX, FY = 6, 2001, 1500, 588.03, 587.07
BLOCKS = ((250, 318, 180, 260), (322, 400, 200, 300))  # first and last column, first and last row


def depth_of(view: int, frame: int) -> tuple[int, int]:
    """Of both blocks, mm."""
    return 790 + 5 * frame + view, 850 + 3 * frame + 2 * view


def image(view: int, frame: int) -> np.ndarray:
    depth = np.full((480, 640), BEHIND)
    depth[:, 500:] = depth[400:] = depth[:150, 300:330] = NO_RETURN
    for (left, right, top, bottom), value in zip(BLOCKS, depth_of(view, frame), strict=True):
        depth[top : bottom + 1, left : right + 1] = value
    return depth


def expected(view: int, frame: int, centre: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth and state (H, W) of a straight crop, and which rays are no closer than 0.02 mm to a block's rim."""
    x, y = ((np.arange(size) + 0.5 - size / 2) * 300 / size + centre[k] for k in (0, 1))
    depth, clear = np.full((size, size), np.inf), np.ones((size, size), dtype=bool)
    for (left, right, top, bottom), z in zip(BLOCKS, depth_of(view, frame), strict=True):
        assert abs(z - centre[2]) < 149
        inside = np.ones((size, size), dtype=bool)
        for at, low, high, focal, middle in ((x[None], left, right, FX, 320), (y[:, None], top, bottom, FY, 240)):
            first, last = ((pixel - middle) * z / focal for pixel in (low - 0.5, high + 0.5))
            inside = inside & (at > first) & (at < last)
            clear = clear & (np.abs(at - first) > 0.02) & (np.abs(at - last) > 0.02)
        depth[inside] = np.minimum(depth[inside], z - centre[2])
    column, row = np.rint(x / centre[2] * FX + 320).astype(int), np.rint(y / centre[2] * FY + 240).astype(int)
    nothing = image(view, frame)[row[:, None], column] == NO_RETURN
    state = np.where(np.isfinite(depth), State.HIT, np.where(nothing, State.UNKNOWN, State.EMPTY))
    return np.where(np.isfinite(depth), depth, 150.0), state, clear


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """The folder, its joints (3, 6, 36, 3) with +y UP, and the maps from its cameras to the first; the annotation of
    the second view is off by 50 mm in the third frame."""
    root = tmp_path_factory.mktemp("nyu")
    xyz, to_rig = nyu_by_hand.joints(FRAMES)
    xyz[1, 2] += [30.0, 0.0, 40.0]
    nyu_by_hand.write_split(root / "test", [[image(v, f) for f in range(FRAMES)] for v in range(3)], xyz)
    return root, xyz, to_rig


@pytest.mark.parametrize("size", [64, 96, 128])
def test_every_ray_holds_what_the_images_say(
    written: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path, size: int
) -> None:
    root, xyz, to_rig = written
    capture = nyu.SPEC.factory(nyu.NyuConfig(root=str(root)), Build(Grid(size), 0, tmp_path))
    assert isinstance(capture, Capture)
    assert capture.splits() == {"test": FRAMES}
    frames, down = capture.frames("test", np.arange(FRAMES)), xyz * [1, -1, 1]
    hits = 0
    for frame in range(FRAMES):
        for view in range(3):
            centre = down[view, frame, 32]
            depth, state, clear = expected(view, frame, centre, size)
            assert clear.mean() > 0.9
            np.testing.assert_array_equal(frames.state[frame, view].numpy()[clear], state[clear])
            np.testing.assert_allclose(frames.depth[frame, view].numpy()[clear], depth[clear], atol=0.0501)
            shift = np.eye(4)
            shift[:3, 3] = centre
            np.testing.assert_allclose(frames.to_rig[frame, view], to_rig[view] @ shift, atol=1e-3)
            hits += (state == State.HIT).sum()
    assert hits > 0.1 * frames.state.numel()
    labels = capture.labels("test")
    scored = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
    np.testing.assert_array_equal(labels.joints, down[0][:, scored])
    np.testing.assert_allclose(capture.to_camera("test")[:, :3, 3], down[0, :, 32])
    calibration = capture.calibration("test")
    np.testing.assert_allclose(calibration.to_rig, to_rig, atol=1e-6)
    assert calibration.off == ((), (2,), ())
    assert calibration.residual_mm.max() < 1e-6
