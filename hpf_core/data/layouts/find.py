"""Finds the layout of a capture from the files in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.layouts.fpha import FphaLayout
from hpf_core.data.layouts.handnet import HandNetLayout
from hpf_core.data.layouts.hands17 import BigHandLayout, Hands17Layout, Hands19Layout
from hpf_core.data.layouts.icvl import IcvlLayout
from hpf_core.data.layouts.msra15 import Msra15Layout
from hpf_core.data.layouts.mvhand import MvhandLayout, is_session
from hpf_core.data.layouts.stb import StbLayout
from hpf_core.data.rig_file import RIG_FILE

# A file of each dataset with one camera that no other dataset has.
_SINGLE_VIEW: tuple[tuple[str, Callable[[Path], Layout]], ...] = (
    ("Training/labels.txt", IcvlLayout),
    ("Testing/test_seq_1.txt", IcvlLayout),
    ("P[0-8]/*/joint.txt", Msra15Layout),
    ("training/Training_Annotation.txt", Hands17Layout),
    ("Task1/training_joint_annotation.txt", Hands19Layout),
    ("full_annotation/Subject_*", BigHandLayout),
    ("labels/B[1-6]*_SK.mat", StbLayout),
    ("Hand_pose_annotation_v1_1/Subject_*", FphaLayout),
    ("Parameters.mat", HandNetLayout),
)


def find_layout(root: Path) -> Layout | None:
    """The layout of a capture that describes its own cameras; None for any other folder, such as one of NYU.

    Raises:
        DataError: the description of the cameras is wrong, or no image matches it.
    """
    if (root / RIG_FILE).exists():
        return CaptureLayout(root)
    if is_session(root):
        return MvhandLayout(root)
    return next((layout(root) for pattern, layout in _SINGLE_VIEW if any(root.glob(pattern))), None)
