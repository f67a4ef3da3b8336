"""Other possible readings of a prediction file, for files whose error becomes many times smaller under one of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpf_core.evaluation.protocols import TextProtocol

MANY_TIMES = 3.0
"""HPF names another reading if it makes the error smaller by this factor."""

LEAST_MM = 10.0
"""Below this mean error HPF tries no other reading: the predictions are in the right format."""


def better_reading(predicted: np.ndarray, labels: np.ndarray, protocol: TextProtocol) -> str:
    """Name the reading that makes the predictions' error many times smaller; empty if no reading does.

    Args:
        predicted: (F, K, 3) u v d as in the file.
        labels: (F, K, 3) mm, in the right format.
        protocol: of both.
    """
    given = _error(protocol.to_xyz(predicted), labels)
    if given < LEAST_MM:
        return ""
    best, least = "", given / MANY_TIMES
    for name, xyz in _readings(predicted, protocol):
        error = _error(xyz, labels)
        if error < least:
            best, least = name, error
    if not best:
        for name, xyz in (("", protocol.to_xyz(predicted)), *_readings(predicted, protocol)):
            order = _order(xyz, labels)
            error = _error(xyz[:, order], labels)
            if error < least:
                best, least = _phrase(name, order, protocol), error
    return f"read as {best}, the mean error is {least:.1f} mm in place of {given:.1f} mm" if best else ""


def _readings(uvd: np.ndarray, protocol: TextProtocol) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each reading with its joints (F, K, 3) in mm."""
    width, height = 2 * np.array(protocol.centre)
    u, v, d = (uvd[..., axis] for axis in range(3))

    def pixels(u: np.ndarray, v: np.ndarray, d: np.ndarray = d) -> np.ndarray:
        return protocol.from_pixels(np.stack([u, v, d], axis=-1))

    units = {"mm": 1.0, "metres": 1000.0, "centimetres": 10.0}
    for unit, factor in units.items():
        yield f"x y z in {unit}", uvd * factor
        yield f"x y z in {unit} with +y up", uvd * [factor, -factor, factor]
        if factor != 1 or protocol.xyz:
            yield f"u v d with d in {unit}", pixels(u, v, factor * d)
    yield "u v d with v counted from the bottom", pixels(u, height - v)
    yield "u v d with u counted from the right", pixels(width - u, v)
    yield "v u d, the columns of u and v swapped", pixels(v, u)
    yield "u v d in pixels of an image of half the size", pixels(2 * u, 2 * v)
    yield "u v d in pixels of an image of twice the size", pixels(u / 2, v / 2)


def _order(xyz: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K,) int64: the nearest predicted joint of each label. Each predicted joint occurs once."""
    apart = np.linalg.norm(xyz[:, :, None] - labels[:, None], axis=-1).mean(axis=0)
    predicted, label = linear_sum_assignment(apart)
    return predicted[np.argsort(label)]


def _phrase(reading: str, order: np.ndarray, protocol: TextProtocol) -> str:
    listed = ", ".join(protocol.joints[int(place)] for place in np.argsort(order))
    kind = "in reverse" if (order == np.arange(len(order))[::-1]).all() else "in another order"
    return f"{reading + ' and ' if reading else ''}joints {kind} ({listed})"


def _error(xyz: np.ndarray, labels: np.ndarray) -> float:
    return float(np.linalg.norm(xyz - labels, axis=-1).mean())
