"""The common annotation of 21 joints: the wrist, and four joints of each finger. Other orders permute it."""

from __future__ import annotations

_LONG = ("mcp", "pip", "dip", "tip")

JOINTS21: tuple[str, ...] = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in ("index", "middle", "ring", "little") for joint in _LONG),
)
"""Wrist, then thumb to little finger, each from its base to its tip: as OpenPose's hand (Simon et al. 2017)."""

FINGERTIPS21: tuple[int, ...] = tuple(k for k, name in enumerate(JOINTS21) if name.endswith("_tip"))
"""Indices of the fingertips in `JOINTS21`."""

THUMB_LAST: tuple[str, ...] = (JOINTS21[0], *JOINTS21[5:], *JOINTS21[1:5])
"""The same joints in the order of MVHand: wrist, then index to little finger, then the thumb."""
