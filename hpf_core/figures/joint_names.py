"""What people call the joints of a hand. Files keep the names of the dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FINGERS = {"F1": "little", "F2": "ring", "F3": "middle", "F4": "index", "TH": "thumb"}
_FINGER_POINTS = {
    "KNU3_A": "tip",
    "KNU3_B": "DIP",
    "KNU2_A": "middle segment",
    "KNU2_B": "PIP",
    "KNU1_A": "inner segment",
    "KNU1_B": "MCP",
}
_THUMB_POINTS = {
    "KNU3_A": "tip",
    "KNU3_B": "IP",
    "KNU2_A": "inner segment",
    "KNU2_B": "MCP",
    "KNU1_A": "metacarpal",
    "KNU1_B": "CMC",
}
_PALM = {"PALM_1": "wrist, little side", "PALM_2": "wrist, thumb side", "PALM_3": "palm centre"}
_NYU = re.compile(r"(F[1-4]|TH)_(KNU[123]_[AB])\Z")
_FINGER_PARTS = {"mcp": "MCP", "pip": "PIP", "dip": "DIP"}
_THUMB_PARTS = {"mcp": "CMC", "pip": "MCP", "dip": "IP"}  # MSRA15 names the thumb's joints as the fingers'.


def people_name(joint: str) -> str:
    """The name of a joint for people, such as "middle tip" for F3_KNU3_A; a name that isn't known stays as it is.

    The names are those of NYU and of HPF's hand models (`docs/geometry.md`), of ICVL and of MSRA15. Joints of a finger
    have their anatomical names: MCP, PIP, DIP; of the thumb CMC, MCP, IP.
    """
    found = _NYU.match(joint)
    if found:
        points = _THUMB_POINTS if found[1] == "TH" else _FINGER_POINTS
        return f"{_FINGERS[found[1]]} {points[found[2]]}"
    if joint in _PALM:
        return _PALM[joint]
    finger, _, part = joint.partition("_")
    if finger in _FINGERS.values() and part:
        parts = _THUMB_PARTS if finger == "thumb" else _FINGER_PARTS
        return f"{finger} {parts.get(part, part)}"
    return joint


def people_names(joints: Iterable[str]) -> list[str]:
    """The names of several joints for people."""
    return [people_name(joint) for joint in joints]
