"""The evaluation protocols of the community's text files: joints, camera, subjects.

The protocols are data, not code. So HPF can score published predictions without the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from hpf_core.errors import InputError, nearest


@dataclass(frozen=True)
class TextProtocol:
    """The format and scoring of one dataset's label and prediction files.

    Attributes:
        name: as `--protocol` accepts it.
        title: the dataset's name for people.
        joints: K joint names, in the order of the file's columns.
        fingertips: indices of the joints that are fingertips.
        focal: (fx, fy) pixels.
        centre: (cx, cy) pixels: the column and row where x and y are 0.
        frames: number of frames of the whole test set.
        subjects: (first frame counted from 1, name) of each stretch of frames with one subject; in order, from 1. Empty
            if the frames' numbers don't determine the subject.
        source: the origin of these figures.
        span_mm: the typical largest distance between two of these joints.
        xyz: whether the files have x y z in mm of the depth camera's frame, +y down, in place of u v d.
        aliases: other accepted names.
        hand: side of the recorded hands. HPF mirrors left ones, so that its runs have x with the other sign.
        hand_joints: names of these joints in the annotations of hand models; empty if no hand model has them.
    """

    name: str
    title: str
    joints: tuple[str, ...]
    fingertips: tuple[int, ...]
    focal: tuple[float, float]
    centre: tuple[float, float]
    frames: int
    subjects: tuple[tuple[int, str], ...]
    source: str
    span_mm: float = 170.0
    xyz: bool = False
    aliases: tuple[str, ...] = ()
    hand: Literal["right", "left"] = "right"
    hand_joints: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """Numbers in a line: u, v and d, or x, y and z, of each joint."""
        return 3 * len(self.joints)

    @property
    def columns_name(self) -> str:
        """The three numbers of a joint: "u v d" or "x y z"."""
        return "x y z" if self.xyz else "u v d"

    def to_xyz(self, values: np.ndarray) -> np.ndarray:
        """Convert the numbers (..., 3) of a file to mm in the camera's frame: `from_pixels`, or nothing for `xyz`."""
        return np.asarray(values, dtype=np.float64) if self.xyz else self.from_pixels(values)

    def to_uvd(self, xyz: np.ndarray) -> np.ndarray:
        """Convert points (..., 3) mm in the camera's frame, z > 0, to a file's numbers. Inverse of `to_xyz`."""
        return np.asarray(xyz, dtype=np.float64) if self.xyz else self.to_pixels(xyz)

    def from_pixels(self, uvd: np.ndarray) -> np.ndarray:
        """Convert (..., 3) pixels, pixels and mm to mm in the camera's frame (x right, y down, z away).

        x = (u - cx) d / fx, y = (v - cy) d / fy. The NYU files' own formula has +y up; distances are the same in both.
        """
        uvd = np.asarray(uvd, dtype=np.float64)
        depth = uvd[..., 2:]
        return np.concatenate([(uvd[..., :2] - self.centre) * depth / self.focal, depth], axis=-1)

    def to_pixels(self, xyz: np.ndarray) -> np.ndarray:
        """Convert points (..., 3) mm in the camera's frame, z > 0, to pixels, pixels and mm: `from_pixels` inverted."""
        xyz = np.asarray(xyz, dtype=np.float64)
        depth = xyz[..., 2:]
        return np.concatenate([xyz[..., :2] * self.focal / depth + self.centre, depth], axis=-1)

    def subject_of(self, frames: int) -> np.ndarray | None:
        """(frames,) int64, the index in `subjects` of each frame; None if this isn't the whole test set.

        The frame's number determines its subject. So a part of the test set has no known subjects.
        """
        if frames != self.frames or not self.subjects:
            return None
        starts = [first - 1 for first, _ in self.subjects]
        return np.searchsorted(starts, np.arange(frames), side="right") - 1

    def map_of(self, annotations: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> np.ndarray:
        """The (K, J) float64 matrix from a hand model's points to these joints, in their order.

        Args:
            annotations: the hand model's, as `HandModel.annotations`.

        Raises:
            InputError: no annotation of the hand model has all of these joints.
        """
        for names, matrix in annotations.values():
            if self.hand_joints and set(self.hand_joints) <= set(names):
                rows = [list(names).index(name) for name in self.hand_joints]
                return np.asarray(matrix, dtype=np.float64)[rows]
        raise InputError(
            f"The hand model has no map to the {len(self.joints)} joints of the protocol {self.name} "
            f"({', '.join(self.joints[:4])}, ...). Its annotations are {', '.join(annotations)}."
        )

    @property
    def subject_names(self) -> dict[int, str]:
        """Name of each number in `subject_of`."""
        return {number: name for number, (_, name) in enumerate(self.subjects)}


_NYU_JOINTS = (
    *("F1_KNU3_A", "F1_KNU2_B", "F2_KNU3_A", "F2_KNU2_B", "F3_KNU3_A", "F3_KNU2_B", "F4_KNU3_A", "F4_KNU2_B"),
    *("TH_KNU3_A", "TH_KNU3_B", "TH_KNU2_B", "PALM_1", "PALM_2", "PALM_3"),
)

NYU = TextProtocol(
    name="nyu",
    title="NYU Hand Pose, test set, view 1",
    # Every paper scores these 14 of NYU's 36 points: ids 0 3 6 9 12 15 18 21 24 25 27 30 31 32, with their names here.
    joints=_NYU_JOINTS,
    hand_joints=_NYU_JOINTS,
    fingertips=(0, 2, 4, 6, 8),
    focal=(588.03, 587.07),
    centre=(320.0, 240.0),
    frames=8252,
    subjects=((1, "training subject"), (2441, "new subject")),
    source="github.com/xinghaochen/awesome-hand-pose-estimation, evaluation/; Tompson et al., ACM ToG 2014",
    span_mm=178.0,  # median over the 8,252 frames
)

_ICVL_JOINTS = (
    "palm",
    *("thumb_root", "thumb_mid", "thumb_tip", "index_root", "index_mid", "index_tip"),
    *("middle_root", "middle_mid", "middle_tip", "ring_root", "ring_mid", "ring_tip"),
    *("little_root", "little_mid", "little_tip"),
)

ICVL = TextProtocol(
    name="icvl",
    title="ICVL Hand Posture, test set",
    joints=_ICVL_JOINTS,
    hand_joints=_ICVL_JOINTS,
    fingertips=(3, 6, 9, 12, 15),
    focal=(240.99, 240.96),
    centre=(160.0, 120.0),
    frames=1596,
    subjects=((1, "test sequence 1"), (703, "test sequence 2")),
    source="github.com/xinghaochen/awesome-hand-pose-estimation, evaluation/; Tang et al., CVPR 2014",
    span_mm=122.0,  # median over the 1,596 frames
    hand="left",
)

MSRA = TextProtocol(
    name="msra",
    title="MSRA15 Hand Gesture, leave one subject out",
    joints=(
        "wrist",
        *("index_mcp", "index_pip", "index_dip", "index_tip", "middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
        *("ring_mcp", "ring_pip", "ring_dip", "ring_tip", "little_mcp", "little_pip", "little_dip", "little_tip"),
        *("thumb_mcp", "thumb_pip", "thumb_dip", "thumb_tip"),
    ),
    # The dataset names the thumb's joints like a finger's; anatomy has no DIP joint there.
    hand_joints=(
        "wrist",
        *("index_mcp", "index_pip", "index_dip", "index_tip", "middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
        *("ring_mcp", "ring_pip", "ring_dip", "ring_tip", "little_mcp", "little_pip", "little_dip", "little_tip"),
        *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    ),
    fingertips=(4, 8, 12, 16, 20),
    focal=(241.42, 241.42),
    centre=(160.0, 120.0),
    frames=76375,
    subjects=(),  # the dataset's own folders name them: see `joint_txt`
    source="github.com/xinghaochen/awesome-hand-pose-estimation, evaluation/; Sun et al., CVPR 2015, and its readme",
    aliases=("msra15",),
)

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_OF = {"thumb": ("cmc", "mcp", "ip", "tip")} | dict.fromkeys(_FINGERS[1:], ("mcp", "pip", "dip", "tip"))


def _joints(finger: str, first: int = 0, last: int = 4) -> tuple[str, ...]:
    return tuple(f"{finger}_{joint}" for joint in _OF[finger][first:last])


_BASES_FIRST = (
    "wrist",
    *(joint for finger in _FINGERS for joint in _joints(finger, 0, 1)),
    *(joint for finger in _FINGERS for joint in _joints(finger, 1)),
)
_SR300 = ((475.065948, 475.065857), (315.944855, 245.287079))


def _xyz_protocol(
    name: str,
    title: str,
    joints: tuple[str, ...],
    focal: tuple[float, float],
    centre: tuple[float, float],
    source: str,
    frames: int = 0,
    span_mm: float = 170.0,
    hand: Literal["right", "left"] = "right",
) -> TextProtocol:
    """A protocol with x y z in mm, whose joints have the names of the hand model's annotation."""
    return TextProtocol(
        name=name,
        title=title,
        joints=joints,
        hand_joints=joints,
        fingertips=tuple(k for k, joint in enumerate(joints) if joint.endswith("_tip")),
        focal=focal,
        centre=centre,
        frames=frames,
        subjects=(),
        source=source,
        span_mm=span_mm,
        xyz=True,
        hand=hand,
    )


_STB_JOINTS = ("palm", *(joint for finger in _FINGERS[::-1] for joint in _joints(finger)))
_HANDNET_JOINTS = (*(f"{finger}_tip" for finger in _FINGERS), "palm")
_TOOLBOX = "anilarmagan/HANDS19-Challenge-Toolbox"
_OTHERS = (
    _xyz_protocol("hands17", "HANDS17", _BASES_FIRST, *_SR300, frames=295510, source=f"Yuan et al. 2018; {_TOOLBOX}"),
    _xyz_protocol("hands19", "HANDS19, Task 1", _BASES_FIRST, *_SR300, source=f"Armagan et al. 2020; {_TOOLBOX}"),
    _xyz_protocol("bighand", "BigHand2.2M", _BASES_FIRST, *_SR300, source=f"Yuan et al. 2017; {_TOOLBOX}"),
    _xyz_protocol("fpha", "FPHA", _BASES_FIRST, *_SR300, source="Garcia-Hernando et al. 2018; guiggh/hand_pose_action"),
    _xyz_protocol(
        "stb",
        "STB, background 1",
        _STB_JOINTS,
        focal=(475.62768, 474.77709),
        centre=(336.41179, 238.77962),
        frames=3000,
        source="Zhang et al. 2017; zhjwustc/icip17_stereo_hand_pose_dataset; Zimmermann and Brox 2017",
        hand="left",
    ),
    # The camera's matrix is in HandNet's own files; the middle of the image is enough for messages.
    _xyz_protocol(
        "handnet",
        "HandNet, test set",
        _HANDNET_JOINTS,
        focal=(240.0, 240.0),
        centre=(160.0, 120.0),
        frames=10000,
        source="Wetzler et al. 2015; twerdster/HandNet",
        span_mm=130.0,
    ),
)

PROTOCOLS = MappingProxyType({protocol.name: protocol for protocol in (NYU, ICVL, MSRA, *_OTHERS)})


def text_protocol(name: str) -> TextProtocol:
    """Return the protocol of a name; case doesn't matter.

    Raises:
        InputError: the name is unknown; the message names the nearest protocol.
    """
    try:
        known = PROTOCOLS | {alias: one for one in PROTOCOLS.values() for alias in one.aliases}
        return known[name.strip().lower()]
    except KeyError:
        raise InputError(f"There is no evaluation protocol {name!r}. {nearest(name.lower(), PROTOCOLS)}") from None
