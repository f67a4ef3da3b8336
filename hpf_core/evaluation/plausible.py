"""Checks whether labels can show hands. Files in the wrong unit still give small errors, which nobody would notice.

The check measures the size of a hand, its depth, and its position in the image. If these are possible but unusual, the
rigid parts of the hand decide: with the correct unit, their lengths change least over the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpf_core.errors import DataError
from hpf_core.evaluation.protocols import TextProtocol

SPAN_MM = (25.0, 600.0)
"""Limits of the median over the frames of the largest distance between two joints; real hands: 65 to 260 mm."""

USUAL_SPAN_MM = (0.75, 1.35)
"""The same as a share of the protocol's `span_mm`. Within these limits, the check tests only the depth."""

DEPTH_MM = (100.0, 5000.0)
"""Limits of the joints' median depth."""

OUTSIDE = 0.5
"""Largest share of joints outside the image."""

_RIGID_PAIRS = 6
_STEADIER = 1.25
"""If the size is unusual, another reading must make lengths steadier by this factor to be accepted."""
_LEAST_FRAMES = 3


def check_uvd(path: Path, uvd: np.ndarray, protocol: TextProtocol) -> None:
    """Refuse labels that can't be hands.

    Args:
        path: the labels' file, for the message.
        uvd: (F, K, 3) pixels, pixels and mm, as in the file.
        protocol: defines joints and camera.

    Raises:
        DataError: the labels can't be hands; the message names the most likely reading.
    """
    given = protocol.to_xyz(uvd)
    outside = _outside(uvd, protocol)
    wrong = _impossible(given)
    if not wrong and outside > OUTSIDE:
        wrong = f"{outside:.0%} of the joints lie outside of the image of {_size(protocol)} pixels"
    others = {name: xyz for name, xyz in _readings(uvd, protocol).items() if not _impossible(xyz)}
    usual = {name: xyz for name, xyz in others.items() if _is_usual(xyz, protocol)}
    if not wrong and not _is_usual(given, protocol) and len(uvd) >= _LEAST_FRAMES:
        steadier = {name: xyz for name, xyz in usual.items() if _STEADIER * unsteadiness(xyz) < unsteadiness(given)}
        if steadier:
            usual = steadier
            wrong = (
                f"the hands reach over {span(given):.0f} mm (usual for these joints: about {protocol.span_mm:.0f} mm), "
                "and their bones change length"
            )
    if wrong:
        raise DataError(
            f"{path}: these labels can't be hands in u v d (pixels, pixels, mm) of protocol {protocol.name}: {wrong}."
            f"{_likely(usual or others)}"
        )


def check_xyz(path: Path, xyz: np.ndarray) -> None:
    """Check labels (F, K, 3) in mm in the same way.

    Raises:
        DataError: the labels can't be hands.
    """
    wrong = _impossible(xyz)
    if wrong:
        scaled = {"metres": xyz * 1000, "centimetres": xyz * 10, "tenths of a millimetre": xyz / 10}
        others = {f"x y z in {unit}": other for unit, other in scaled.items() if not _impossible(other)}
        raise DataError(f"{path}: these labels can't be hands in x y z in mm: {wrong}.{_likely(others)}")


def span(xyz: np.ndarray) -> float:
    """Median over the frames of the largest distance between two joints, of (F, K, 3) mm."""
    return float(np.median(_distances(xyz).max(axis=1)))


def unsteadiness(xyz: np.ndarray) -> float:
    """Change of the steadiest distances of joints (F, K, 3) over the frames: standard deviation divided by mean."""
    distances = _distances(xyz)
    changes = distances.std(axis=0) / np.maximum(distances.mean(axis=0), 1e-9)
    return float(np.sort(changes)[:_RIGID_PAIRS].mean())


def _readings(uvd: np.ndarray, protocol: TextProtocol) -> Mapping[str, np.ndarray]:
    """The labels (F, K, 3) in mm under each other possible reading of the file."""
    depths = {"metres": 1000.0, "centimetres": 10.0, "tenths of a millimetre": 0.1}
    found = {f"u v d with d in {unit}": protocol.to_xyz(uvd * [1, 1, factor]) for unit, factor in depths.items()}
    found["u v d in pixels of an image of half the size"] = protocol.to_xyz(uvd * [2, 2, 1])
    found["u v d in pixels of an image of twice the size"] = protocol.to_xyz(uvd * [0.5, 0.5, 1])
    # Millimetres in place of pixels have both signs. Without both signs, pixels are the simpler reading.
    found["x y z in mm, not u v d"] = uvd
    return found | {f"x y z in {unit}, not u v d": uvd * factor for unit, factor in depths.items()}


def _likely(readings: Mapping[str, np.ndarray]) -> str:
    """Name the steadiest reading."""
    if not readings:
        return " Expected u v d: pixels, pixels and mm."
    best = min(readings, key=lambda name: unsteadiness(readings[name]))
    reach = span(readings[best])
    return f" They seem to be {best}: then the hands reach over {reach:.0f} mm. Convert the file to u v d first."


def _impossible(xyz: np.ndarray) -> str:
    """Say why joints (F, K, 3) in mm can't be hands; empty if they can."""
    depth, reach = float(np.median(xyz[..., 2])), span(xyz)
    if not DEPTH_MM[0] <= depth <= DEPTH_MM[1]:
        return f"their median depth is {depth:.3g} mm (expected {DEPTH_MM[0]:.0f} to {DEPTH_MM[1]:,.0f})"
    if not SPAN_MM[0] <= reach <= SPAN_MM[1]:
        return f"the hands reach over {reach:.3g} mm (expected {SPAN_MM[0]:.0f} to {SPAN_MM[1]:.0f})"
    return ""


def _is_usual(xyz: np.ndarray, protocol: TextProtocol) -> bool:
    low, high = (share * protocol.span_mm for share in USUAL_SPAN_MM)
    return low <= span(xyz) <= high


def _outside(uvd: np.ndarray, protocol: TextProtocol) -> float:
    """The share of joints outside the image, whose middle is the protocol's `centre`."""
    within = (uvd[..., :2] >= 0) & (uvd[..., :2] <= 2 * np.array(protocol.centre))
    return float(1 - within.all(axis=-1).mean())


def _size(protocol: TextProtocol) -> str:
    width, height = (2 * value for value in protocol.centre)
    return f"{width:.0f} x {height:.0f}"


def _distances(xyz: np.ndarray) -> np.ndarray:
    """(F, K (K - 1) / 2) between all pairs of joints."""
    first, second = np.triu_indices(xyz.shape[1], 1)
    return np.linalg.norm(xyz[:, first] - xyz[:, second], axis=-1)
