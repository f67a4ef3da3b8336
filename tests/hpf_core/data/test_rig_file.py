"""`rig.yaml`: read strictly, written with comments, changed without losing them."""

from pathlib import Path

import numpy as np
import pytest

from hpf_core.data.cameras import PRIMESENSE, Camera, Rig
from hpf_core.data.image_pattern import matcher_of
from hpf_core.data.rig_file import RigFile, read_rig, write_rig
from hpf_core.data.rig_poses import save_poses
from hpf_core.errors import DataError

POSE = np.array([[0.8, 0, 0.6, 300.25], [0, 1, 0, -20], [-0.6, 0, 0.8, 40], [0, 0, 0, 1]])

TEXT = """\
# Two cameras over my desk.
format: hpf-capture/1
images: "{split}/{camera}/{frame:06d}.png"  # as my script writes them
depth: {encoding: gray16, unit_mm: 0.125, no_return: [0, 65535]}
hand: left
volume_mm: {x: [-400, 400], y: [-300, 300], z: [300, 900]}
cameras:
  middle: {size: [640, 480], fx: 588.03, fy: 587.07, cx: 320, cy: 240}
  left: {size: [320, 240], fx: 305.6, fy: 305.5, cx: 159.2, cy: 121.3,  # turned by 180 degrees
    distortion: [0.1, -0.2, 0.001, 0.002, 0.05],
    to_rig: [[0.8, 0, 0.6, 300.25], [0, 1, 0, -20], [-0.6, 0, 0.8, 40], [0, 0, 0, 1]]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rig.yaml"
    path.write_text(text)
    return path


def test_all_that_it_says_is_read(tmp_path: Path) -> None:
    written(tmp_path, TEXT)
    content = read_rig(tmp_path)
    rig = content.rig
    assert rig.cameras[0] == PRIMESENSE
    distortion = (0.1, -0.2, 0.001, 0.002, 0.05)
    assert rig.cameras[1] == Camera(320, 240, fx=305.6, fy=305.5, cx=159.2, cy=121.3, distortion=distortion)
    np.testing.assert_array_equal(rig.poses, [np.eye(4), POSE])
    assert (rig.names, rig.hand, rig.unit_mm, rig.no_return) == (("middle", "left"), "left", 0.125, (0.0, 65535.0))
    assert rig.volume_mm == ((-400, 400), (-300, 300), (300, 900))
    assert (content.encoding, content.images) == ("gray16", "{split}/{camera}/{frame:06d}.png")


def test_what_is_written_is_read_back_to_the_digit(tmp_path: Path) -> None:
    written(tmp_path, TEXT)
    before = read_rig(tmp_path)
    other = RigFile(tmp_path / "other.yaml", before.rig, before.images, before.encoding)
    write_rig(other)
    after = read_rig(tmp_path / "other.yaml")
    assert after.rig.cameras == before.rig.cameras
    np.testing.assert_array_equal(after.rig.poses, before.rig.poses)
    assert (after.rig.volume_mm, after.rig.no_return, after.rig.hand) == (
        before.rig.volume_mm,
        before.rig.no_return,
        before.rig.hand,
    )
    assert "# Pixels, and to_rig" in (tmp_path / "other.yaml").read_text()


def test_poses_are_put_in_with_comments_and_order_kept_and_the_file_of_before_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    turned = POSE.copy()
    turned[:3, 3] = [1.5, 2.25, 3.125]
    kept = save_poses(read_rig(tmp_path), np.stack([np.eye(4), turned]))
    assert kept.name == "rig.yaml.before"
    assert kept.read_text() == TEXT
    np.testing.assert_array_equal(read_rig(tmp_path).rig.poses[1], turned)
    text = path.read_text()
    old, new = "300.25], [0, 1, 0, -20], [-0.6, 0, 0.8, 40]", "1.5], [0, 1, 0, 2.25], [-0.6, 0, 0.8, 3.125]"
    assert text == TEXT.replace(old, new)
    assert save_poses(read_rig(tmp_path), np.stack([np.eye(4), POSE])).name == "rig.yaml.before-2"


def test_a_rig_without_poses_is_read_and_can_be_given_some(tmp_path: Path) -> None:
    written(tmp_path, TEXT[: TEXT.index(",\n    to_rig")] + "}\n")
    content = read_rig(tmp_path)
    assert content.rig.to_rig is None
    save_poses(content, np.stack([np.eye(4), POSE]))
    np.testing.assert_array_equal(read_rig(tmp_path).rig.poses[1], POSE)


BLOCK = """\
format: hpf-capture/1
cameras:
  a:
    size: [640, 480]
    fx: 500
    fy: 500
    cx: 320
    cy: 240  # by hand
  b:
    size: [640, 480]
    fx: 500
    fy: 500
    cx: 320
    cy: 240  # as well
