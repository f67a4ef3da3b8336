"""The common annotation of 21 joints: the wrist, and four joints of each finger. Other orders permute it."""

from __future__ import annotations

from types import MappingProxyType

_LONG = ("mcp", "pip", "dip", "tip")
_FINGERS = ("thumb", "index", "middle", "ring", "little")

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

_OF = {finger: JOINTS21[1 + 4 * k : 5 + 4 * k] for k, finger in enumerate(_FINGERS)}

MANO_ORDER: tuple[str, ...] = (
    "wrist",
    *(joint for finger in ("index", "middle", "little", "ring", "thumb") for joint in _OF[finger][:3]),
    *(_OF[finger][3] for finger in _FINGERS),
)
"""MANO's 16 joints in the order of its own model file (Romero et al., ACM TOG 2017). The model has no tips; they
follow, thumb to little finger."""

HANDS17_ORDER: tuple[str, ...] = (
    "wrist",
    *(_OF[finger][0] for finger in _FINGERS),
    *(joint for finger in _FINGERS for joint in _OF[finger][1:]),
)
"""Wrist, the bases of thumb to little finger, then the three outer joints of each: HANDS17, HANDS19, BigHand2.2M and
FPHA (the readme of guiggh/hand_pose_action)."""

STB_ORDER: tuple[str, ...] = (
    "palm",
    *(joint for finger in ("little", "ring", "middle", "index", "thumb") for joint in _OF[finger]),
)
"""STB's joints: its first is the palm's centre, not the wrist (the readme of icip17_stereo_hand_pose_dataset)."""

ORDERS = MappingProxyType(
    {
        "openpose": JOINTS21,
        "mano": MANO_ORDER,
        "mvhand": THUMB_LAST,
        "msra": THUMB_LAST,
        "hands17": HANDS17_ORDER,
        "fpha": HANDS17_ORDER,
        "stb": STB_ORDER,
    }
)
"""The joints' names in the order of each convention."""


def permutation(source: str, target: str = "openpose") -> tuple[int, ...]:
    """Indices (21) into an array in the order `source` that give the order `target`: `joints[:, permutation("mano")]`.

    Raises:
        ValueError: an order is unknown, or the two differ in a joint. STB has the palm's centre where others have the
            wrist.
    """
    if unknown := [name for name in (source, target) if name not in ORDERS]:
        raise ValueError(f"there is no order of joints {unknown[0]!r}; there are {', '.join(ORDERS)}")
    given = ORDERS[source]
    if missing := [name for name in ORDERS[target] if name not in given]:
        raise ValueError(f"the order {source!r} has no joint {missing[0]!r}, which {target!r} has")
    return tuple(given.index(name) for name in ORDERS[target])
