"""Readable names of a hand's joints. Files keep the dataset's names."""

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
_THUMB_PARTS = {"mcp": "CMC", "pip": "MCP", "dip": "IP"}  # MSRA15 gives the thumb's joints the fingers' names.


def people_name(joint: str) -> str:
    """Return a readable name of a joint, such as "middle tip" for F3_KNU3_A; an unknown name stays unchanged.

    The function knows the names of NYU, HPF's hand models (`docs/geometry.md`), ICVL and MSRA15. A finger's joints have
    their anatomical names MCP, PIP, DIP; the thumb's are CMC, MCP, IP.
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
    """Return readable names of several joints."""
    return [people_name(joint) for joint in joints]