# the end
"""


def test_poses_are_put_into_blocks(tmp_path: Path) -> None:
    written(tmp_path, BLOCK)
    save_poses(read_rig(tmp_path), np.stack([np.eye(4), POSE]))
    np.testing.assert_array_equal(read_rig(tmp_path).rig.poses[1], POSE)
    text = (tmp_path / "rig.yaml").read_text()
    assert "cy: 240  # as well\n    to_rig: [[0.8, 0, 0.6, 300.25]" in text
    rows = "".join(f"\n      - {row}" for row in np.eye(4).tolist())
    written(tmp_path, text[: text.index("[[0.8")] + rows + "  # in rows\n# the end\n")
    save_poses(read_rig(tmp_path), np.stack([np.eye(4), POSE]))
    np.testing.assert_array_equal(read_rig(tmp_path).rig.poses[1], POSE)
    assert (tmp_path / "rig.yaml").read_text().endswith("]]  # in rows\n# the end\n")


@pytest.mark.parametrize(
    ("before", "after", "place", "said"),
    [
        ("fx: 588.03", "fxx: 588.03", "8:30", "cameras.middle.fxx: isn't known here"),
        ("fx: 588.03", "fxx: 588.03", "8:30", "Did you mean 'fx'"),
        ("size: [640, 480], fx: 588.03", "fx: 588.03", "8:11", "`size` is missing"),
        ("hand: left", "hand: lefty", "5:7", "Did you mean 'left'"),
        ("gray16", "grey16", "4:19", "Did you mean 'gray16'"),
        ("unit_mm: 0.125", "unit_mm: -1", "4:36", "must be above 0"),
        ("no_return: [0, 65535]", "no_return: [0, none]", "4:58", "a list of numbers was expected"),
        ("hpf-capture/1", "hpf-capture/9", "2:9", "'hpf-capture/1' is what this version reads"),
        ("  left: {", "  middle: {", "9:3", "is already in line 8"),
        ("0.002, 0.05]", "0.002, 0.05, 1]", "10:17", "has 6 numbers, but 4 or 5 or 8"),
        ("[0.8, 0, 0.6, 300.25]", "[-0.8, 0, -0.6, 300.25]", "11:13", "left-handed"),
        ("[0.8, 0, 0.6, 300.25]", "[0, 0, 0, 300.25]", "11:13", "singular"),
        ("[0.8, 0, 0.6, 300.25]", "[0.8, 0, 0.6]", "11:14", "has 3 numbers"),
        ("[640, 480]", "[640.5, 480]", "8:18", "two whole numbers"),
        ("{split}/{camera}", "{split}/{kamera}", "3:9", "Did you mean 'camera'"),
        ("{split}/{camera}", "../{camera}", "3:9", "leads out of the capture's folder"),
        ("{split}/{camera}", "/data/{camera}", "3:9", "leads out of the capture's folder"),
        ("{camera}/{frame:06d}", "{frame:06d}", "3:9", "has no {camera}, but there are 2 cameras"),
        ("{frame:06d}", "depth", "3:9", "has no {frame}"),
        ("{frame:06d}", "{frame:6.2f}", "3:9", "formats {frame}"),
        ("  left: {", "  ../left: {", "9:3", "can't lead out of the folder"),
        ("x: [-400, 400]", "x: [400, -400]", "6:16", "has no extent"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, before: str, after: str, place: str, said: str) -> None:
    assert before in TEXT
    path = written(tmp_path, TEXT.replace(before, after, 1))
    with pytest.raises(DataError) as raised:
        read_rig(tmp_path)
    assert f"{path}:{place}" in str(raised.value)
    assert said in str(raised.value)


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    written(tmp_path, TEXT.replace("fx: 588.03", "fx: wide").replace("hand: left", "hand: lefty"))
    with pytest.raises(DataError, match=r"(?s)hand: .*cameras\.middle\.fx: is the text 'wide'"):
        read_rig(tmp_path)


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rig\.yaml is missing.*own-cameras"):
        read_rig(tmp_path)


def test_patterns_find_the_files_of_foreign_layouts() -> None:
    found = matcher_of("{sequence}/depth/{camera}/{camera}_{frame}.png", ["train"], ["sub1", "sub10", "mas"])
    match = found.match("a/b/depth/sub10/sub10_17.png")
    assert match is not None
    assert match.groupdict() == {"sequence": "a/b", "camera": "sub10", "frame": "17"}
    assert found.match("a/depth/sub1/mas_17.png") is None
    assert matcher_of("{frame:06d}.png", ["train"], ["1"]).match("17.png") is None


def test_names_are_kept_by_the_rig() -> None:
    assert Rig((PRIMESENSE,) * 3).names == ("1", "2", "3")
